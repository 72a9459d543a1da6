//! `pods/portforward`: the client's connection, handed through to the node that the pod runs on. What goes through it is
//! between those two.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use isopod_spec::status::{GroupResource, Status};
use k8s_openapi::api::core::v1::Pod;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::Call;
use super::log;
use super::options::ReadAt;
use super::reply::{Content, Reply, ResponseBody, TEXT};
use super::verb::Verb;
use super::{Addressed, Api};
use crate::objects::try_decode;
use crate::security::{Attributes, Decision, ResourceAttributes};

/// Connections that are handed through at once; each costs two of them and two buffers.
const TUNNELS_MAX: usize = 1024;
/// How much of one direction waits in between.
const BUFFER_BYTES: usize = 32 << 10;

/// Headers by which a client and a node agree on what the connection carries.
const TO_NODE: [HeaderName; 7] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
    header::USER_AGENT,
    STREAM_PROTOCOL,
];
const TO_CLIENT: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    STREAM_PROTOCOL,
];
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The connections that are handed through now.
pub(crate) struct Tunnels {
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Tunnels {
    /// None yet; all end with `shutdown`.
    pub(crate) fn new(shutdown: CancellationToken) -> Tunnels {
        Tunnels { room: Arc::new(Semaphore::new(TUNNELS_MAX)), tasks: TaskTracker::new(), shutdown }
    }

    fn room(&self) -> Result<OwnedSemaphorePermit, Status> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        room.map_err(|_| Status::too_many_requests("this member forwards as many connections as it may", 1))
    }

    /// Carries bytes both ways until one side ends.
    fn join(&self, client: OnUpgrade, node: OnUpgrade, room: OwnedSemaphorePermit) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let joined = async {
                let (client, node) = futures::try_join!(client, node)?;
                let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
                let copied = tokio::io::copy_bidirectional_with_sizes(
                    &mut client,
                    &mut node,
                    BUFFER_BYTES,
                    BUFFER_BYTES,
                );
                // A side that breaks off has ended too.
                copied.await.ok();
                Ok::<_, hyper::Error>(())
            };
            if let Some(Err(error)) = shutdown.run_until_cancelled(joined).await {
                tracing::debug!(%error, "a connection was not handed through");
            }
            drop(room);
        });
    }
}

/// Hands the connection through.
pub(crate) async fn connect(
    api: &Api,
    on: &Addressed<'_>,
    verb: Verb,
    call: &mut Call,
) -> Result<Reply, Status> {
    may_create(api, on, verb, call).await?;
    let upgrade = call.headers.contains_key(header::UPGRADE).then(|| call.upgrade.take()).flatten();
    let client = upgrade.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let room = api.tunnels.room()?;
    let snapshot = api.state(ReadAt::Latest).await?;
    let entry = snapshot.get(&on.kind.key(on.namespace, on.name));
    let pod: Pod = try_decode(entry.ok_or_else(|| Status::not_found(&**on.kind, on.name))?)?;
    let (node_name, address) = place(&pod)?;
    let node = log::node(&snapshot, node_name)?;
    let mut path = format!("/portForward/{}/{}/{address}", on.namespace, on.name);
    for (at, ports) in call.query.all("ports").enumerate() {
        let separator = if at == 0 { '?' } else { '&' };
        path.push_str(&format!("{separator}ports={}", utf8_percent_encode(ports, NON_ALPHANUMERIC)));
    }
    let answer = api.nodes.get(&node, &path, only(&call.headers, &TO_NODE)).await;
    let answer = answer.map_err(|error| Status::internal(&error))?;
    handed_through(api, client, answer, room).await
}

async fn handed_through(
    api: &Api,
    client: OnUpgrade,
    mut answer: Response<ResponseBody>,
    room: OwnedSemaphorePermit,
) -> Result<Reply, Status> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        return Err(log::refused(parts.status, body).await);
    }
    api.tunnels.join(client, hyper::upgrade::on(&mut answer), room);
    let nothing = Content::Whole(Vec::new().into());
    let mut reply = Reply::of(StatusCode::SWITCHING_PROTOCOLS, TEXT, nothing);
    for (name, value) in only(answer.headers(), &TO_CLIENT) {
        reply = reply.with(name.expect("each name is there once"), value);
    }
    Ok(reply)
}

fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap<HeaderValue> {
    names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

/// WebSockets begin with a GET, which must not be enough: whoever may only read may not talk to pods.
async fn may_create(api: &Api, on: &Addressed<'_>, verb: Verb, call: &Call) -> Result<(), Status> {
    if verb == Verb::Create {
        return Ok(());
    }
    let attributes = Attributes::Resource(ResourceAttributes {
        verb: Verb::Create.as_str(),
        group: &on.kind.group,
        resource: &on.kind.plural,
        subresource: "portforward",
        namespace: on.namespace,
        name: on.name,
        of_node: "",
        metadata_only: false,
    });
    match api.access.authorize(&call.identity, &attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => {
            let resource = GroupResource { group: &on.kind.group, resource: "pods/portforward" };
            Err(Status::forbidden(resource, on.name, &why))
        }
    }
}

/// Where the pod runs: its node and its address.
fn place(pod: &Pod) -> Result<(&str, &str), Status> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let address = status.and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    if phase != "Running" || node.is_empty() || address.is_empty() {
        let message =
            format!("unable to forward port because pod is not running. Current status={phase} (pod {name})");
        return Err(Status::bad_request(message));
    }
    Ok((node, address))
}
