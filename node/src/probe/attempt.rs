//! One attempt of a probe.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::declared::{Check, HttpCheck, Probe};
use crate::docker::Exec;
use crate::local::{Body, CallError, Caller, HttpHandler, LocalPods, empty_body};

/// Where a container is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table in which its handlers are.
    pub local: LocalPods,
    /// The pod's address.
    pub address: IpAddr,
    /// The node's address: who asks.
    pub from: IpAddr,
    /// Runs programs in the container, where its runtime has such.
    pub exec: Option<Exec>,
}

/// How it went.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Passed,
    /// In the kubelet's words.
    Failed(String),
}

pub(super) fn attempt(probe: &Probe, target: Target) -> BoxFuture<'static, Outcome> {
    Box::pin(check(probe.check.clone(), probe.timeout, target))
}

/// Asks, and gives up after `timeout`.
pub(super) async fn check(check: Check, timeout: Duration, target: Target) -> Outcome {
    let (asked, result) = match check {
        Check::Impossible(why) => return Outcome::Failed(why.to_owned()),
        Check::Exec(command) => return exec(&command, timeout, &target).await,
        Check::Tcp { host, port } => {
            let asked = format!("dial tcp {}:{port}", name_of(host.as_deref(), &target));
            (asked, tokio::time::timeout(timeout, tcp(host, port, target)).await)
        }
        Check::Http(check) => {
            let host = name_of(check.host.as_deref(), &target);
            let asked = format!("Get \"http://{host}:{}{}\"", check.port, check.path);
            (asked, tokio::time::timeout(timeout, http(check, target)).await)
        }
    };
    match result {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Failure::Answer(message))) => Outcome::Failed(message),
        Ok(Err(Failure::NoAnswer(message))) => Outcome::Failed(format!("{asked}: {message}")),
        Err(_) => Outcome::Failed(format!("{asked}: context deadline exceeded")),
    }
}

async fn exec(command: &[String], timeout: Duration, target: &Target) -> Outcome {
    let Some(exec) = &target.exec else {
        let why = "exec probes are not available for WebAssembly containers, which have no other programs to run; \
                   use httpGet or tcpSocket";
        return Outcome::Failed(why.to_owned());
    };
    match exec.run(command, timeout).await {
        Ok(done) if done.code == 0 => Outcome::Passed,
        Ok(done) => Outcome::Failed(done.output),
        Err(why) => Outcome::Failed(why),
    }
}

enum Failure {
    Answer(String),
    NoAnswer(String),
}

fn name_of(host: Option<&str>, target: &Target) -> String {
    host.map_or_else(|| target.address.to_string(), str::to_owned)
}

async fn tcp(host: Option<String>, port: u16, target: Target) -> Result<(), Failure> {
    if host.is_none() && target.local.lookup(SocketAddr::new(target.address, port)).is_some() {
        return Ok(());
    }
    connect(host.as_deref(), port, &target).await.map(|_| ())
}

async fn connect(host: Option<&str>, port: u16, target: &Target) -> Result<TcpStream, Failure> {
    let name = name_of(host, target);
    let network = if host.is_none() { target.local.network(target.address) } else { None };
    let connected = match network {
        Some(network) => network.connect(SocketAddr::new(target.address, port), None).await,
        None => TcpStream::connect((name.as_str(), port)).await,
    };
    connected.map_err(|error| {
        let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
        Failure::NoAnswer(if refused { "connect: connection refused".to_owned() } else { error.to_string() })
    })
}

async fn http(check: HttpCheck, target: Target) -> Result<(), Failure> {
    let here = check.host.is_none().then(|| SocketAddr::new(target.address, check.port));
    let handler = here.and_then(|address| target.local.lookup(address));
    let status = match handler {
        Some(handler) => in_process(handler, &check, &target).await?,
        None => over_tcp(&check, &target).await?,
    };
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(Failure::Answer(format!("HTTP probe failed with statuscode: {}", status.as_u16())))
}

async fn in_process(
    handler: std::sync::Arc<dyn HttpHandler>,
    check: &HttpCheck,
    target: &Target,
) -> Result<StatusCode, Failure> {
    let authority = name_of(None, target);
    let uri = format!("http://{authority}:{}{}", check.port, check.path);
    let request = request(check, &uri, target, empty_body())?;
    match handler.call(Caller { addr: target.from }, request).await {
        Ok(response) => Ok(response.status()),
        // What the proxy would have answered.
        Err(CallError::Trap(_)) => Ok(StatusCode::INTERNAL_SERVER_ERROR),
        Err(CallError::NoResponse) => Ok(StatusCode::BAD_GATEWAY),
        Err(error) => Err(Failure::NoAnswer(error.to_string())),
    }
}

async fn over_tcp(check: &HttpCheck, target: &Target) -> Result<StatusCode, Failure> {
    let stream = connect(check.host.as_deref(), check.port, target).await?;
    let broken = |error: hyper::Error| Failure::NoAnswer(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = request(check, &check.path, target, empty_body())?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok(response.status())
    });
    tokio::select! {
        biased;
        status = &mut answer => status,
        // The server may close as soon as it has answered; the answer is there all the same.
        ended = connection => match ended {
            Err(error) => Err(broken(error)),
            Ok(()) => answer.await,
        },
    }
}

fn request(check: &HttpCheck, uri: &str, target: &Target, body: Body) -> Result<Request<Body>, Failure> {
    let host = format!("{}:{}", name_of(check.host.as_deref(), target), check.port);
    let built = Request::builder()
        .method(Method::GET)
        .uri(uri)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(body);
    let mut request = built.map_err(|error| Failure::NoAnswer(error.to_string()))?;
    for (name, value) in &check.headers {
        let name = HeaderName::try_from(name).map_err(|error| Failure::NoAnswer(error.to_string()))?;
        let value = HeaderValue::try_from(value).map_err(|error| Failure::NoAnswer(error.to_string()))?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}
