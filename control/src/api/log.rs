//! `pods/log`: the output of a container, asked of the node it runs on and passed through as it comes.

use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use isopod_raft_store::Snapshot;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::registry;
use isopod_spec::status::{GroupKind, Status};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use k8s_openapi::jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::call::{Call, collect};
use super::options::ReadAt;
use super::query::Query;
use super::reply::{BoxError, Content, Reply, ResponseBody, TEXT};
use super::{Addressed, Api};
use crate::objects::try_decode;

/// Asks a node's own server. Implemented where the cluster's certificates are.
pub trait NodeApi: Send + Sync {
    /// GET of `path_and_query` from the node's server; the body streams. With headers that ask for an upgrade, and an
    /// answer that grants it, the connection is the answer's [`hyper::upgrade::OnUpgrade`].
    fn get<'a>(
        &'a self,
        node: &'a Node,
        path_and_query: &'a str,
        headers: HeaderMap,
    ) -> BoxFuture<'a, Result<Response<ResponseBody>, NodeUnreachable>>;

    /// DELETE of `path` at the node's server; only the answer's code matters.
    fn delete<'a>(
        &'a self,
        node: &'a Node,
        path: &'a str,
    ) -> BoxFuture<'a, Result<StatusCode, NodeUnreachable>>;
}

/// A node's server could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("node {node} cannot be reached: {source}")]
pub struct NodeUnreachable {
    /// The node.
    pub node: String,
    /// Why not.
    pub source: BoxError,
}

/// Most bytes of a node's error message that are passed on.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// Parameters that go on to the node.
const PARAMETERS: [&str; 8] =
    ["follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "stream", "tailLines", "timestamps"];

/// Answers with a container's output.
pub(crate) async fn get(api: &Api, on: &Addressed<'_>, call: &Call) -> Result<Reply, Status> {
    validate(&call.query, on.name)?;
    let snapshot = api.state(ReadAt::Latest).await?;
    let entry = snapshot.get(&on.kind.key(on.namespace, on.name));
    let pod: Pod = try_decode(entry.ok_or_else(|| Status::not_found(&**on.kind, on.name))?)?;
    let container = container(&pod, call.query.text("container"))?;
    let node_name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    if node_name.is_empty() {
        // Nothing has run yet; upstream answers with no lines too.
        return Ok(Reply::of(StatusCode::OK, TEXT, Content::Whole(Vec::new().into())));
    }
    has_output(&pod, container, call.query.is_set("previous"))?;
    let node = node(&snapshot, node_name)?;
    let path = format!("/containerLogs/{}/{}/{container}{}", on.namespace, on.name, passed_on(&call.query));
    let answer =
        api.nodes.get(&node, &path, HeaderMap::new()).await.map_err(|error| Status::internal(&error))?;
    pass(answer).await
}

/// The Node object of a name.
pub(super) fn node(snapshot: &Snapshot, name: &str) -> Result<Node, Status> {
    let nodes = registry::kind_of::<Node>();
    try_decode(snapshot.get(&nodes.key("", name)).ok_or_else(|| Status::not_found(&**nodes, name))?)
}

/// Passes on what the node says: its lines, or its reason to have none.
async fn pass(answer: Response<ResponseBody>) -> Result<Reply, Status> {
    let (parts, body) = answer.into_parts();
    if parts.status == StatusCode::OK {
        return Ok(Reply::of(StatusCode::OK, TEXT, Content::Live(body.into_data_stream().boxed())));
    }
    Err(refused(parts.status, body).await)
}

/// The node's reason not to answer.
pub(super) async fn refused(code: StatusCode, body: ResponseBody) -> Status {
    let text = collect(body, ERROR_BYTES_MAX, |_| true).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Status::bad_request(text),
        StatusCode::TOO_MANY_REQUESTS => Status::too_many_requests(text, 1),
        code => Status::internal(format!("the node answered {code}: {text}")),
    }
}

fn passed_on(query: &Query) -> String {
    let own = PARAMETERS.iter().filter_map(|name| query.get(name).map(|value| (name, value)));
    let pairs: Vec<String> =
        own.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn validate(query: &Query, pod: &str) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    for (name, least, words) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        let value = query.integer(name).map_err(|value| {
            Status::bad_request(format!("invalid value {value:?} of the parameter {name}: not an integer"))
        })?;
        if let Some(value) = value.filter(|value| *value < least) {
            errors.invalid(&Path::new(name), value, words);
        }
    }
    let since = query.text("sinceTime");
    if since.is_some_and(|since| since.parse::<Timestamp>().is_err()) {
        return Err(Status::bad_request("sinceTime must be a time as in RFC 3339".to_owned()));
    }
    if since.is_some() && query.text("sinceSeconds").is_some() {
        errors.forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    let kind = GroupKind { group: "", kind: "PodLogOptions" };
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(kind, pod, &errors)) }
}

