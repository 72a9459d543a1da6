//! The one loop of all controllers: watch, queue of keys, plan, apply, and again on a change or on a timer.
//!
//! A key is never planned twice at once, and not before the cache shows what the last work on it wrote: so a plan
//! never sees less than its controller has done, and creates nothing twice.

mod queue;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use isopod_raft_store::Revision;
use isopod_spec::status::Status;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::queue::{Ended, Queue};
use crate::api::NodeApi;
use crate::cache::{Batch, Change, ObjectKey, View};
use crate::events::Recorder;
use crate::objects::Objects;

/// Plans that one controller applies at the same time.
const IN_FLIGHT_MAX: usize = 64;
/// Plans made in one go: other tasks of the thread, and newer changes, come in between.
const PLANS_PER_TURN: usize = 128;

/// A key rests after its plan for so many times as long as the plan took to make: a single object with ten thousand
/// pods takes a tenth of a core at most, and one with ten hardly rests.
const REST_FACTOR: u32 = 9;

/// What a controller applies its plans with.
#[derive(Clone)]
pub(crate) struct Shell {
    /// Writes land in the leader's term only.
    pub(crate) objects: Objects,
    /// Events about what was done.
    pub(crate) recorder: Recorder,
    /// Asks nodes.
    pub(crate) nodes: Arc<dyn NodeApi>,
}

/// What to do about a key.
#[derive(Debug)]
pub(crate) struct Planned<P> {
    /// What to apply; `None` when the wanted state is met.
    pub(crate) plan: Option<P>,
    /// When to look again although nothing changes.
    pub(crate) again_after: Option<Duration>,
}

impl<P> Planned<P> {
    /// Nothing to do until something changes.
    pub(crate) fn nothing() -> Self {
        Planned { plan: None, again_after: None }
    }
}

/// A controller: how changes reach its keys, a plan for a key, and how a plan is carried out.
pub(crate) trait Controller: Send + 'static {
    /// Its name in logs, and the `source.component` of its events.
    const NAME: &'static str;
    /// What it decided about one key.
    type Plan: Send + 'static;
    /// The least time between the end of the work on a key and the next plan for it: for objects that are large and
    /// change in bursts, since each write of one sends all of it to every watcher.
    const REST: Duration = Duration::ZERO;

    /// Calls `wake` for each key whose plan may differ after this change. The view is that after the change.
    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey));

    /// Takes over a batch of changes. Only a controller that looks at objects of all kinds overrides this.
    fn observe(&mut self, batch: &Batch, wake: &mut dyn FnMut(ObjectKey)) {
        for change in &batch.changes {
            self.wakes(change, &batch.view, wake);
        }
    }

    /// What to do about a key, from what is seen.
    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Self::Plan>;

    /// Carries a plan out. May stop at any action: the rest is planned again.
    fn apply(shell: Shell, plan: Self::Plan) -> impl Future<Output = Result<(), Status>> + Send + 'static;
}

/// Runs a controller until `shutdown`, or until its batches end.
pub(crate) async fn run<C: Controller>(
    controller: C,
    shell: Shell,
    mut batches: mpsc::Receiver<Arc<Batch>>,
    shutdown: CancellationToken,
) {
    let mut runner = Runner {
        controller,
        shell,
        view: View::default(),
        queue: Queue::default(),
        running: JoinSet::new(),
        keys: HashMap::new(),
    };
    loop {
        while let Ok(batch) = batches.try_recv() {
            runner.observe(&batch);
        }
        let has_more = runner.start_due();
        let due = runner.next_due();
        // Every branch is cancel-safe: channels, the set and the timer keep what they hold.
        tokio::select! {
            () = shutdown.cancelled() => return,
            batch = batches.recv() => match batch {
                Some(batch) => runner.observe(&batch),
                None => return,
            },
            Some(ended) = runner.running.join_next_with_id() => runner.finish(ended),
            () = sleep_until(due) => {}
            () = tokio::task::yield_now(), if has_more => {}
        }
    }
}

/// Timers are not finer than this; less is no rest.
const REST_MIN: Duration = Duration::from_millis(1);

fn rest_after(planning: Duration) -> Duration {
    let rest = planning.saturating_mul(REST_FACTOR);
    if rest < REST_MIN { Duration::ZERO } else { rest }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Runner<C> {
    controller: C,
    shell: Shell,
    view: View,
    queue: Queue,
    /// Plans being applied; dropped (and so stopped) with the runner.
    running: JoinSet<Result<(), Status>>,
    keys: HashMap<Id, Work>,
}

/// A key whose plan is being applied.
struct Work {
    key: ObjectKey,
    rest: Duration,
}

impl<C: Controller> Runner<C> {
    fn observe(&mut self, batch: &Batch) {
        self.view = batch.view.clone();
        self.queue.reach(batch.view.revision);
        self.controller.observe(batch, &mut |key| self.queue.add(key));
    }

    /// Plans what is due, as far as there is room to apply it; true when more may be due.
    fn start_due(&mut self) -> bool {
        for _ in 0..PLANS_PER_TURN {
            if self.running.len() >= IN_FLIGHT_MAX {
                return false;
            }
            let Some(key) = self.queue.take(Instant::now()) else { return false };
            let began = Instant::now();
            let Planned { plan, again_after } = self.controller.plan(&key, &self.view, Timestamp::now());
            let rest = rest_after(began.elapsed()).max(C::REST);
            match plan {
                Some(plan) => {
                    let task = self.running.spawn(C::apply(self.shell.clone(), plan));
                    self.keys.insert(task.id(), Work { key: key.clone(), rest });
                }
                None => self.queue.done(&key, Ended::Well, Revision::default(), Instant::now(), rest),
            }
            if let Some(wait) = again_after {
                self.queue.add_at(key, Instant::now() + wait);
            }
        }
        true
    }

    /// When the runner has something to do by itself: never while it is full.
    fn next_due(&self) -> Option<Instant> {
        if self.running.len() < IN_FLIGHT_MAX { self.queue.next_due() } else { None }
    }

    fn finish(&mut self, ended: Result<(Id, Result<(), Status>), tokio::task::JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(Work { key, rest }) = self.keys.remove(&id) else { return };
        let ended = match result {
            Ok(Ok(())) => Ended::Well,
            Ok(Err(status)) => {
                tracing::debug!(controller = C::NAME, %key, %status, "a plan was not carried out");
                Ended::Badly
            }
            Err(error) => {
                tracing::error!(controller = C::NAME, %key, %error, "a plan ended in a panic");
                Ended::Badly
            }
        };
        // Whatever the plan wrote has this revision at most.
        let floor = self.shell.objects.store().snapshot().revision();
        self.queue.done(&key, ended, floor, Instant::now(), rest);
    }
}
