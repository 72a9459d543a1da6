//! The scheduler: finds a node for every pod that has none.
//!
//! One [`pass`] decides about many pods against a [`picture`] of the nodes that is kept up to date change by change; it
//! is pure. Decisions are written many at a time. A chosen pod counts on its node at once, so the next pass need not
//! wait for the writes of this one.

mod affinity;
mod class;
mod neighbours;
mod node;
mod pass;
mod pending;
mod picture;
mod preemption;
mod refusal;
mod resources;
mod score;
mod spreading;
mod surroundings;
pub(crate) mod taints;
mod tallies;
mod telling;
mod terms;
#[cfg(test)]
mod tests;
mod topology;
mod volumes;
mod wants;
mod write;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSelector, Pod};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::pass::{Decision, pass};
use self::pending::Pending;
use self::picture::Picture;
use self::refusal::Hopes;
use self::telling::Telling;
use self::write::{Fate, Outcome};
use crate::cache::{Batch, Change};
use crate::controllers::facts;
use crate::controllers::runner::Shell;

/// Pods decided in one pass: a pass must not keep the loop from seeing changes for long.
const PODS_PER_PASS: usize = 256;
/// Decisions written by one task.
const PODS_PER_WRITE: usize = 64;
/// Tasks that write at the same time; with that many under way, waiting pods wait.
const WRITES_MAX: usize = 32;
/// Tasks that tell refused pods why at the same time.
const TELLERS_MAX: usize = 2;

/// True when the node has the name and the labels that the pod insists on.
pub(crate) fn is_selected(pod: &Pod, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let wants = wants::Wants {
        node_selector: spec.and_then(|spec| spec.node_selector.clone()).unwrap_or_default(),
        node_affinity: spec.and_then(|spec| spec.affinity.as_ref()?.node_affinity.clone()),
        ..wants::Wants::default()
    };
    affinity::admits(&wants, facts::name(&node.metadata), &labels)
}

/// True when a node with this name and these labels is one that the selector means.
pub(crate) fn is_chosen(selector: &NodeSelector, node: &str, labels: &facts::StringMap) -> bool {
    affinity::is_any(selector, node, labels)
}

/// Decides and binds.
pub(crate) struct Scheduler {
    shell: Shell,
    picture: Picture,
    pending: Pending,
    writing: JoinSet<Vec<Outcome>>,
    telling: Telling,
    tellers: JoinSet<()>,
    /// Passes over equally good nodes begin at another one each time.
    decided: usize,
}

impl Scheduler {
    /// A scheduler that has seen nothing yet.
    pub(crate) fn new(shell: Shell) -> Scheduler {
        Scheduler {
            shell,
            picture: Picture::default(),
            pending: Pending::default(),
            writing: JoinSet::new(),
            telling: Telling::new(Instant::now()),
            tellers: JoinSet::new(),
            decided: 0,
        }
    }

    /// Runs until `shutdown`, or until the batches end.
    pub(crate) async fn run(mut self, mut batches: mpsc::Receiver<Arc<Batch>>, shutdown: CancellationToken) {
        loop {
            while let Ok(batch) = batches.try_recv() {
                self.observe(&batch);
            }
            let has_more = self.decide();
            self.tell();
            let due = if self.writing.len() < WRITES_MAX { self.pending.next_due() } else { None };
            let tell = if self.tellers.len() < TELLERS_MAX { self.telling.due() } else { None };
            // Every branch is cancel-safe: channels, the set and the timer keep what they hold.
            tokio::select! {
                () = shutdown.cancelled() => return,
                batch = batches.recv() => match batch {
                    Some(batch) => self.observe(&batch),
                    None => return,
                },
                Some(written) = self.writing.join_next() => self.finish(written),
                Some(told) = self.tellers.join_next() => {
                    if let Err(error) = told {
                        tracing::error!(%error, "telling refused pods why ended in a panic");
                    }
                }
                () = sleep_until(due) => {}
                () = sleep_until(tell) => {}
                () = tokio::task::yield_now(), if has_more => {}
            }
        }
    }

    fn observe(&mut self, batch: &Batch) {
        let mut news = Hopes::default();
        for change in &batch.changes {
            match change {
                Change::Node(delta) => news.nodes_change |= self.picture.observe_node(delta),
                Change::Pod(delta) => {
                    self.pending.observe(delta);
                    news = news.or(self.picture.observe_pod(delta));
                }
                other => {
                    news.volumes_change |= self.picture.observe_volumes(other);
                    if self.picture.observe_other(other) {
                        news = Hopes::ANY;
                    }
                }
            }
        }
        if news != Hopes::default() {
            self.pending.wake(news, Instant::now());
        }
    }

    /// Makes one pass; true when another can follow at once.
    fn decide(&mut self) -> bool {
        let now = Instant::now();
        if self.writing.len() >= WRITES_MAX || !self.pending.has_active(now) {
            return false;
        }
        let pods = self.pending.take(PODS_PER_PASS);
        let decisions = pass(&mut self.picture, &pods, self.decided);
        self.decided = self.decided.wrapping_add(pods.len());
        let mut to_write = Vec::with_capacity(pods.len());
        for (candidate, decision) in pods.into_iter().zip(decisions) {
            match decision {
                Decision::Refuse { refusal, kept } => {
                    self.pending.refused(&candidate.key, refusal.hopes, now);
                    self.telling.push(candidate.key, (refusal, kept));
                }
                decision => to_write.push((candidate, decision)),
            }
        }
        for some in to_write.chunks(PODS_PER_WRITE) {
            self.writing.spawn(write::write(self.shell.clone(), some.to_vec()));
        }
        self.writing.len() < WRITES_MAX && self.pending.has_active(now)
    }

    /// Lets some refused pods know why.
    fn tell(&mut self) {
        if self.tellers.len() >= TELLERS_MAX {
            return;
        }
        let told = self.telling.take(Instant::now(), |key| self.pending.refused_pod(key));
        if !told.is_empty() {
            self.tellers.spawn(write::tell_refused(self.shell.clone(), told));
        }
    }

    fn finish(&mut self, written: Result<Vec<Outcome>, JoinError>) {
        let outcomes = match written {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Its pods count as chosen until the scheduler starts anew with the next term.
                tracing::error!(%error, "writing decisions ended in a panic");
                return;
            }
        };
        let now = Instant::now();
        for Outcome { key, fate, spared } in outcomes {
            spared.iter().for_each(|key| self.picture.spare(key));
            match fate {
                Fate::Bound => {}
                Fate::Awaits => {
                    self.picture.unassume(&key);
                    self.pending.awaits(&key, now);
                }
                Fate::Refused(hopes) => self.pending.refused(&key, hopes, now),
                Fate::Failed => {
                    self.picture.unassume(&key);
                    self.pending.failed(&key, now);
                }
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What a pass decided, with the pod it is about.
type Decided = (pass::Candidate, Decision);
