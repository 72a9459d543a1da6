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
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Clients that send requests, each one after the other, and their pace.
const CLIENTS: usize = 8;
const REQUEST_EVERY: Duration = Duration::from_millis(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A write is begun this often, when the one before was acknowledged.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// A read is begun this often.
const READ_EVERY: Duration = Duration::from_millis(20);
/// A member that does not answer for so long is left for the next one.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// So long after it was acknowledged a write must be seen at every member; one that lags further behind is not well.
const SEEN_AFTER: Duration = Duration::from_secs(5);

/// What was seen so far; clones share it.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Lists>>);

#[derive(Default)]
struct Lists {
    requests: Vec<Request>,
    writes: Vec<Write>,
    refused: Vec<String>,
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

    /// The newest write that everybody must have by now.
    fn older_write(&self) -> Option<u64> {
        let lists = self.lists();
        let all_have = |write: &&Write| write.acknowledged.elapsed() >= SEEN_AFTER;
        lists.writes.iter().rev().find(all_have).map(|write| write.number)
    }

    /// What the API refused in a way that no client tries again after.
    pub(super) fn refused(&self) -> Vec<String> {
        self.lists().refused.clone()
    }

    /// All writes that were acknowledged.
    pub(super) fn writes(&self) -> Vec<Write> {
        self.lists().writes.clone()
    }
}

/// Sends requests to `address` and writes through `members`, in `namespace`, until it is stopped.
pub(super) async fn run(
    address: SocketAddr,
    members: watch::Receiver<Vec<Client>>,
    namespace: &'static str,
    seen: Seen,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let work = send_requests(address, seen.clone(), stop.clone());
        tasks.spawn(work);
    }
    tasks.spawn(read_all(members.clone(), namespace, seen.clone(), stop.clone()));
    tasks.spawn(write_all(members, namespace, seen, stop));
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

/// Creates one object after the other through one member, until that fails or others have joined or left; then through the
/// next. One whose fate is unknown is created again there: that it is there already is as good as an acknowledgement.
async fn write_all(
    mut members: watch::Receiver<Vec<Client>>,
    namespace: &str,
    seen: Seen,
    stop: CancellationToken,
) {
    let mut turn = tokio::time::interval(WRITE_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut current = 0;
    for number in 0.. {
        if stop.run_until_cancelled(turn.tick()).await.is_none() {
            return;
        }
        let begun = Instant::now();
        while !stop.is_cancelled() {
            if members.has_changed().unwrap_or(false) {
                // The newest is the last.
                current = members.borrow_and_update().len() - 1;
            }
            let api = through(&members, current, namespace);
            match tried(write(&api, number)).await {
                Outcome::Done => {
                    seen.lists().writes.push(Write { number, begun, acknowledged: Instant::now() });
                    break;
                }
                Outcome::Refused(why) => {
                    seen.lists().refused.push(format!("write {number}: {why}"));
                    break;
                }
                Outcome::Later => current += 1,
            }
        }
    }
}

/// Reads objects that every member must have, through each in turn.
async fn read_all(
    members: watch::Receiver<Vec<Client>>,
    namespace: &str,
    seen: Seen,
    stop: CancellationToken,
) {
    let mut turn = tokio::time::interval(READ_EVERY);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for current in 0.. {
        if stop.run_until_cancelled(turn.tick()).await.is_none() {
            return;
        }
        let Some(number) = seen.older_write() else { continue };
        let (api, name) = (through(&members, current, namespace), name_of(number));
        if let Outcome::Refused(why) = tried(api.get(&name)).await {
            seen.lists().refused.push(format!("read of {name}: {why}"));
        }
    }
}

fn through(members: &watch::Receiver<Vec<Client>>, place: usize, namespace: &str) -> Api<ConfigMap> {
    let clients = members.borrow();
    Api::namespaced(clients[place % clients.len()].clone(), namespace)
}

/// What became of a call.
enum Outcome {
    Done,
    /// As every client does, it is tried again: the connection broke, nothing came, or the API says that it cannot now.
    Later,
    /// No client would try again.
    Refused(String),
}

async fn tried<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Outcome {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(_)) => Outcome::Done,
        Ok(Err(kube::Error::Api(status))) if !matches!(status.code, 429 | 503 | 504) => {
            Outcome::Refused(format!("{} {}", status.code, status.message))
        }
        Ok(Err(_)) => {
            // A member that is gone refuses at once; there may be no other yet.
            tokio::time::sleep(Duration::from_millis(2)).await;
            Outcome::Later
        }
        Err(_) => Outcome::Later,
    }
}

async fn write(api: &Api<ConfigMap>, number: u64) -> Result<(), kube::Error> {
    let metadata = ObjectMeta { name: Some(name_of(number)), ..ObjectMeta::default() };
    let object = ConfigMap { metadata, ..ConfigMap::default() };
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        created => created.map(drop),
    }
}

/// The name of what write `number` creates.
pub(super) fn name_of(number: u64) -> String {
    format!("write-{number}")
}
