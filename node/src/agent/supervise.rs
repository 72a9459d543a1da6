//! Looks after one running container until it has ended: probes it, tells of its failures, and stops it when asked.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Declared, Pod};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::events::{Events, Kind};
use super::hooks;
use super::pod::{Role, Slot, Termination};
use super::workload::Workload;
use crate::docker::OpenPort;
use crate::local::Registration;
use crate::probe::{Finding, Prober, Target};
use crate::runtime::{Reason, State, Traps};

/// A container that is asked to stop still answers for this long, so that every node's routes lose it first. Less
/// when its grace is short.
const DRAIN: Duration = Duration::from_millis(500);
/// Failures of single requests are told at most this often.
const TRAPS_TOLD: Duration = Duration::from_secs(10);
/// Trap messages are cut here: an event holds a kilobyte of message.
const TRAP_BYTES: usize = 900;

/// The end that was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stop {
    /// When it must be over.
    pub deadline: Timestamp,
    /// Whether new requests may still come for a moment.
    pub drain: Drain,
}

/// What to do with requests that still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// Answer them until the routes have changed.
    Serve,
    /// Take the container out of service at once.
    Refuse,
}

/// What a probe found, of which container.
#[derive(Debug)]
pub(super) struct Report {
    /// The pod.
    pub uid: Arc<str>,
    /// The container in it.
    pub slot: Slot,
    /// The run of it, so that a late report is not taken for its successor's.
    pub id: String,
    /// What was found.
    pub finding: Finding,
}

/// A container and what is needed to look after it.
pub(super) struct Supervised {
    /// The container.
    pub container: Workload,
    /// Its places in the table of addresses.
    pub registrations: Vec<Registration>,
    /// Its ports on the machine.
    pub open_ports: Vec<OpenPort>,
    /// Its probes.
    pub prober: Option<Prober>,
    /// Where its hooks are sent.
    pub target: Target,
    /// As the pod declares it.
    pub declared: Declared,
    /// The pod, to tell of it.
    pub pod: Arc<Pod>,
    /// Its uid.
    pub uid: Arc<str>,
    /// Which container of the pod.
    pub slot: Slot,
    /// What it is in the pod.
    pub role: Role,
    /// Where findings go.
    pub reports: mpsc::Sender<Report>,
    /// Where failures are told.
    pub events: Events,
}

impl Supervised {
    /// Returns how it ended: by itself or, once `stop` says so, because it was asked to.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<Option<Stop>>) -> Termination {
        let mut state = self.container.state();
        let mut traps = Told::new(self.container.traps());
        loop {
            // Each branch only waits for a change of something kept elsewhere, so dropping it loses nothing.
            tokio::select! {
                biased;
                ended = exited(&mut state) => return self.ended(ended),
                asked = asked(&mut stop) => return self.stop(asked, stop).await,
                () = traps.due() => self.tell_traps(&mut traps),
                finding = next_finding(self.prober.as_mut()) => {
                    let (uid, slot, id) = (self.uid.clone(), self.slot, self.container.id().to_owned());
                    // The agent ends before its channel does; then nobody wants to know.
                    self.reports.send(Report { uid, slot, id, finding }).await.ok();
                }
            }
        }
    }

    fn serves(&self) -> bool {
        !self.registrations.is_empty() || !self.open_ports.is_empty()
    }

    fn tell_traps(&self, told: &mut Told) {
        let (more, last, out_of_memory) = told.take();
        let requests = if more == 1 { "a request".to_owned() } else { format!("{more} requests, the last") };
        let (reason, what) = if out_of_memory {
            ("OOMKilled", "of memory beyond the container's limit")
        } else {
            ("Trapped", "of a trap")
        };
        let mut message = format!("Failed {requests} because {what}: {last}");
        message.truncate(message.floor_char_boundary(TRAP_BYTES));
        self.events.pod(&self.pod, Some((&self.declared.name, self.role)), Kind::Warning, reason, message);
    }

    /// Stops it within its grace, or a shorter one that is asked for meanwhile.
    async fn stop(mut self, asked: Stop, mut stop: watch::Receiver<Option<Stop>>) -> Termination {
        let mut current = asked;
        let hook = hooks::before_stop(&self.declared, &self.target);
        let done = tokio::select! {
            done = tokio::time::timeout(left(current.deadline), hook) => done.unwrap_or(Ok(())),
            shorter = sooner(&mut stop, current) => {
                current = shorter;
                Ok(())
            }
        };
        if let Err(error) = done {
            let about = Some((self.declared.name.as_str(), self.role));
            self.events.pod(
                &self.pod,
                about,
                Kind::Warning,
                "FailedPreStopHook",
                format!("PreStopHook failed: {error}"),
            );
        }
        if current.drain == Drain::Serve && self.serves() {
            let pause = DRAIN.min(left(current.deadline) / 4);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                shorter = sooner(&mut stop, current) => current = shorter,
            }
        }
        self.registrations.clear();
        // A process of its own goes on answering until it ends; its ports close with it.
        loop {
            tokio::select! {
                () = self.container.stop(left(current.deadline)) => break,
                shorter = sooner(&mut stop, current) => current = shorter,
            }
        }
        let state = self.container.state().borrow().clone();
        self.ended(Some(state))
    }

    fn ended(&self, state: Option<State>) -> Termination {
        let id = self.container.id().to_owned();
        match state {
            Some(State::Exited { code, reason, message, started_at, finished_at }) => Termination {
                id,
                exit_code: code,
                reason: reason.as_str().to_owned(),
                message,
                started_at: Some(started_at),
                finished_at,
            },
            // The runtime lost it: it certainly does not run.
            Some(State::Running { .. }) | None => Termination {
                id,
                exit_code: 137,
                reason: Reason::Error.as_str().to_owned(),
                message: "the runtime no longer knows the container".to_owned(),
                started_at: None,
                finished_at: Timestamp::now(),
            },
        }
    }
}

