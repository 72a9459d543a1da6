//! An API server just large enough for an agent: pods with a watch, ConfigMaps and Secrets, events, and the
//! registry. It keeps what it was told, so that a test can wait for it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::sync::watch;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The server. A cheap handle.
#[derive(Clone)]
pub(super) struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Moves with every change; the resource version of the pod that changed.
    version: u64,
    pods: BTreeMap<String, Value>,
    /// What watchers are told, with the version of each.
    changes: Vec<(u64, Value)>,
    objects: HashMap<String, Value>,
    events: Vec<Value>,
    status_writes: usize,
    registry: HashMap<String, Vec<u8>>,
}

impl Api {
    pub(super) async fn start() -> (Self, SocketAddr) {
        let api = Self { state: Arc::default(), changed: watch::Sender::new(0) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(api.clone(), listener));
        (api, address)
    }

    /// Stores an artifact of one WebAssembly layer under `name:v1`.
    pub(super) fn push(&self, name: &str, wasm: &[u8]) {
        let descriptor = |kind: &str, bytes: &[u8]| {
            let digest = digest(bytes);
            json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
        };
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                              "config": descriptor("application/vnd.wasm.config.v0+json", b"{}"),
                              "layers": [descriptor("application/wasm", wasm)]});
        let registry = &mut self.state.lock().unwrap().registry;
        registry.insert(digest(wasm), wasm.to_vec());
        registry.insert(format!("{name}/manifests/v1"), manifest.to_string().into_bytes());
    }

    /// A ConfigMap or Secret, by plural and name.
    pub(super) fn put(&self, plural: &str, name: &str, object: Value) {
        let mut object = object;
        object["metadata"] = json!({"name": name, "namespace": "ns"});
        self.state.lock().unwrap().objects.insert(format!("{plural}/{name}"), object);
    }

    /// A pod bound to the node, with a uid of its own.
    pub(super) fn create_pod(&self, name: &str, spec: Value) {
        let uid = format!("uid-{name}");
        self.change_pod(name, "ADDED", |pod| {
            *pod = json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Pending"}, "spec": spec.clone(),
                          "metadata": {"name": name, "namespace": "ns", "uid": uid, "generation": 1}});
        });
    }

    /// Asks for a graceful deletion.
    pub(super) fn delete_pod(&self, name: &str, seconds: i64) {
        let end = jiff::Timestamp::now() + std::time::Duration::from_secs(seconds.unsigned_abs());
        self.change_pod(name, "MODIFIED", |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(format!("{end:.0}"));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        });
    }

    fn change_pod(&self, name: &str, kind: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        let pod = state.pods.entry(name.to_owned()).or_default();
        change(pod);
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        let told = json!({"type": kind, "object": pod});
        if kind == "DELETED" {
            state.pods.remove(name);
        }
        state.changes.push((version, told));
        drop(state);
        self.changed.send_replace(version);
    }

    /// Waits until the pod is as `is` says (`Null` is a pod that is gone), and returns it.
    pub(super) async fn pod(&self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                let pod = self.state.lock().unwrap().pods.get(name).cloned().unwrap_or_default();
                if is(&pod) {
                    return pod;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(super::DEADLINE, wait).await {
            Ok(pod) => pod,
            Err(_) => panic!(
                "pod {name} stays {:#}",
                self.state.lock().unwrap().pods.get(name).unwrap_or(&Value::Null)
            ),
        }
    }

    /// Waits for an event with this reason, and returns its message.
    pub(super) async fn event(&self, reason: &str) -> String {
        let mut changed = self.changed.subscribe();
        let wait = async {
            loop {
                let found = self.events(reason).pop();
                if let Some(message) = found {
                    return message;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(super::DEADLINE, wait).await {
            Ok(message) => message,
            Err(_) => panic!("no event {reason} among {:?}", self.state.lock().unwrap().events),
        }
    }

    /// Messages of the events with this reason.
    pub(super) fn events(&self, reason: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let with_reason = state.events.iter().filter(|event| event["reason"] == reason);
        with_reason.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn status_writes(&self) -> usize {
        self.state.lock().unwrap().status_writes
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let path = parts.uri.path().to_owned();
        let segments: Vec<_> = path.split('/').skip(1).collect();
        match (&parts.method, segments.as_slice()) {
            (&Method::GET, ["api", "v1", plural @ ("pods" | "services")]) => self.list(plural, &query),
            (&Method::PATCH, ["api", "v1", "namespaces", _, "pods", name, "status"]) => {
                self.patch(name, &body)
            }
            (&Method::DELETE, ["api", "v1", "namespaces", _, "pods", name]) => {
                self.change_pod(name, "DELETED", |_| {});
                json_body(&json!({"kind": "Status", "status": "Success"}))
            }
            (&Method::GET, ["api", "v1", "namespaces", _, plural, name]) => {
                match self.state.lock().unwrap().objects.get(&format!("{plural}/{name}")) {
                    Some(object) => json_body(object),
                    None => not_found(),
                }
            }
            (&Method::POST, ["api", "v1", "namespaces", _, "events"]) => {
                self.state.lock().unwrap().events.push(serde_json::from_slice(&body).unwrap());
                self.changed.send_modify(|_| {});
                json_body(&json!({}))
            }
            (&Method::GET, ["v2", name, kind, reference]) => {
                let state = self.state.lock().unwrap();
                let key = if *kind == "blobs" {
                    (*reference).to_owned()
                } else {
                    format!("{name}/{kind}/{reference}")
                };
                match state.registry.get(&key) {
                    Some(bytes) => Response::new(full(bytes.clone())),
                    None => not_found(),
                }
            }
            _ => json_body(&json!({})),
        }
    }

    fn list(&self, plural: &str, query: &str) -> Response<Body> {
        if query.contains("watch=true") {
            let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
            let from = from.and_then(|version| version.parse().ok()).unwrap_or(0);
            return self.watch(plural == "pods", from);
        }
        let state = self.state.lock().unwrap();
        let items: Vec<_> = match plural {
            "pods" => state.pods.values().cloned().collect(),
            _ => vec![json!({"metadata": {"name": "kubernetes", "namespace": "default"},
                             "spec": {"clusterIP": "127.43.0.1", "ports": [{"name": "https", "port": 443}]}})],
        };
        json_body(&json!({"kind": "List", "apiVersion": "v1", "items": items,
                          "metadata": {"resourceVersion": state.version.to_string()}}))
    }

    fn watch(&self, pods: bool, from: u64) -> Response<Body> {
        let api = self.clone();
        let changed = self.changed.subscribe();
        let lines = futures::stream::unfold((from, changed), move |(seen, mut changed)| {
            let api = api.clone();
            async move {
                loop {
                    let next = if pods { api.change_after(seen) } else { None };
                    if let Some((version, change)) = next {
                        return Some((format!("{change}\n"), (version, changed)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        let frames = lines.map(|line| Ok(Frame::data(Bytes::from(line))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn change_after(&self, seen: u64) -> Option<(u64, Value)> {
        let state = self.state.lock().unwrap();
        let first = state.changes.partition_point(|(version, _)| *version <= seen);
        state.changes.get(first).cloned()
    }

    fn patch(&self, name: &str, body: &[u8]) -> Response<Body> {
        let patch: Value = serde_json::from_slice(body).unwrap();
        {
            let mut state = self.state.lock().unwrap();
            state.status_writes += 1;
            if state.pods.get(name).is_none_or(|pod| pod["metadata"]["uid"] != patch["metadata"]["uid"]) {
                return not_found();
            }
        }
        self.change_pod(name, "MODIFIED", |pod| merge(&mut pod["status"], &patch["status"]));
        json_body(&self.state.lock().unwrap().pods[name])
    }
}

/// Strategic merge, as far as a pod's status needs it: conditions by their type, other lists as a whole.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(field);
            }
            Value::Array(conditions) if field == "conditions" => {
                let known = target["conditions"].as_array().cloned().unwrap_or_default();
                let mut all = known;
                for condition in conditions {
                    match all.iter_mut().find(|known| known["type"] == condition["type"]) {
                        Some(known) => merge(known, condition),
                        None => all.push(condition.clone()),
                    }
                }
                target["conditions"] = Value::Array(all);
            }
            Value::Object(_) => merge(&mut target[field], value),
            _ => target[field] = value.clone(),
        }
    }
}

async fn serve(api: Api, listener: tokio::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let api = api.clone();
        let service = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

fn json_body(value: &Value) -> Response<Body> {
    Response::new(full(value.to_string()))
}

fn not_found() -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                        "message": "not found"});
    Response::builder().status(StatusCode::NOT_FOUND).body(full(status.to_string())).unwrap()
}
