//! What a node says of itself, against an API that is only asked about nodes and Leases.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::images;

/// What was asked, in order, and how Leases are answered.
#[derive(Clone)]
struct FakeApi {
    asked: watch::Sender<Vec<String>>,
    leases: Arc<Mutex<StatusCode>>,
    node: Arc<Mutex<Value>>,
}

impl FakeApi {
    fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<bytes::Bytes>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let body = body.collect().await.unwrap().to_bytes();
        let node = || self.node.lock().unwrap().clone();
        let (status, answer) = if path.starts_with("/isopod/") {
            // As an API of another make.
            (StatusCode::NOT_FOUND, json!({}))
        } else if path.contains("/leases") {
            (*self.leases.lock().unwrap(), json!({}))
        } else if path == "/api/v1/nodes" && parts.uri.query().unwrap_or_default().contains("watch=true") {
            // A watch that ends at once: the client lists again.
            (StatusCode::INTERNAL_SERVER_ERROR, json!({}))
        } else if path == "/api/v1/nodes" {
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": [node()]});
            (StatusCode::OK, list)
        } else if parts.method == Method::PATCH && path.ends_with("/status") {
            let patch: Value = serde_json::from_slice(&body).unwrap();
            self.node.lock().unwrap()["status"] = patch["status"].clone();
            (StatusCode::OK, node())
        } else {
            (StatusCode::OK, node())
        };
        let mut response = Response::new(Full::new(answer.to_string().into()));
        *response.status_mut() = status;
        self.asked.send_modify(|asked| asked.push(format!("{} {path}", parts.method)));
        response
    }

    /// Waits until the number of requests like this one is as wanted.
    async fn asked(&self, what: &str, times: usize) {
        let mut asked = self.asked.subscribe();
        let enough = |asked: &Vec<String>| asked.iter().filter(|one| *one == what).count() >= times;
        let waited = tokio::time::timeout(Duration::from_secs(60), asked.wait_for(enough)).await;
        drop(waited.unwrap_or_else(|_| panic!("{what} was not asked {times} times")).unwrap());
    }

    fn ready(&self) -> Value {
        let node = self.node.lock().unwrap().clone();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|one| one["type"] == "Ready").unwrap_or_default()["status"].clone()
    }
}

struct Fixture {
    api: FakeApi,
    registration: Registration,
    _folder: TempDir,
}

async fn registered() -> Fixture {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "u"}});
    let api = FakeApi {
        asked: watch::Sender::default(),
        leases: Arc::new(Mutex::new(StatusCode::OK)),
        node: Arc::new(Mutex::new(node)),
    };
    let folder = tempfile::tempdir().unwrap();
    let client = api.client();
    let images = Images::open(images::Config::new(folder.path().to_owned()), client.clone()).unwrap();
    let (events, _) = Events::new(client.clone(), "n");
    let facts = Facts {
        name: "n".into(),
        address: [127, 0, 0, 1].into(),
        server: "127.0.0.1:1".parse().unwrap(),
        pod_cidr: "127.42.0.0/16".into(),
        pods: 10,
        volumes: "/data/claims".into(),
        machine: Machine::default(),
    };
    let registration = Registration::register(facts, client, images, events).await.unwrap();
    assert_eq!(api.ready(), "True");
    Fixture { api, registration, _folder: folder }
}

#[tokio::test]
async fn a_renewal_that_failed_is_tried_again_soon() {
    let fixture = registered().await;
    assert_eq!(fixture.registration.renew(None).await, RENEW);
    // The namespace of Leases is not there yet.
    *fixture.api.leases.lock().unwrap() = StatusCode::NOT_FOUND;
    assert_eq!(fixture.registration.renew(None).await, RENEW_RETRY);
    *fixture.api.leases.lock().unwrap() = StatusCode::OK;
    assert_eq!(fixture.registration.renew(None).await, RENEW);
}

#[tokio::test]
async fn a_node_that_was_given_up_says_that_it_is_there() {
    let fixture = registered().await;
    let given_up = json!({"conditions": [{"type": "Ready", "status": "Unknown"}]});
    fixture.api.node.lock().unwrap()["status"] = given_up;
    let stop = CancellationToken::new();
    let running = tokio::spawn(fixture.registration.run(stop.clone()));
    fixture.api.asked("PATCH /api/v1/nodes/n/status", 2).await;
    assert_eq!(fixture.api.ready(), "True");
    stop.cancel();
    running.await.unwrap();
}
