//! The steady load of a drill, and what it saw: requests to a Service, and writes to the API.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Clients that send requests, each one after the other, and their pace.
const CLIENTS: usize = 8;
const REQUEST_EVERY: Duration = Duration::from_millis(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A write is begun this often, when the one before was acknowledged.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// A member that does not answer for so long is left for the next one.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// What was seen so far; clones share it.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Lists>>);

#[derive(Default)]
struct Lists {
    requests: Vec<Request>,
    writes: Vec<Write>,
}

/// A request that has ended.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) sent: Instant,
    pub(super) ended: Instant,
    /// Why it failed.
    pub(super) failure: Option<String>,
}

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) number: u64,
    pub(super) begun: Instant,
    pub(super) acknowledged: Instant,
}

impl Seen {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that were sent from `since` on.
    pub(super) fn requests_since(&self, since: Instant) -> Vec<Request> {
        self.lists().requests.iter().filter(|request| request.sent >= since).cloned().collect()
    }

    /// Requests that had an answer, or failed, from `since` on; also those sent before.
    pub(super) fn ended_since(&self, since: Instant) -> Vec<Request> {
        self.lists().requests.iter().filter(|request| request.ended >= since).cloned().collect()
    }

    /// The first write that was begun from `since` on.
    pub(super) fn write_after(&self, since: Instant) -> Option<Write> {
        self.lists().writes.iter().find(|write| write.begun >= since).copied()
    }

    /// All writes that were acknowledged.
    pub(super) fn writes(&self) -> Vec<Write> {
        self.lists().writes.clone()
    }
}

/// Sends requests to `address` and writes through `members`, in `namespace`, until it is stopped.
pub(super) async fn run(
    address: SocketAddr,
    members: Vec<Client>,
    namespace: &'static str,
    seen: Seen,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let work = send_requests(address, seen.clone(), stop.clone());
        tasks.spawn(work);
    }
    tasks.spawn(write(members, namespace, seen, stop));
    while tasks.join_next().await.is_some() {}
}

async fn send_requests(address: SocketAddr, seen: Seen, stop: CancellationToken) {
    // A client of its own, so that each has its own connection, as different users have.
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut turn = tokio::time::interval(REQUEST_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(turn.tick()).await.is_some() {
        let sent = Instant::now();
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, send(&client, address)).await;
        let failure = match answered {
            Ok(answered) => answered.err(),
            Err(_) => Some(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())),
        };
        seen.lists().requests.push(Request { sent, ended: Instant::now(), failure });
    }
}

async fn send(
    client: &HttpClient<HttpConnector, Empty<bytes::Bytes>>,
    address: SocketAddr,
) -> Result<(), String> {
    let request = http::Request::get(format!("http://{address}/")).body(Empty::new());
    let request = request.map_err(|error| error.to_string())?;
    let response = client.request(request).await.map_err(|error| chain(&error))?;
    let status = response.status();
    response.into_body().collect().await.map_err(|error| chain(&error))?;
    if status.is_success() { Ok(()) } else { Err(format!("status {status}")) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Creates one object after the other. One whose fate is unknown is created again elsewhere: that it is there already
/// is as good as an acknowledgement.
async fn write(members: Vec<Client>, namespace: &str, seen: Seen, stop: CancellationToken) {
    let mut turn = tokio::time::interval(WRITE_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut current = 0;
    for number in 0.. {
        if stop.run_until_cancelled(turn.tick()).await.is_none() {
            return;
        }
        let begun = Instant::now();
        while !stop.is_cancelled() {
            let api: Api<ConfigMap> = Api::namespaced(members[current].clone(), namespace);
            if is_acknowledged(&api, number).await {
                let acknowledged = Instant::now();
                seen.lists().writes.push(Write { number, begun, acknowledged });
                break;
            }
            current = (current + 1) % members.len();
        }
    }
}

async fn is_acknowledged(api: &Api<ConfigMap>, number: u64) -> bool {
    let metadata = ObjectMeta { name: Some(name_of(number)), ..ObjectMeta::default() };
    let object = ConfigMap { metadata, ..ConfigMap::default() };
    let params = PostParams::default();
    match tokio::time::timeout(WRITE_TIMEOUT, api.create(&params, &object)).await {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(status))) if status.reason == "AlreadyExists" => true,
        Ok(Err(_)) => {
            // A member that is gone refuses at once; there may be no other yet.
            tokio::time::sleep(Duration::from_millis(2)).await;
            false
        }
        Err(_) => false,
    }
}

/// The name of what write `number` creates.
pub(super) fn name_of(number: u64) -> String {
    format!("write-{number}")
}
