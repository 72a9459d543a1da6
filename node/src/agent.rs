//! The agent: makes the pods bound to this node run, and tells the API what became of them.
//!
//! One loop owns everything that is known of the pods. Whatever happens (the API changed a pod, a container ended, a
//! probe found something, time passed) only moves that knowledge and marks the pod; then [`plan::plan`] decides from
//! the whole of it, and what it asks for is begun. Nothing in the loop waits: starting, stopping and writing are tasks
//! whose outcome comes back as another thing that happened. The work for one change does not depend on how many pods
//! there are.

pub mod addresses;
mod api;
mod apply;
pub mod backoff;
mod entry;
pub mod env;
pub mod events;
mod happened;
mod hooks;
pub mod plan;
pub mod pod;
pub mod services;
pub mod sources;
pub mod start;
mod supervise;
mod timers;
pub mod workload;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::addresses::Addresses;
use self::entry::{Entry, Uid};
use self::start::Starter;
use self::supervise::Report;
use self::timers::Timers;

/// Status writes under way at a time.
const WRITES: usize = 64;
/// Happenings taken together before planning, so that one plan covers all of them.
const TOGETHER: usize = 128;
/// Probe findings that wait for the loop; the probes wait in turn.
const REPORTS: usize = 1024;
/// Each pod is looked at this often though nothing happened: whatever was overlooked is put right.
const RESYNC: Duration = Duration::from_secs(120);

/// The loop. Made by the wiring of the node.
pub struct Agent {
    node_name: String,
    client: kube::Client,
    starter: Arc<Starter>,
    addresses: Addresses,
    pods: HashMap<Uid, Entry>,
    /// Pods to plan, each at most once.
    marked: VecDeque<Uid>,
    timers: Timers,
    tasks: JoinSet<Outcome>,
    writes: Arc<Semaphore>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    /// While the API lists all pods: those it named so far.
    listing: Option<HashSet<Uid>>,
    /// Nothing is begun before all pods are known once: an address may not be given away that another has.
    listed: bool,
}

/// What came of a task.
enum Outcome {
    /// Of bringing up a container.
    Started(Uid, pod::Slot, Box<Result<start::Started, start::Refused>>),
    /// A container ended.
    Ended(Uid, pod::Slot, pod::Termination),
    /// A status was written, or not.
    Wrote(Uid, Box<entry::Write>, Result<String, api::WriteError>),
    /// A pod was removed from the API, or not.
    Removed(Uid, Result<(), api::WriteError>),
    /// Files of a pod that is gone were deleted.
    Cleaned,
}

impl Agent {
    /// An agent for the node `node_name`, whose pods get `addresses`.
    pub fn new(node_name: String, client: kube::Client, starter: Arc<Starter>, addresses: Addresses) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        Self {
            node_name,
            client,
            starter,
            addresses,
            pods: HashMap::new(),
            marked: VecDeque::new(),
            timers: Timers::default(),
            tasks: JoinSet::new(),
            writes: Arc::new(Semaphore::new(WRITES)),
            reports,
            reporter,
            listing: None,
            listed: false,
        }
    }

    /// Runs until `shutdown`. Containers end with it; their pods are not told of as failed, as the next run of this
    /// agent takes them up again.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut services = self.starter.services.clone();
        if shutdown.run_until_cancelled(services.synced()).await.is_none() {
            return;
        }
        let mut changes = self.changes();
        while self.wait(&mut changes, &shutdown).await.is_some() {
            self.take_what_is_ready(&mut changes);
            self.settle();
        }
        // Dropping the tasks ends the containers.
        self.tasks.shutdown().await;
    }

    fn changes(&self) -> BoxStream<'static, Result<Event<Pod>, watcher::Error>> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node_name));
        watcher(api, config).default_backoff().boxed()
    }

    /// Waits for the next thing to happen; `None` to end.
    async fn wait(
        &mut self,
        changes: &mut BoxStream<'static, Result<Event<Pod>, watcher::Error>>,
        shutdown: &CancellationToken,
    ) -> Option<()> {
        let timer = self.timers.next();
        // Tasks stay in their set, findings and changes in their channels, when another branch is taken.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            Some(outcome) = self.tasks.join_next() => self.finished(outcome),
            Some(report) = self.reports.recv() => self.found(report),
            change = changes.next() => self.changed(change?),
            () = until(timer) => {}
        }
        Some(())
    }

    fn take_what_is_ready(&mut self, changes: &mut BoxStream<'static, Result<Event<Pod>, watcher::Error>>) {
        for _ in 0..TOGETHER {
            if let Some(outcome) = self.tasks.try_join_next() {
                self.finished(outcome);
            } else if let Ok(report) = self.reports.try_recv() {
                self.found(report);
            } else if let Some(Some(change)) = changes.next().now_or_never() {
                self.changed(change);
            } else {
                return;
            }
        }
    }

    /// Plans every marked pod and those whose time has come, and begins what the plans ask for.
    fn settle(&mut self) {
        if !self.listed {
            return;
        }
        let now = Timestamp::now();
        while let Some(uid) = self.timers.pop_due(now) {
            self.mark(&uid);
        }
        while let Some(uid) = self.marked.pop_front() {
            self.settle_pod(&uid, now);
        }
    }

    fn mark(&mut self, uid: &Uid) {
        if let Some(entry) = self.pods.get_mut(uid)
            && !std::mem::replace(&mut entry.marked, true)
        {
            self.marked.push_back(uid.clone());
        }
    }

    fn wake(&mut self, uid: &Uid, at: Timestamp) {
        if let Some(entry) = self.pods.get_mut(uid)
            && entry.wake_at.is_none_or(|before| at < before)
        {
            entry.wake_at = Some(at);
            self.timers.set(at, uid.clone());
        }
    }

    fn host(&self) -> IpAddr {
        self.starter.host.address
    }
}

async fn until(timer: Option<Timestamp>) {
    match timer {
        Some(at) => {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
