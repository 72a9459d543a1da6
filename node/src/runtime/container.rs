//! A running container: its state, its failures, and its end.

use std::sync::Arc;
use std::time::Duration;

use isopod_spec::core::pod::annotations::Instances;
use jiff::Timestamp;
use tokio::sync::watch;

use super::artifact::Artifact;
use super::command::Command;
use super::cpu::Cpu;
use super::failure::Failure;
use super::guest::Mount;
use super::http::{Handler, HttpContainer};
use crate::local::{HttpHandler, PodIdentity};
use crate::logs::LogSink;

/// Exit code of a process that `SIGKILL` ended: the grace period was not enough.
const KILLED: i32 = 137;

/// What to start.
pub struct ContainerSpec {
    /// The pod it belongs to.
    pub pod: PodIdentity,
    /// The container's name in the pod; also the name a command finds as its own (`argv[0]`).
    pub name: String,
    /// What it runs.
    pub artifact: Arc<Artifact>,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// The environment, complete: nothing is added to it.
    pub env: Vec<(String, String)>,
    /// The folders it sees, and no others.
    pub mounts: Vec<Mount>,
    /// Linear memory and tables of one instance at most.
    pub memory_limit_bytes: Option<u64>,
    /// Processor time of all its instances together, in thousandths of a core.
    pub cpu_limit_millis: Option<u32>,
    /// What it reads through `wasi:config`.
    pub config: Vec<(String, String)>,
    /// How often an instance of it is used, if it serves.
    pub instances: Instances,
    /// Where standard output and error go. Closed when the container has ended.
    pub logs: LogSink,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Serving, or executing.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Over.
    Exited {
        /// As a process would have ended: 128 and more for a signal.
        code: i32,
        /// In Kubernetes' words.
        reason: Reason,
        /// More about it, for a person; empty if there is nothing to tell.
        message: String,
        /// When it began.
        started_at: Timestamp,
        /// When it was over.
        finished_at: Timestamp,
    },
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By itself, with exit code 0; or an HTTP container that was stopped.
    Completed,
    /// Any other end.
    Error,
    /// It failed after it was refused memory beyond its limit.
    OomKilled,
}

impl Reason {
    /// As written in a container's status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::OomKilled => "OOMKilled",
        }
    }
}

/// Failed requests of an HTTP container, which goes on serving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traps {
    /// Guests that trapped.
    pub total: u64,
    /// Of these, for want of memory.
    pub out_of_memory: u64,
    /// The last one: the trap, then a line for each of the first frames.
    pub last: Option<Arc<str>>,
}

/// Counts failures. Those who watch see the latest, however many there are.
pub(super) struct TrapLog(watch::Sender<Traps>);

impl TrapLog {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Traps::default()))
    }

    pub(super) fn record(&self, failure: &Failure) {
        let (text, out_of_memory) = match failure {
            Failure::Trap(text) => (text, 0),
            Failure::OutOfMemory(text) => (text, 1),
            Failure::NoRoom | Failure::Cancelled => return,
        };
        self.0.send_modify(|traps| {
            traps.total += 1;
            traps.out_of_memory += out_of_memory;
            traps.last = Some(text.as_str().into());
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Traps> {
        self.0.subscribe()
    }
}

/// A container that was started. Dropping it ends it at once.
pub struct Container {
    id: String,
    kind: Kind,
    cpu: Arc<Cpu>,
    state: watch::Sender<State>,
    traps: watch::Receiver<Traps>,
    logs: LogSink,
}

/// What runs it.
pub(super) enum Kind {
    Http(Arc<HttpContainer>),
    Command(Command),
}

impl Container {
    pub(super) fn new(
        kind: Kind,
        cpu: Arc<Cpu>,
        state: watch::Sender<State>,
        traps: watch::Receiver<Traps>,
        logs: LogSink,
    ) -> Self {
        Self { id: new_id(), kind, cpu, state, traps, logs }
    }

    /// `wasmtime://` and a random number: another one for every start.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Answers requests, if this is an HTTP container. Works until the container is stopped, then refuses.
    pub fn handler(&self) -> Option<Arc<dyn HttpHandler>> {
        match &self.kind {
            Kind::Http(container) => Some(Arc::new(Handler(container.clone()))),
            Kind::Command(_) => None,
        }
    }

    /// Its state now and from now on.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Failures of single requests. Those of a command end it, and are in its state.
    pub fn traps(&self) -> watch::Receiver<Traps> {
        self.traps.clone()
    }

    /// Processor time used so far, by all instances.
    pub fn cpu_time(&self) -> Duration {
        self.cpu.used()
    }

    /// Ends the container, and returns when it has ended.
    ///
    /// An HTTP container takes no more requests, and those under way have `grace` to end. A command has no way to
    /// hear of a signal, and like a process without a handler for `SIGTERM` it ends at once, with exit code 143.
    pub async fn stop(&self, grace: Duration) {
        match &self.kind {
            Kind::Http(container) => {
                let drained = container.drain(grace).await;
                self.end(drained);
            }
            Kind::Command(command) => {
                command.cancel();
                let mut state = self.state.subscribe();
                // The sender is ours, so this cannot fail.
                let _ = state.wait_for(|state| matches!(state, State::Exited { .. })).await;
            }
        }
        self.logs.close();
    }

    fn end(&self, drained: bool) {
        self.state.send_if_modified(|state| {
            let State::Running { started_at } = *state else { return false };
            let (code, reason, message) = if drained {
                (0, Reason::Completed, String::new())
            } else {
                (
                    KILLED,
                    Reason::Error,
                    "requests under way at the end of the grace period were cancelled".into(),
                )
            };
            *state = State::Exited { code, reason, message, started_at, finished_at: Timestamp::now() };
            true
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Http(container) => container.abandon(),
            Kind::Command(command) => command.cancel(),
        }
        self.logs.close();
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("id", &self.id).field("state", &*self.state.borrow()).finish()
    }
}

fn new_id() -> String {
    format!("wasmtime://{}", uuid::Uuid::new_v4().simple())
}