/// The container asked for, or the only one.
fn container<'a>(pod: &'a Pod, asked: Option<&'a str>) -> Result<&'a str, Status> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let main: Vec<&str> =
        spec.iter().flat_map(|spec| &spec.containers).map(|own| own.name.as_str()).collect();
    let init: Vec<&str> = spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .map(|own| own.name.as_str())
        .collect();
    match (asked, main.as_slice()) {
        (Some(asked), _) if main.contains(&asked) || init.contains(&asked) => Ok(asked),
        (Some(asked), _) => {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
        (None, [only]) => Ok(only),
        (None, _) => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                main.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// Whether the container has, or had, something to say; else why not, in the node agent's words.
fn has_output(pod: &Pod, container: &str, previous: bool) -> Result<(), Status> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let refuse =
        |rest: &str| Err(Status::bad_request(format!("container \"{container}\" in pod \"{name}\" {rest}")));
    let Some(status) = container_status(pod, container) else {
        return refuse("is waiting to start: ContainerCreating");
    };
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if previous {
        let message = format!("previous terminated container \"{container}\" in pod \"{name}\" not found");
        return last.map(|_| ()).ok_or_else(|| Status::bad_request(message));
    }
    let state = status.state.as_ref();
    let has_run = state.is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    if has_run || last.is_some() {
        return Ok(());
    }
    match state.and_then(|state| state.waiting.as_ref()) {
        None => refuse("is waiting to start - no logs yet"),
        Some(waiting) => match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull" => refuse("is waiting to start: image can't be pulled"),
            "ImagePullBackOff" => refuse("is waiting to start: trying and failing to pull image"),
            reason => refuse(&format!("is waiting to start: {reason}")),
        },
    }
}

fn container_status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses];
    all.into_iter().flatten().flatten().find(|own| own.name == container)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(containers: &[&str], init: &[&str], statuses: Value) -> Pod {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": named(containers), "initContainers": named(init)},
            "status": {"containerStatuses": statuses}
        }))
        .expect("a pod")
    }

    #[test]
    fn the_container_is_the_only_one_or_must_be_named() {
        let one = pod(&["a"], &[], json!([]));
        let two = pod(&["a", "b"], &["i"], json!([]));
        for (pod, asked, expected) in [
            (&one, None, Ok("a")),
            (&two, Some("b"), Ok("b")),
            (&two, Some("i"), Ok("i")),
            (&two, Some("c"), Err("container c is not valid for pod p")),
            (
                &two,
                None,
                Err(
                    "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
                ),
            ),
        ] {
            let found = container(pod, asked).map_err(|status| status.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{asked:?}");
        }
    }

    #[test]
    fn a_container_that_has_said_nothing_is_told_of_in_the_agents_words() {
        let status = |state: Value, last: Value| json!([{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state, "lastState": last}]);
        let ended = json!({"terminated": {"exitCode": 1}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        for (statuses, previous, expected) in [
            (json!([]), false, "container \"a\" in pod \"p\" is waiting to start: ContainerCreating"),
            (
                status(waiting("PodInitializing"), json!({})),
                false,
                "container \"a\" in pod \"p\" is waiting to start: PodInitializing",
            ),
            (
                status(waiting("ImagePullBackOff"), json!({})),
                false,
                "container \"a\" in pod \"p\" is waiting to start: trying and failing to pull image",
            ),
            (status(waiting("CrashLoopBackOff"), ended.clone()), false, ""),
            (status(json!({"running": {}}), json!({})), false, ""),
            (status(ended.clone(), json!({})), false, ""),
            (
                status(json!({"running": {}}), json!({})),
                true,
                "previous terminated container \"a\" in pod \"p\" not found",
            ),
            (status(json!({"running": {}}), ended.clone()), true, ""),
        ] {
            let pod = pod(&["a"], &[], statuses);
            let told =
                has_output(&pod, "a", previous).map_err(|status| status.message).err().unwrap_or_default();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn options_are_checked_and_passed_on() {
        let query =
            Query::parse(Some("follow=true&container=a&tailLines=5&sinceTime=2026-01-01T00%3A00%3A00Z"));
        assert!(validate(&query, "p").is_ok());
        assert_eq!(passed_on(&query), "?follow=true&sinceTime=2026%2D01%2D01T00%3A00%3A00Z&tailLines=5");
        for (raw, code) in [
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=0", 422),
            ("sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z", 422),
            ("sinceTime=yesterday", 400),
            ("tailLines=all", 400),
        ] {
            assert_eq!(validate(&Query::parse(Some(raw)), "p").expect_err(raw).code, code, "{raw}");
        }
    }
}
