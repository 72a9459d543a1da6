//! The agent with the real runtime, against a tiny API server.

mod api;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::api::Api;
use super::addresses::Addresses;
use super::env::Host;
use super::events::Events;
use super::services::Services;
use super::sources::Sources;
use super::start::Starter;
use super::*;
use crate::images::{self, Images};
use crate::local::{Body, Caller, LocalPods, Outbound, OutboundError, PodIdentity, empty_body};
use crate::logs::{Logs, ReadOptions};
use crate::runtime::{self, Runtime};
use crate::volumes::{Claims, Volumes};

const DEADLINE: Duration = Duration::from_secs(60);
const HELLO: &[u8] = include_bytes!("../../../samples/hello/hello.wasm");
const TOOL: &[u8] = include_bytes!("../../../tests/guests/tool/tool.wasm");
const STRANGER: &[u8] = include_bytes!("../../../tests/guests/stranger/stranger.wasm");

struct NoWayOut;

impl Outbound for NoWayOut {
    fn send(
        &self,
        _: &PodIdentity,
        _: Request<Body>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, OutboundError>> {
        Box::pin(async { Err(OutboundError::BadRequest("there is no network here")) })
    }

    fn resolve(&self, _: &PodIdentity, _: &str) -> Option<Vec<IpAddr>> {
        None
    }
}

/// A node: what stays over a restart of the agent, and one run of it.
struct Fixture {
    api: Api,
    address: SocketAddr,
    folder: TempDir,
    local: LocalPods,
    logs: Logs,
    stop: CancellationToken,
    agent: tokio::task::JoinHandle<()>,
}

impl Fixture {
    async fn new() -> Self {
        let (api, address) = Api::start().await;
        api.push("hello", HELLO);
        api.push("tool", TOOL);
        api.push("stranger", STRANGER);
        api.push("broken", b"\0asm but nothing else");
        let folder = tempfile::tempdir().unwrap();
        let (local, logs) = (LocalPods::default(), Logs::new(folder.path().join("logs")));
        let stop = CancellationToken::new();
        let agent =
            tokio::spawn(run(address, folder.path().to_owned(), local.clone(), logs.clone(), stop.clone()));
        Self { api, address, folder, local, logs, stop, agent }
    }

    async fn restart(&mut self) {
        self.stop.cancel();
        (&mut self.agent).await.unwrap();
        self.local = LocalPods::default();
        self.logs = Logs::new(self.folder.path().join("logs"));
        self.stop = CancellationToken::new();
        let (folder, stop) = (self.folder.path().to_owned(), self.stop.clone());
        self.agent = tokio::spawn(run(self.address, folder, self.local.clone(), self.logs.clone(), stop));
    }

