//! Probes of a container that answers in process, and of one that does not, asked more often than a pod can declare.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http::{Request, Response};
use serde_json::{Value, json};

use super::*;
use crate::local::{Body, CallError, Caller, HttpHandler, LocalPods, PodIdentity, Registration, full_body};

/// Answers with the next of these statuses, and the last one for ever; keeps the requests' first lines.
struct Answers {
    statuses: Mutex<Vec<u16>>,
    requests: Mutex<Vec<String>>,
}

impl HttpHandler for Answers {
    fn call(
        &self,
        _: Caller,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
        self.requests.lock().unwrap().push(format!("{} {agent}", request.uri()));
        let mut statuses = self.statuses.lock().unwrap();
        let status = if statuses.len() > 1 { statuses.remove(0) } else { statuses[0] };
        Box::pin(async move { Ok(Response::builder().status(status).body(full_body("")).unwrap()) })
    }
}

fn target(local: &LocalPods) -> Target {
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    Target { local: local.clone(), address: ip("127.42.250.1"), from: ip("127.0.0.1"), exec: None }
}

fn serve(local: &LocalPods, statuses: &[u16]) -> (Arc<Answers>, Registration) {
    let answers = Arc::new(Answers { statuses: Mutex::new(statuses.to_vec()), requests: Mutex::default() });
    let (namespace, name, uid) = ("ns".into(), "p".into(), "u".into());
    let pod = Arc::new(PodIdentity { namespace, name, uid, addr: target(local).address });
    let registration = local.register(pod, 8080, answers.clone());
    (answers, registration)
}

/// As declared, but a thousand times faster.
fn prober(local: &LocalPods, probes: Value) -> Prober {
    let mut container = json!({"name": "c"});
    container.as_object_mut().unwrap().extend(probes.as_object().unwrap().clone());
    let mut prober = Prober::new(&serde_json::from_value(container).unwrap(), target(local)).unwrap();
    for active in &mut prober.active {
        active.probe.period /= 1000;
    }
    prober
}

fn failed(purpose: Purpose, message: &str) -> Finding {
    Finding::Failed { purpose, message: message.into() }
}

const HTTP_500: &str = "HTTP probe failed with statuscode: 500";

#[tokio::test]
async fn a_ready_container_is_found_at_once() {
    let local = LocalPods::default();
    let (answers, _registration) = serve(&local, &[204]);
    let mut prober = prober(&local, json!({"readinessProbe": {"httpGet": {"port": 8080, "path": "/ok"}}}));
    assert_eq!(prober.next().await, Finding::Ready);
    assert_eq!(*answers.requests.lock().unwrap(), ["http://127.42.250.1:8080/ok kube-probe/1.36"]);
}

#[tokio::test]
async fn liveness_fails_after_enough_failures_in_a_row() {
    let local = LocalPods::default();
    let (_answers, _registration) = serve(&local, &[500, 200, 500, 500]);
    let probe = json!({"httpGet": {"port": 8080}, "periodSeconds": 5, "failureThreshold": 2,
                       "terminationGracePeriodSeconds": 3});
    let mut prober = prober(&local, json!({"livenessProbe": probe}));
    for _ in 0..3 {
        assert_eq!(prober.next().await, failed(Purpose::Liveness, HTTP_500));
    }
    let grace = Some(Duration::from_secs(3));
    assert_eq!(prober.next().await, Finding::Unhealthy { purpose: Purpose::Liveness, grace });
}

#[tokio::test]
async fn the_startup_probe_holds_back_the_others() {
    let local = LocalPods::default();
    let (answers, _registration) = serve(&local, &[500, 200]);
    let probe = |path: &str| json!({"httpGet": {"port": 8080, "path": path}});
    let probes = json!({"startupProbe": probe("/start"), "readinessProbe": probe("/ready")});
    let mut prober = prober(&local, probes);
    assert_eq!(prober.next().await, failed(Purpose::Startup, HTTP_500));
    assert_eq!(prober.next().await, Finding::Started);
    assert_eq!(prober.next().await, Finding::Ready);
    let asked: Vec<_> = answers.requests.lock().unwrap().iter().map(|line| line.contains("/start")).collect();
    assert_eq!(asked, [true, true, false]);
}

#[tokio::test]
async fn an_attempt_goes_on_when_nobody_waits() {
    let listener = tokio::net::TcpListener::bind("127.42.250.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let local = LocalPods::default();
    let probe = json!({"httpGet": {"port": port}, "timeoutSeconds": 60});
    let mut prober = prober(&local, json!({"readinessProbe": probe}));
    // Given up as soon as the connection is made.
    let stream = tokio::select! {
        accepted = listener.accept() => accepted.unwrap().0,
        finding = prober.next() => panic!("{finding:?} before an answer"),
    };
    let (finding, ()) = tokio::join!(prober.next(), answer(stream, 200));
    assert_eq!(finding, Finding::Ready);
    assert!(listener.accept().now_or_never().is_none(), "one connection was enough");
}

async fn answer(stream: tokio::net::TcpStream, status: u16) {
    let service = hyper::service::service_fn(move |_| async move {
        Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(full_body("")).unwrap())
    });
    let io = hyper_util::rt::TokioIo::new(stream);
    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok();
}

#[tokio::test]
async fn a_container_that_does_not_listen_refuses_the_connection() {
    let local = LocalPods::default();
    // An address that nobody binds, and a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.42.250.1:0").unwrap().local_addr().unwrap().port();
    let mut prober = prober(&local, json!({"readinessProbe": {"tcpSocket": {"port": port}}}));
    let want = format!("dial tcp 127.42.250.1:{port}: connect: connection refused");
    assert_eq!(prober.next().await, failed(Purpose::Readiness, &want));
}

#[tokio::test]
async fn a_container_that_listens_itself_is_asked_over_tcp() {
    let listener = tokio::net::TcpListener::bind("127.42.250.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let local = LocalPods::default();
    let mut prober = prober(&local, json!({"readinessProbe": {"httpGet": {"port": port}}}));
    let server = async { answer(listener.accept().await.unwrap().0, 503).await };
    let (finding, ()) = tokio::join!(prober.next(), server);
    assert_eq!(finding, failed(Purpose::Readiness, "HTTP probe failed with statuscode: 503"));
}

#[tokio::test]
async fn an_exec_probe_fails_with_what_to_do_instead() {
    let local = LocalPods::default();
    let mut prober = prober(&local, json!({"livenessProbe": {"exec": {"command": ["true"]}}}));
    let Finding::Failed { message, .. } = prober.next().await else { panic!() };
    assert!(message.ends_with("use httpGet or tcpSocket"), "{message}");
}