/// Waits for the container's end. `None` if the runtime lost it.
async fn exited(state: &mut watch::Receiver<State>) -> Option<State> {
    let exited = state.wait_for(|state| matches!(state, State::Exited { .. })).await;
    exited.ok().map(|state| state.clone())
}

/// Waits until the end is asked for. Without anybody left to ask, it is asked for at once.
async fn asked(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    let asked = stop.wait_for(Option::is_some).await.ok().and_then(|stop| *stop);
    asked.unwrap_or(Stop { deadline: Timestamp::UNIX_EPOCH, drain: Drain::Refuse })
}

async fn next_finding(prober: Option<&mut Prober>) -> Finding {
    match prober {
        Some(prober) => prober.next().await,
        None => std::future::pending().await,
    }
}

fn left(deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(Timestamp::now())).unwrap_or_default()
}

/// Waits until an earlier end is asked for than the one under way.
async fn sooner(stop: &mut watch::Receiver<Option<Stop>>, current: Stop) -> Stop {
    let earlier = |asked: &Option<Stop>| asked.is_some_and(|asked| asked.deadline < current.deadline);
    match stop.wait_for(earlier).await.map(|asked| *asked) {
        Ok(Some(asked)) => asked,
        // Nobody is left to ask.
        _ => std::future::pending().await,
    }
}

/// Failures of requests, and how many of them were told.
struct Told {
    traps: Option<watch::Receiver<Traps>>,
    total: u64,
    out_of_memory: u64,
    not_before: Instant,
}

impl Told {
    fn new(traps: Option<watch::Receiver<Traps>>) -> Self {
        Self { traps, total: 0, out_of_memory: 0, not_before: Instant::now() }
    }

    /// Waits until there is something to tell again.
    async fn due(&mut self) {
        let told = self.total;
        let more = match &mut self.traps {
            Some(traps) => traps.wait_for(|traps| traps.total > told).await.is_ok(),
            None => false,
        };
        if !more {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.not_before).await;
    }

    /// How many are new, the text of the last, and whether memory was the matter.
    fn take(&mut self) -> (u64, Arc<str>, bool) {
        let traps = self.traps.as_mut().map(|traps| traps.borrow_and_update().clone()).unwrap_or_default();
        let more = traps.total - self.total;
        let out_of_memory = traps.out_of_memory > self.out_of_memory;
        (self.total, self.out_of_memory) = (traps.total, traps.out_of_memory);
        self.not_before = Instant::now() + TRAPS_TOLD;
        (more, traps.last.unwrap_or_default(), out_of_memory)
    }
}