    async fn ask(&self, pod: &Value, port: u16) -> Option<String> {
        let address = SocketAddr::new(pod["status"]["podIP"].as_str().unwrap().parse().unwrap(), port);
        let handler = self.local.lookup(address)?;
        let request =
            Request::get(format!("http://{address}/there")).header("host", "x").body(empty_body()).unwrap();
        let response = handler.call(Caller { addr: "127.0.0.1".parse().unwrap() }, request).await.ok()?;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    async fn log(&self, pod: &str) -> String {
        let options = ReadOptions { follow: true, ..ReadOptions::default() };
        let mut stream = self.logs.read("ns", pod, "c", options).unwrap();
        let mut text = Vec::new();
        while let Some(piece) = tokio::time::timeout(DEADLINE, stream.next()).await.unwrap() {
            text.extend_from_slice(&piece.unwrap());
        }
        String::from_utf8(text).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The node's parts that an agent needs, until `stop`.
async fn run(
    api: SocketAddr,
    folder: std::path::PathBuf,
    local: LocalPods,
    logs: Logs,
    stop: CancellationToken,
) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = kube::Client::try_from(kube::Config::new(format!("http://{api}").parse().unwrap())).unwrap();
    let images = Images::open(images::Config::new(folder.join("images")), client.clone()).unwrap();
    let mut config = runtime::Config::new(folder.join("code"));
    config.live_instances = 20;
    let (events, writer) = Events::new(client.clone(), "node");
    let (services, watch) = Services::new(client.clone());
    let address = "127.0.0.1".parse().unwrap();
    let host = Host { node_name: "node".into(), address, allocatable: Default::default() };
    let flusher = logs.flusher();
    let sources = Sources::new(client.clone());
    let claims = Claims::new(client.clone(), "n", &folder.join("claims"));
    let volumes = Volumes::new(folder.join("volumes"), sources.clone(), claims, host.clone());
    let refresher = volumes.refresher(client.clone(), events.clone());
    let starter = Starter::new(
        Runtime::new(config).unwrap(),
        images,
        sources,
        services,
        volumes,
        logs,
        local,
        Arc::new(NoWayOut),
        events,
        host,
    );
    let addresses = Addresses::new(&"127.42.251.0/28".parse().unwrap()).unwrap();
    let agent = Agent::new("node".into(), client, Arc::new(starter), addresses);
    tokio::join!(
        agent.run(stop.clone()),
        watch.run(stop.clone()),
        refresher.run(stop.clone()),
        flusher.run(stop.clone()),
        writer.run(stop)
    );
}

fn container(image: &str, more: Value) -> Value {
    let mut container = json!({"name": "c", "image": image});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container
}

fn tool(args: &[&str]) -> Value {
    json!({"restartPolicy": "Never", "containers": [container("registry.local/tool:v1", json!({"args": args}))]})
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

fn waits_for<'a>(reason: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |pod| state(pod)["waiting"]["reason"] == reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_becomes_ready_answers_and_goes() {
    let fixture = Fixture::new().await;
    let env = json!([{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let hello = container(
        "registry.local/hello:v1",
        json!({"env": env, "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}}}),
    );
    // What follows is about a component that is compiled already.
    fixture.api.create_pod("warm", json!({"containers": [hello.clone()]}));
    fixture.api.pod("warm", is_ready).await;
    let writes = fixture.api.status_writes();
    fixture.api.create_pod("p", json!({"containers": [hello]}));
    let pod = fixture.api.pod("p", is_ready).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(fixture.api.status_writes() - writes <= 2, "one write for Running, at most one more for Ready");
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    assert!(id.starts_with("wasmtime://"), "{id}");
    assert_eq!(fixture.ask(&pod, 8080).await.unwrap(), "Hello from p! You asked for /there\n");
    assert_eq!(fixture.ask(&pod, 80).await, None);
    assert_eq!(fixture.api.event("Started").await, "Started container c");

    fixture.api.delete_pod("p", 5);
    fixture.api.pod("p", Value::is_null).await;
    assert_eq!(fixture.ask(&pod, 8080).await, None);
    assert_eq!(fixture.api.event("Killing").await, "Stopping container c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_to_its_end_and_its_log_stays() {
    let fixture = Fixture::new().await;
    fixture.api.create_pod("p", tool(&["args", "$(KUBERNETES_SERVICE_HOST)"]));
    let pod = fixture.api.pod("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    let end = &state(&pod)["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("Completed"), &json!(0)));
    assert_eq!(fixture.log("p").await, "[\"c\", \"args\", \"127.43.0.1\"]\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_fails_its_pod_with_its_code() {
    let fixture = Fixture::new().await;
    fixture.api.create_pod("p", tool(&["exit", "7"]));
    let pod = fixture.api.pod("p", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(state(&pod)["terminated"]["exitCode"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_beyond_the_limit_is_an_oom_kill() {
    let fixture = Fixture::new().await;
    let mut spec = tool(&["hog"]);
    spec["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
    fixture.api.create_pod("p", spec);
    let pod = fixture.api.pod("p", |pod| pod["status"]["phase"] == "Failed").await;
    let end = &state(&pod)["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("OOMKilled"), &json!(137)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_container_is_restarted_and_then_waits() {
    let fixture = Fixture::new().await;
    let mut spec = tool(&["exit", "1"]);
    spec["restartPolicy"] = json!("Always");
    fixture.api.create_pod("p", spec);
    let pod = fixture.api.pod("p", waits_for("CrashLoopBackOff")).await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1, "the first restart comes at once");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    let message = "back-off 10s restarting failed container=c pod=p_ns(uid-p)";
    assert_eq!(state(&pod)["waiting"]["message"], message);
    let event = fixture.api.event("BackOff").await;
    assert_eq!(event, "Back-off restarting failed container c in pod p_ns(uid-p)");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_run_say_why() {
    let fixture = Fixture::new().await;
    let pod = |image: &str| json!({"containers": [container(image, json!({}))]});
    for (name, image, reason, message) in [
        ("missing", "registry.local/none:v1", "ErrImagePull", "not found"),
        ("invalid", "registry.local/UPPER:v1", "InvalidImageName", "invalid reference format"),
        ("broken", "registry.local/broken:v1", "CreateContainerError", "cannot be run: "),
        (
            "stranger",
            "registry.local/stranger:v1",
            "CreateContainerError",
            "imports what this node does not offer",
        ),
    ] {
        fixture.api.create_pod(name, pod(image));
        let pod = fixture.api.pod(name, waits_for(reason)).await;
        let told = state(&pod)["waiting"]["message"].as_str().unwrap();
        assert!(told.contains(message), "{name}: {told}");
    }
    fixture.api.pod("missing", waits_for("ImagePullBackOff")).await;
    assert_eq!(fixture.api.event("BackOff").await, "Back-off pulling image \"registry.local/none:v1\"");
    let failed = fixture.api.events("Failed");
    assert!(failed.contains(&"Error: ErrImagePull".to_owned()), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_holds_a_container_back_until_it_is_there() {
    let fixture = Fixture::new().await;
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}]);
    let mut spec = tool(&["env"]);
    spec["containers"][0]["env"] = env;
    fixture.api.create_pod("p", spec);
    let pod = fixture.api.pod("p", waits_for("CreateContainerConfigError")).await;
    assert_eq!(state(&pod)["waiting"]["message"], "configmap \"cm\" not found");
    assert_eq!(fixture.api.event("Failed").await, "Error: configmap \"cm\" not found");
    fixture.api.put("configmaps", "cm", json!({"data": {"k": "value"}}));
    fixture.api.pod("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    let log = fixture.log("p").await;
    assert!(log.lines().any(|line| line == "A=value"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_maps_are_mounted_as_files() {
    let fixture = Fixture::new().await;
    fixture.api.put("configmaps", "cm", json!({"data": {"k": "content\n"}}));
    let mut spec = tool(&["cat", "/etc/app/k"]);
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "cm"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/etc/app"}]);
    fixture.api.create_pod("p", spec);
    fixture.api.pod("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(fixture.log("p").await, "content\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_come_first() {
    let fixture = Fixture::new().await;
    let init =
        |name: &str, args: &[&str]| json!({"name": name, "image": "registry.local/tool:v1", "args": args});
    let mut spec = tool(&["args"]);
    spec["initContainers"] = json!([init("i1", &["exit", "0"]), init("i2", &["exit", "3"])]);
    fixture.api.create_pod("p", spec);
    let pod = fixture.api.pod("p", |pod| pod["status"]["phase"] == "Failed").await;
    let inits = &pod["status"]["initContainerStatuses"];
    assert_eq!(inits[0]["state"]["terminated"]["exitCode"], 0);
    assert_eq!(inits[1]["state"]["terminated"]["exitCode"], 3);
    assert_eq!(state(&pod)["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&pod, "Initialized"), "False");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_agent_starts_pods_afresh_at_their_address() {
    let mut fixture = Fixture::new().await;
    fixture.api.create_pod("p", json!({"containers": [container("registry.local/hello:v1", json!({}))]}));
    let before = fixture.api.pod("p", is_ready).await;
    fixture.restart().await;
    fixture.api.create_pod("q", json!({"containers": [container("registry.local/hello:v1", json!({}))]}));
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod);
    let after = fixture.api.pod("p", restarted).await;
    let other = fixture.api.pod("q", is_ready).await;
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert_ne!(other["status"]["podIP"], before["status"]["podIP"]);
    let last = &after["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["reason"], "ContainerStatusUnknown");
    assert!(fixture.ask(&after, 80).await.unwrap().starts_with("Hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_liveness_probe_restarts_the_container() {
    let fixture = Fixture::new().await;
    let probe = json!({"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1});
    let hello = container("registry.local/hello:v1", json!({"livenessProbe": probe}));
    fixture.api.create_pod("p", json!({"containers": [hello]}));
    fixture.api.pod("p", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(fixture.api.event("Killing").await, "Container c failed liveness probe, will be restarted");
    let unhealthy = fixture.api.event("Unhealthy").await;
    assert!(unhealthy.starts_with("Liveness probe failed: dial tcp 127.42.251."), "{unhealthy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_may_serve_as_the_last_words() {
    let fixture = Fixture::new().await;
    let mut spec = tool(&["hog-gently"]);
    spec["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    spec["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
    fixture.api.create_pod("p", spec);
    let pod = fixture.api.pod("p", |pod| pod["status"]["phase"] == "Failed").await;
    let message = state(&pod)["terminated"]["message"].as_str().unwrap();
    assert!(message.contains("enough") || message.contains("memory"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_and_those_that_cannot_say_so() {
    let fixture = Fixture::new().await;
    let exec = json!({"exec": {"command": ["true"]}});
    let hello = |lifecycle: Value| json!({"containers": [container("registry.local/hello:v1", json!({"lifecycle": lifecycle}))]});
    let get = json!({"httpGet": {"path": "/", "port": 80}});
    fixture.api.create_pod("p", hello(json!({"postStart": get, "preStop": exec})));
    fixture.api.pod("p", is_ready).await;
    fixture.api.delete_pod("p", 5);
    fixture.api.pod("p", Value::is_null).await;
    let event = fixture.api.event("FailedPreStopHook").await;
    assert!(event.starts_with("PreStopHook failed: exec hooks are not available"), "{event}");
    fixture.api.create_pod("q", hello(json!({"postStart": exec})));
    fixture.api.pod("q", waits_for("PostStartHookError")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_beyond_the_addresses_wait_for_one() {
    let fixture = Fixture::new().await;
    let spec = || json!({"containers": [container("registry.local/hello:v1", json!({}))]});
    for n in 0..15 {
        fixture.api.create_pod(&format!("p{n:02}"), spec());
    }
    for n in 0..14 {
        fixture.api.pod(&format!("p{n:02}"), is_ready).await;
    }
    let message = fixture.api.event("FailedCreatePodSandBox").await;
    assert_eq!(message, "Failed to create pod sandbox: all 14 addresses of this node are in use");
}
