//! A member of its own for each test: a store in a temporary folder, the API over it, and a client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use isopod_raft_store::Store;
use k8s_openapi::api::core::v1::Node;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::admission::Policy;
use crate::api::{Api, Build, Config, NodeApi, NodeUnreachable, ResponseBody, handle};
use crate::fairness::Limits;
use crate::objects::Objects;
use crate::security::{Access, Identity, SigningKey};

/// Longest wait of a test for something that should happen at once.
const DEADLINE: Duration = Duration::from_secs(20);

/// A member with the namespace `default`.
pub(super) struct Member {
    pub(super) api: Arc<Api>,
    pub(super) objects: Objects,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A node that answers with the path it is asked for.
struct EchoNode;

impl NodeApi for EchoNode {
    fn get<'a>(
        &'a self,
        node: &'a Node,
        path_and_query: &'a str,
        _: HeaderMap,
    ) -> BoxFuture<'a, Result<http::Response<ResponseBody>, NodeUnreachable>> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let text = Bytes::from(format!("{name} {path_and_query}\n"));
        let body = Full::new(text).map_err(|error| match error {}).boxed_unsync();
        Box::pin(async { Ok(http::Response::new(body)) })
    }

    fn delete<'a>(
        &'a self,
        _: &'a Node,
        _: &'a str,
    ) -> BoxFuture<'a, Result<http::StatusCode, NodeUnreachable>> {
        Box::pin(async { Ok(http::StatusCode::OK) })
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `code reason: message` of a Status.
    pub(super) fn status(&self) -> String {
        let body = self.json();
        let word = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", self.code, word("reason"), word("message"))
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    }
}

impl Member {
    pub(super) async fn start() -> Member {
        Member::start_with(|_| {}).await
    }

    /// A member that remembers so many changes only.
    pub(super) async fn start_with_history(events: usize) -> Member {
        Member::start_with(|config| config.history_events_max = events).await
    }

    async fn start_with(change: impl FnOnce(&mut isopod_raft_store::Config)) -> Member {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = isopod_raft_store::Config::new(folder.path());
        change(&mut config);
        let (store, driver) = Store::open(config).await.expect("a fresh store");
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { driver.run(stop).await });
        let mut leadership = store.leadership();
        tokio::time::timeout(DEADLINE, leadership.wait_for(|now| now.is_leader))
            .await
            .expect("a leader in time")
            .expect("the store is open");
        let policy = Policy { service_range: "10.43.0.0/24".parse().expect("a range") };
        let objects = Objects::new(store, policy);
        let access = Access::new(objects.store().clone(), SigningKey::generate().expect("a fresh key"));
        tokio::spawn(access.clone().run(shutdown.clone()));
        tokio::spawn(objects.clone().follow_kinds(shutdown.clone()));
        let api = Arc::new(Api::new(Config {
            objects: objects.clone(),
            access: access.clone(),
            nodes: Arc::new(EchoNode),
            address: "127.0.0.1:6443".to_owned(),
            build: Build { version: "0.0.0".to_owned(), commit: String::new() },
            metrics: Registry::default(),
            limits: Limits::default(),
            shutdown: shutdown.clone(),
        }));
        let member = Member { api, objects, shutdown, _folder: folder };
        member.created("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
        member
    }

    pub(super) async fn request(&self, request: Request<Full<Bytes>>) -> http::Response<ResponseBody> {
        self.request_as(Identity::control_plane(), request).await
    }

    pub(super) async fn request_as(
        &self,
        identity: Identity,
        request: Request<Full<Bytes>>,
    ) -> http::Response<ResponseBody> {
        // As a connection does: the answer may be made on any thread.
        let answer = tokio::spawn(handle(Arc::clone(&self.api), identity, request));
        tokio::time::timeout(DEADLINE, answer).await.expect("an answer in time").expect("no panic")
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
        read(self.request(request).await).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], b"").await
    }

    pub(super) async fn get_by(&self, identity: Identity, path: &str) -> Answer {
        let request = Request::builder().uri(path).body(Full::new(Bytes::new())).expect("a request");
        read(self.request_as(identity, request).await).await
    }

    /// Begins to stop the member.
    pub(super) fn shutdown(&self) {
        self.shutdown.cancel();
    }

    pub(super) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send(Method::GET, path, &[("accept", accept)], b"").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string().as_bytes())
            .await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", "application/json")], body.to_string().as_bytes())
            .await
    }

    pub(super) async fn delete(&self, path: &str, options: Option<Value>) -> Answer {
        let body = options.map(|options| options.to_string()).unwrap_or_default();
        self.send(Method::DELETE, path, &[("content-type", "application/json")], body.as_bytes()).await
    }

    /// Creates what must be creatable.
    pub(super) async fn created(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.code, 201, "{path}: {}", answer.text());
        answer.json()
    }

    pub(super) async fn config_map(&self, name: &str, labels: Value) -> Value {
        let body = json!({"metadata": {"name": name, "labels": labels}, "data": {"k": name}});
        self.created("/api/v1/namespaces/default/configmaps", &body).await
    }

    /// Opens a watch.
    pub(super) async fn watch(&self, path: &str) -> Frames {
        self.watch_as(path, "application/json").await
    }

    pub(super) async fn watch_as(&self, path: &str, accept: &str) -> Frames {
        let request = Request::builder().uri(path).header("accept", accept);
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let response = self.request(request).await;
        assert_eq!(response.status(), 200, "{path}");
        Frames { body: response.into_body(), buffer: Vec::new() }
    }
}

/// The frames of a watch.
pub(super) struct Frames {
    body: ResponseBody,
    buffer: Vec<u8>,
}

impl Frames {
    /// The next frame; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let frame: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&frame).expect("a frame of JSON"));
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("a frame in time")?;
            self.buffer.extend_from_slice(&frame.expect("a sound stream").into_data().expect("data"));
        }
    }

    /// `TYPE name` of the next frame.
    pub(super) async fn event(&mut self) -> String {
        let frame = self.next().await.expect("another frame");
        let name = frame["object"]["metadata"]["name"].as_str().unwrap_or_default();
        format!("{} {name}", frame["type"].as_str().unwrap_or_default())
    }
}

pub(super) async fn read(response: http::Response<ResponseBody>) -> Answer {
    let (parts, body) = response.into_parts();
    let body =
        tokio::time::timeout(DEADLINE, body.collect()).await.expect("a body in time").expect("a sound body");
    Answer { code: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() }
}

pub(super) fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a resourceVersion")
}
