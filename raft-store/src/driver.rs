//! The thread that owns the member: it takes what waits, lets the member act, and waits for the disk.
//!
//! While it waits for a sync, new transactions gather in the inbox; they share the next one. Work on whole files is done
//! by a second thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::error::DriverError;
use crate::log::Unsynced;
use crate::member::{Member, TICK};
use crate::shared::{Input, Shared};
use crate::transport::{self, Transport};
use crate::worker::Job;

/// How often the driver looks at the clock when nothing happens, to forget old history.
const IDLE: Duration = Duration::from_secs(10);

/// After a sync of at least this, the next batch is gathered for this part of it: below, the kernel's timers are too
/// coarse for so short a sleep.
const SLOW_SYNC: Duration = Duration::from_micros(400);
const GATHER_PART: u32 = 8;
const GATHER_MAX: Duration = Duration::from_millis(5);

/// Jobs that wait; the member has few of a kind.
const JOBS_MAX: usize = 16;

/// Owner of a member; must be run for writes to commit. Dropping it closes the store.
pub struct Driver {
    member: Member,
    disk: Arc<dyn Disk>,
    transport: Arc<dyn Transport>,
    shared: CloseOnDrop,
}

/// The thread ends also when nobody waits for its end.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // Refused when the thread has ended already.
        drop(self.0.inbox.push(Input::Shutdown));
    }
}

/// However the driver ends, nobody must wait for it any longer.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        member: Member,
        disk: Arc<dyn Disk>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self { member, disk, transport, shared: CloseOnDrop(shared) }
    }

    /// Runs until `shutdown`; finishes what was handed in before, then closes. A disk error ends it with the error
    /// (writes then fail, reads go on).
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DriverError> {
        let stop = StopOnDrop(self.shared.0.clone());
        let (ended, end) = oneshot::channel();
        let thread = std::thread::Builder::new().name("store-driver".to_owned());
        let started = thread.spawn(move || drop(ended.send(self.drive())));
        started.map_err(|source| DriverError::Thread { source })?;
        tokio::pin!(end);
        tokio::select! {
            // Cancel-safe: a oneshot receiver keeps its place.
            result = &mut end => return result.unwrap_or(Err(DriverError::Panicked)),
            // Cancel-safe: it only waits.
            () = shutdown.cancelled() => {}
        }
        drop(stop);
        end.await.unwrap_or(Err(DriverError::Panicked))
    }

    fn drive(mut self) -> Result<(), DriverError> {
        let worker = Worker::start(self.shared.0.clone(), self.disk.clone())?;
        let result = self.serve(&worker);
        self.member.close();
        self.shared.0.close();
        worker.stop();
        if let Err(error) = &result {
            tracing::error!(error = error as &dyn std::error::Error, "the store has stopped");
        }
        result
    }

    fn serve(&mut self, worker: &Worker) -> Result<(), DriverError> {
        let shared = self.shared.0.clone();
        let clock = shared.clock();
        let mut inputs = Vec::new();
        let mut ticked = Duration::ZERO;
        // The first round is for what the member has to do by itself.
        let mut wait = Duration::ZERO;
        while !self.member.is_stopping() || self.member.wants_more() {
            shared.inbox.take(&mut inputs, wait);
            let now = clock.elapsed();
            if inputs.is_empty() {
                shared.history.expire(now);
            }
            if self.member.needs_ticks() && now >= ticked + TICK {
                ticked = now;
                self.member.tick();
            }
            let answered = shared.counters.txns.load(Ordering::Relaxed);
            let mut unsynced = self.member.step(inputs.drain(..), now)?;
            let mut slowest = Duration::ZERO;
            self.send();
            while let Some(written) = unsynced {
                slowest = slowest.max(sync(&shared, &written)?);
                unsynced = self.member.synced(&written)?;
                // What more there is to say goes with what comes next, when that comes at once.
                if unsynced.is_some() || shared.inbox.len() == 0 {
                    self.send();
                }
            }
            self.member.take_jobs().into_iter().try_for_each(|job| worker.give(job))?;
            let answered = shared.counters.txns.load(Ordering::Relaxed) - answered;
            self.gather(answered, slowest);
            wait = self.wait(ticked, clock.elapsed());
        }
        self.send();
        Ok(())
    }

    /// Gives those who were just answered a moment to come back with their next write. Without it, many writers in step
    /// fall into two halves, each waiting for the sync of the other. Not worth it when the disk is fast, and pointless for
    /// one writer.
    fn gather(&mut self, answered: u64, sync: Duration) {
        if answered > 1 && sync >= SLOW_SYNC {
            self.send();
            let answered = usize::try_from(answered).unwrap_or(usize::MAX);
            self.shared.0.inbox.gather(answered, (sync / GATHER_PART).min(GATHER_MAX));
        }
    }

    fn send(&mut self) {
        for letter in self.member.take_messages() {
            if let Some(bytes) = transport::encode(self.shared.0.cluster, &letter) {
                self.transport.send(letter.to, bytes);
            }
        }
    }

    fn wait(&self, ticked: Duration, now: Duration) -> Duration {
        if self.member.wants_more() {
            return Duration::ZERO;
        }
        // Never sooner than a whole tick after the last one: what others promise for so many ticks relies on it.
        let next = if self.member.needs_ticks() { ticked + TICK } else { now + IDLE };
        let wake = self.member.wake_at().map_or(next, |at| next.min(at));
        wake.saturating_sub(now)
    }
}

/// Waits for the disk; returns how long it took.
fn sync(shared: &Shared, written: &Unsynced) -> Result<Duration, DriverError> {
    let begun = Instant::now();
    written.sync()?;
    let took = begun.elapsed();
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
    shared.counters.sync_micros.fetch_add(micros, Ordering::Relaxed);
    Ok(took)
}

/// The second thread.
struct Worker {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(shared: Arc<Shared>, disk: Arc<dyn Disk>) -> Result<Self, DriverError> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let thread = std::thread::Builder::new().name("store-files".to_owned());
        let thread = thread.spawn(move || work(&queue, &shared, &*disk));
        Ok(Self { jobs, thread: thread.map_err(|source| DriverError::Thread { source })? })
    }

    /// Fails only when the worker has panicked.
    fn give(&self, job: Job) -> Result<(), DriverError> {
        self.jobs.send(job).map_err(|_| DriverError::Panicked)
    }

    /// Waits for the job at hand.
    fn stop(self) {
        drop(self.jobs);
        drop(self.thread.join());
    }
}

fn work(queue: &Receiver<Job>, shared: &Shared, disk: &dyn Disk) {
    for job in queue {
        // Refused when the store is closed; then nobody needs the outcome.
        drop(shared.inbox.push(Input::Done(job.run(disk))));
    }
}

#[cfg(test)]
mod tests;
