//! Real guests in a real engine, in this process. The guests are in `tests/guests` and `samples`, prebuilt.

mod command;
mod hostile;
mod http;
mod prepare;
mod preview3;
mod reuse;

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use ::http::{Request, Response};
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::local::{Body, CallError, Caller, OutboundError, PodIdentity, empty_body, full_body};
use crate::logs::{Logs, PodRef, ReadOptions};

/// Longer than anything takes; a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// A runtime with a log and a network.
struct Node {
    runtime: Runtime,
    logs: Logs,
    network: Arc<Network>,
    dir: tempfile::TempDir,
    _shutdown: DropGuard,
}

impl Node {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut config = Config::new(dir.path().join("code"));
        // Many engines live in the one process of the tests.
        config.live_instances = 64;
        change(&mut config);
        let logs = Logs::new(dir.path().join("logs"));
        let shutdown = CancellationToken::new();
        tokio::spawn(logs.flusher().run(shutdown.clone()));
        let runtime = Runtime::new(config).unwrap();
        let _shutdown = shutdown.drop_guard();
        Self { runtime, logs, network: Arc::default(), dir, _shutdown }
    }

    async fn artifact(&self, guest: &str) -> Arc<Artifact> {
        let bytes = wasm(guest);
        let digest = digest::Digest::of(&bytes);
        self.runtime.prepare(digest.as_str(), bytes).await.unwrap()
    }

    /// A container of a guest, changed as the test wants it.
    async fn start(&self, guest: &str, change: impl FnOnce(&mut ContainerSpec)) -> Container {
        let mut spec = ContainerSpec {
            pod: pod(),
            name: guest.to_owned(),
            artifact: self.artifact(guest).await,
            args: vec![],
            env: vec![],
            mounts: vec![],
            memory_limit_bytes: None,
            cpu_limit_millis: None,
            config: vec![],
            instances: Instances::Fresh,
            logs: self.logs.open(&pod_ref(), "c", 0),
        };
        change(&mut spec);
        self.runtime.start(spec, self.network.clone()).unwrap()
    }

    /// All that the container wrote; waits for its end.
    async fn log(&self) -> String {
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let stream = self.logs.read("ns", "pod", "c", options).unwrap().into_stream();
        let chunks = stream.try_collect::<Vec<_>>();
        let chunks = tokio::time::timeout(DEADLINE, chunks).await.expect("the log ends").unwrap();
        String::from_utf8(chunks.concat()).unwrap()
    }
}

fn pod() -> PodIdentity {
    let addr = "127.42.0.7".parse().unwrap();
    PodIdentity { namespace: "ns".into(), name: "pod".into(), uid: "uid".into(), addr }
}

fn pod_ref() -> PodRef {
    PodRef { namespace: "ns".into(), name: "pod".into(), uid: "uid".into() }
}

/// The prebuilt component of a sample or a test guest.
fn wasm(guest: &str) -> Bytes {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = ["samples", "tests/guests"]
        .iter()
        .find_map(|folder| std::fs::read(root.join(folder).join(guest).join(format!("{guest}.wasm"))).ok());
    found.unwrap_or_else(|| panic!("no prebuilt guest {guest}")).into()
}

/// The network of the tests: a few names, each answered by a container or not at all.
#[derive(Default)]
struct Network {
    hosts: Mutex<HashMap<String, Arc<dyn crate::local::HttpHandler>>>,
}

impl Outbound for Network {
    fn send(
        &self,
        from: &PodIdentity,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        assert_eq!(*from, pod());
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let handler = self.hosts.lock().unwrap().get(&host).cloned();
        let caller = Caller { addr: from.addr };
        Box::pin(async move {
            let Some(handler) = handler else { return Err(OutboundError::UnknownName { name: host }) };
            let response = handler.call(caller, request).await;
            response.map_err(|error| OutboundError::NoResponse { host, source: error.to_string().into() })
        })
    }

    fn resolve(&self, _: &PodIdentity, name: &str) -> Option<Vec<IpAddr>> {
        (name == "back.ns").then(|| vec!["127.43.0.9".parse().unwrap(), "127.43.0.10".parse().unwrap()])
    }
}

/// Asks a container for a path.
async fn get(container: &Container, path: &str) -> Result<Response<Body>, CallError> {
    ask(container, request(path, empty_body())).await
}

fn request(path: &str, body: Body) -> Request<Body> {
    Request::builder().uri(path).header("host", "web.ns").body(body).unwrap()
}

async fn ask(container: &Container, request: Request<Body>) -> Result<Response<Body>, CallError> {
    let handler = container.handler().expect("an HTTP container");
    let caller = Caller { addr: "127.0.0.1".parse().unwrap() };
    tokio::time::timeout(DEADLINE, handler.call(caller, request)).await.expect("an answer comes")
}

async fn text(response: Response<Body>) -> String {
    let body = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.expect("the body ends");
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}

/// The state a container ends in.
async fn end(container: &Container) -> (i32, Reason, String) {
    let mut state = container.state();
    let exited = state.wait_for(|state| matches!(state, State::Exited { .. }));
    let state = tokio::time::timeout(DEADLINE, exited).await.expect("the container ends").unwrap().clone();
    match state {
        State::Exited { code, reason, message, .. } => (code, reason, message),
        State::Running { .. } => unreachable!("waited for the end"),
    }
}
