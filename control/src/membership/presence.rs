//! Whether the process of a node is there: each agent keeps one request open to some member, and the kernel of its machine
//! closes that connection when the process ends.
//!
//! The answer begins with a number for the connection, which the agent writes into its Lease, as the annotation
//! [`CONNECTION`]. When the request ends and the Lease still names it some moments later, nobody has connected in its
//! place: the member replaces it by [`OVER`], and the node controller, wherever it runs, gives the node up after a short
//! while unless it connects again. So the members exchange nothing while all is well, and renewals can be rare.
//!
//! A member that stops itself says nothing about its nodes: they connect to another one.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use isopod_spec::status::Status;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{BoxError, ResponseBody};
use crate::controllers::outcome;
use crate::objects::Objects;

/// The annotation of a node's Lease that names its connection.
const CONNECTION: &str = "isopod.dev/connection";
/// What it says when that has ended.
const OVER: &str = "over";
/// The namespace of the Leases that nodes renew.
const LEASES: &str = "kube-node-lease";
/// So long an agent has to connect again before its Lease says that it is away.
const PATIENCE: Duration = Duration::from_millis(500);
/// Wait between tries to say so while there is no leader, and how often it is tried: then silence will have to do.
const RETRY: Duration = Duration::from_millis(200);
const TRIES_MAX: usize = 25;
/// Ended connections that wait to be looked at. More at once and the rest is found by its silence.
const ENDED_MAX: usize = 4096;

/// Whether the Lease says that its node's connection has ended.
pub(crate) fn is_over(lease: &ObjectMeta) -> bool {
    connection(lease) == Some(OVER)
}

fn connection(lease: &ObjectMeta) -> Option<&str> {
    lease.annotations.as_ref()?.get(CONNECTION).map(String::as_str)
}

/// A connection of a node. When it is dropped, it has ended.
struct Connection {
    node: String,
    number: String,
    ended: mpsc::Sender<Ended>,
    /// This member stops: it ends its connections itself.
    stopping: CancellationToken,
}

/// A connection that has ended.
#[derive(Debug)]
struct Ended {
    node: String,
    number: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.stopping.is_cancelled() {
            return;
        }
        let (node, number) = (std::mem::take(&mut self.node), std::mem::take(&mut self.number));
        if let Err(error) = self.ended.try_send(Ended { node, number }) {
            tracing::warn!(%error, "the end of a node's connection is not looked at");
        }
    }
}

/// Takes connections of nodes.
#[derive(Clone)]
pub(crate) struct Presence {
    ended: mpsc::Sender<Ended>,
    stopping: CancellationToken,
}

/// Looks after connections that have ended.
pub(crate) struct Mourner {
    objects: Objects,
    ended: mpsc::Receiver<Ended>,
}

/// `stopping` ends all connections.
pub(crate) fn new(objects: Objects, stopping: CancellationToken) -> (Presence, Mourner) {
    let (sender, ended) = mpsc::channel(ENDED_MAX);
    (Presence { ended: sender, stopping }, Mourner { objects, ended })
}

impl Presence {
    /// An answer that begins with the connection's number, on a line of its own, and ends with the connection.
    pub(super) fn connect(&self, node: &str) -> Response<ResponseBody> {
        let number = format!("{:016x}", rand::random::<u64>());
        let first = Bytes::from(format!("{number}\n"));
        let stopping = self.stopping.clone();
        let connection = Connection {
            node: node.to_owned(),
            number,
            ended: self.ended.clone(),
            stopping: stopping.clone(),
        };
        let frames = futures::stream::once(std::future::ready(Ok::<_, BoxError>(Frame::data(first))));
        // The body owns the connection: it is dropped with it.
        let rest = futures::stream::once(async move {
            stopping.cancelled().await;
            drop(connection);
        });
        let frames = frames.chain(rest.filter_map(|()| std::future::ready(None)));
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
    }
}

