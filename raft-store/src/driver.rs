//! The one thread that changes the state.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::history::Commit;
use crate::machine::Machine;
use crate::store::{Input, Leadership, MemberId, Proposal, Shared};

/// Owner of the state; must be run for writes to commit.
pub struct Driver {
    shared: Arc<Shared>,
    machine: Machine,
}

/// Why a driver ended.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Its thread could not be started, or broke an invariant.
    #[error("the driver thread failed")]
    Thread,
}

/// How often the driver looks at the clock when nothing happens.
const IDLE: Duration = Duration::from_secs(10);

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, machine: Machine) -> Self {
        Self { shared, machine }
    }

    /// Runs until `shutdown`; flushes and closes. A disk error ends it with the error (writes then fail, reads go on).
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DriverError> {
        let shared = self.shared.clone();
        let (ended, end) = oneshot::channel();
        let thread = std::thread::Builder::new().name("store-driver".to_owned());
        thread.spawn(move || ended.send(self.drive())).map_err(|_| DriverError::Thread)?;
        tokio::pin!(end);
        tokio::select! {
            // Cancel-safe: a oneshot receiver keeps its place.
            result = &mut end => return result.unwrap_or(Err(DriverError::Thread)),
            () = shutdown.cancelled() => {}
        }
        let _ = shared.inbox.push(Input::Shutdown);
        end.await.unwrap_or(Err(DriverError::Thread))
    }

    fn drive(mut self) -> Result<(), DriverError> {
        let started = std::time::Instant::now();
        let leader = Leadership { term: 1, leader: Some(MemberId(1)), is_leader: true };
        self.shared.leadership.send_replace(leader);
        self.shared.sole_leader.store(true, Ordering::Release);
        let mut inputs = Vec::new();
        loop {
            self.shared.inbox.take(&mut inputs, IDLE);
            let now = started.elapsed();
            let mut batch = Vec::new();
            let mut stop = false;
            for input in inputs.drain(..) {
                match input {
                    Input::Propose(proposal) => batch.push(proposal),
                    Input::Read(request) => drop(request.reply.send(Ok(()))),
                    Input::Shutdown => stop = true,
                }
            }
            self.apply(batch, now);
            if stop {
                self.shared.close();
                return Ok(());
            }
        }
    }

    fn apply(&mut self, batch: Vec<Proposal>, now: Duration) {
        let mut commits = Vec::new();
        let mut answers = Vec::new();
        for proposal in batch {
            let applied = self.machine.apply(proposal.txn, 1);
            if !applied.events.is_empty() {
                commits.push(Commit { revision: applied.response.revision, events: applied.events });
            }
            answers.push((proposal.reply, applied.response));
        }
        let state = self.machine.snapshot();
        self.shared.state.store(Arc::new(state.clone()));
        self.shared.applied.send_replace(state.revision);
        self.shared.history.publish(commits, state, now);
        for (reply, response) in answers {
            let _ = reply.send(Ok(response));
        }
    }
}