impl Mourner {
    /// Works until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut waiting = JoinSet::new();
        loop {
            // Cancel-safe: channel and set keep what they hold.
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = self.ended.recv() => drop(waiting.spawn(give_up(self.objects.clone(), ended))),
                Some(_) = waiting.join_next() => {}
            }
        }
    }
}

/// Says that a node is away, unless it has connected again meanwhile.
async fn give_up(objects: Objects, Ended { node, number }: Ended) {
    tokio::time::sleep(PATIENCE).await;
    for _ in 0..TRIES_MAX {
        match say_over(&objects, &node, &number).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(node, %error, "a node's end is not written yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn say_over(objects: &Objects, node: &str, number: &str) -> Result<(), Status> {
    let Some(mut lease) = objects.get::<Lease>(LEASES, node).await? else { return Ok(()) };
    if connection(&lease.metadata) != Some(number) {
        return Ok(());
    }
    lease.metadata.annotations.get_or_insert_default().insert(CONNECTION.to_owned(), OVER.to_owned());
    match objects.update(&lease).await {
        Err(status) if outcome::is_gone(&status) => Ok(()),
        written => {
            written?;
            tracing::info!(node, "the connection of a node has ended");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use isopod_raft_store::Store;
    use k8s_openapi::api::core::v1::Namespace;

    use super::*;
    use crate::objects::Policy;

    struct Fixture {
        objects: Objects,
        stop: CancellationToken,
        presence: Presence,
        tasks: JoinSet<()>,
        _dir: tempfile::TempDir,
    }

    async fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let (store, driver) = Store::open(isopod_raft_store::Config::new(dir.path())).await.unwrap();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let token = stop.clone();
        tasks.spawn(async move { driver.run(token).await.unwrap() });
        let objects = Objects::new(store, Policy { service_range: "127.43.0.0/16".parse().unwrap() });
        let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        objects.create(Namespace { metadata: named(LEASES), ..Namespace::default() }).await.unwrap();
        let metadata = ObjectMeta { namespace: Some(LEASES.to_owned()), ..named("n") };
        objects.create(Lease { metadata, spec: None }).await.unwrap();
        let (presence, mourner) = new(objects.clone(), stop.clone());
        tasks.spawn(mourner.run(stop.clone()));
        Fixture { objects, stop, presence, tasks, _dir: dir }
    }

    impl Fixture {
        async fn lease(&self) -> Lease {
            self.objects.get::<Lease>(LEASES, "n").await.unwrap().unwrap()
        }

        /// Connects as an agent does.
        async fn connected(&self) -> (String, ResponseBody) {
            let mut body = self.presence.connect("n").into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let number = std::str::from_utf8(&first).unwrap().trim_end().to_owned();
            let mut lease = self.lease().await;
            lease.metadata.annotations.get_or_insert_default().insert(CONNECTION.into(), number.clone());
            self.objects.update(&lease).await.unwrap();
            (number, body)
        }

        async fn stopped(mut self) {
            self.stop.cancel();
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_node_whose_connection_ended_is_said_to_be_away_unless_it_has_another() {
        let fixture = fixture().await;
        let (first, old) = fixture.connected().await;
        let (second, new) = fixture.connected().await;
        assert_ne!(first, second);
        drop(old);
        say_over(&fixture.objects, "n", &first).await.unwrap();
        assert_eq!(connection(&fixture.lease().await.metadata), Some(second.as_str()));
        drop(new);
        let said = async {
            while !is_over(&fixture.lease().await.metadata) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), said).await.expect("it is said");
        fixture.stopped().await;
    }

    #[tokio::test]
    async fn a_member_that_stops_says_nothing_about_its_nodes() {
        let fixture = fixture().await;
        let (number, mut body) = fixture.connected().await;
        fixture.stop.cancel();
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(connection(&fixture.lease().await.metadata), Some(number.as_str()));
        fixture.stopped().await;
    }
}
