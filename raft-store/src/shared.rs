//! What the handles and the driver of one store share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::command::{Txn, TxnResponse};
use crate::config::Config;
use crate::error::{ProposeError, ReadError};
use crate::history::{Commit, History, Limits};
use crate::inbox::Inbox;
use crate::machine::Machine;
use crate::membership::{ClusterId, Leadership, MemberId, Members, Progress};
use crate::snapshot_file::Meta;
use crate::state::{Revision, Snapshot};
use crate::transport::letter::{Reply, Request};
use crate::transport::{self, Letter, MessageError};
use crate::worker::Outcome;

/// Memory that writes under way may take together.
const BUDGET_BYTES: usize = 64 << 20;

/// Unit of that budget: a small write takes one permit, so at most 65,536 wait at a time.
const PERMIT_BYTES: usize = 1 << 10;

/// When so much waits, messages of other members are dropped: what matters is sent again.
const MESSAGES_MAX: usize = 4_096;
const MESSAGES_BYTES_MAX: usize = 64 << 20;

pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) id: MemberId,
    /// The newest applied state.
    pub(crate) state: ArcSwap<Snapshot>,
    pub(crate) applied: watch::Sender<Revision>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) members: watch::Sender<Members>,
    /// On the leader: how far the members are, not older than a few ticks.
    pub(crate) progress: ArcSwap<Vec<Progress>>,
    pub(crate) history: History,
    pub(crate) inbox: Inbox<Input>,
    /// No other member can commit, so `state` has every acknowledged write: a local read is linearizable.
    sole_voter: AtomicBool,
    /// Length of the messages of other members in the inbox.
    letter_bytes: AtomicUsize,
    /// Until when this member, as the leader, may answer reads by itself, in nanoseconds on `clock`; zero: it may not.
    lease_until: AtomicU64,
    /// Somebody used the lease since it was last asked.
    lease_wanted: AtomicBool,
    /// The clock of the driver, when a driver runs.
    clock: OnceLock<Instant>,
    /// The time, where a simulation tells it.
    #[cfg(test)]
    pub(crate) simulated_nanos: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) txn_bytes_max: usize,
    /// Bytes of writes under way, in units of [`PERMIT_BYTES`].
    budget: Arc<Semaphore>,
}

/// What the driver counts, for [`crate::Status`].
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) applied_index: AtomicU64,
    pub(crate) snapshot_index: AtomicU64,
    pub(crate) data_bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) log_segments: AtomicU64,
    pub(crate) txns: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_micros: AtomicU64,
    pub(crate) disk_full: AtomicBool,
}

/// What the driver is asked to do.
pub(crate) enum Input {
    Propose(Proposal),
    Read(ReadRequest),
    Task(Task),
    Copy(oneshot::Sender<(Meta, Machine)>),
    /// From another member.
    Letter {
        letter: Letter,
        /// Its length on the way.
        bytes: usize,
    },
    /// A background job has ended.
    Done(Outcome),
    Shutdown,
}

/// One waiting transaction.
pub(crate) struct Proposal {
    pub(crate) txn: Txn,
    reply: oneshot::Sender<Result<TxnResponse, ProposeError>>,
    /// Given back when it is answered.
    _permit: OwnedSemaphorePermit,
}

impl Proposal {
    /// Nobody may be waiting any more; that is not the driver's concern.
    pub(crate) fn answer(self, answer: Result<TxnResponse, ProposeError>) {
        drop(self.reply.send(answer));
    }

    /// Takes the transaction out; the rest waits for the answer.
    pub(crate) fn take_txn(&mut self) -> Txn {
        std::mem::take(&mut self.txn)
    }
}

/// A change of members or of leadership that somebody waits for.
pub(crate) struct Task {
    pub(crate) request: Request,
    reply: oneshot::Sender<Result<Reply, NoFate>>,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoFate {
    NoLeader,
    TimedOut(MemberId),
    Unknown,
    Closed,
}

impl Task {
    pub(crate) fn answer(self, answer: Result<Reply, NoFate>) {
        // Nobody may be waiting any more.
        self.reply.send(answer).ok();
    }
}

/// One waiting linearizable read.
pub(crate) struct ReadRequest {
    reply: oneshot::Sender<Result<(), ReadError>>,
    _permit: OwnedSemaphorePermit,
}

impl ReadRequest {
    pub(crate) fn answer(self, answer: Result<(), ReadError>) {
        drop(self.reply.send(answer));
    }
}

/// The end of a wait for an answer.
pub(crate) type Answer<T, E> = oneshot::Receiver<Result<T, E>>;

impl Shared {
    pub(crate) fn new(config: &Config, cluster: ClusterId, state: Snapshot) -> Self {
        let limits = Limits {
            window: config.history_window,
            events_max: config.history_events_max,
            bytes_max: config.history_bytes_max,
        };
        Self {
            dir: config.dir.clone(),
            cluster,
            id: config.member,
            state: ArcSwap::from_pointee(state.clone()),
            applied: watch::Sender::new(state.revision),
            leadership: watch::Sender::default(),
            members: watch::Sender::default(),
            progress: ArcSwap::default(),
            history: History::new(state, limits),
            inbox: Inbox::new(),
            sole_voter: AtomicBool::new(false),
            letter_bytes: AtomicUsize::new(0),
            lease_until: AtomicU64::new(0),
            lease_wanted: AtomicBool::new(false),
            clock: OnceLock::new(),
            #[cfg(test)]
            simulated_nanos: AtomicU64::new(0),
            counters: Counters::default(),
            txn_bytes_max: config.txn_bytes_max.min(BUDGET_BYTES),
            budget: Arc::new(Semaphore::new(BUDGET_BYTES / PERMIT_BYTES)),
        }
    }

    /// Hands a transaction to the driver, when there is room among the writes under way.
    pub(crate) async fn propose(
        &self,
        txn: Txn,
        bytes: usize,
    ) -> Result<Answer<TxnResponse, ProposeError>, ProposeError> {
        let permit = self.permit(bytes).await.ok_or(ProposeError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal { txn, reply, _permit: permit };
        self.inbox.push(Input::Propose(proposal)).map_err(|_| ProposeError::Closed)?;
        Ok(answer)
    }

    /// Hands a task to the driver.
    pub(crate) fn hand_in(&self, request: Request) -> Result<Answer<Reply, NoFate>, NoFate> {
        let (reply, answer) = oneshot::channel();
        let task = Task { request, reply };
        self.inbox.push(Input::Task(task)).map_err(|_| NoFate::Closed)?;
        Ok(answer)
    }

    pub(crate) fn is_sole_voter(&self) -> bool {
        self.sole_voter.load(Ordering::Acquire)
    }

    pub(crate) fn set_sole_voter(&self, alone: bool) {
        self.sole_voter.store(alone, Ordering::Release);
    }

    /// Asks the driver for all that makes up the state.
    pub(crate) fn copy(&self) -> Option<oneshot::Receiver<(Meta, Machine)>> {
        let (reply, answer) = oneshot::channel();
        self.inbox.push(Input::Copy(reply)).ok()?;
        Some(answer)
    }

    /// The clock that the driver tells the time by.
    pub(crate) fn clock(&self) -> Instant {
        *self.clock.get_or_init(Instant::now)
    }

    fn now(&self) -> Option<Duration> {
        #[cfg(test)]
        if let nanos @ 1.. = self.simulated_nanos.load(Ordering::Relaxed) {
            return Some(Duration::from_nanos(nanos));
        }
        self.clock.get().map(Instant::elapsed)
    }

    pub(crate) fn set_lease(&self, until: Duration) {
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(0);
        self.lease_until.store(nanos, Ordering::Release);
    }

    /// Whether what is published here has every write that was acknowledged anywhere before this call.
    pub(crate) fn has_lease(&self) -> bool {
        let until = self.lease_until.load(Ordering::Acquire);
        let holds = until > 0 && self.now().is_some_and(|now| now < Duration::from_nanos(until));
        if holds {
            self.want_lease();
        }
        holds
    }

    /// Reads come often enough for a lease to be worth asking for.
    pub(crate) fn want_lease(&self) {
        self.lease_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the lease was used since the last time this was asked.
    pub(crate) fn is_lease_wanted(&self) -> bool {
        self.lease_wanted.swap(false, Ordering::Relaxed)
    }

    /// Asks the driver for a confirmation that the state is the newest.
    pub(crate) async fn confirm_read(&self) -> Result<Answer<(), ReadError>, ReadError> {
        let permit = self.permit(1).await.ok_or(ReadError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let request = ReadRequest { reply, _permit: permit };
        self.inbox.push(Input::Read(request)).map_err(|_| ReadError::Closed)?;
        Ok(answer)
    }

    /// Makes a new state visible, then answers those who wait for it, then wakes the watchers: an answer must not wait
    /// for ten thousand wake-ups, and whoever has one must find its revision in the state and in the history.
    pub(crate) fn publish(
        &self,
        commits: Vec<Commit>,
        state: Snapshot,
        answers: Vec<(Proposal, TxnResponse)>,
        now: Duration,
    ) {
        let changed = !commits.is_empty();
        let mut wake = None;
        if changed {
            let old = self.state.swap(Arc::new(state.clone()));
            wake = Some((self.history.publish(commits, state.clone(), now), old));
        }
        for (proposal, response) in answers {
            proposal.answer(Ok(response));
        }
        if changed {
            self.applied.send_replace(state.revision);
        }
        if let Some((wake, _old)) = wake {
            wake.notify();
        }
    }

    /// A state of another member takes the place of this one's. Watchers that have not seen what lies between are told so.
    pub(crate) fn jump(&self, state: Snapshot) {
        let revision = state.revision;
        let old = self.state.swap(Arc::new(state.clone()));
        let wake = self.history.jump(state);
        self.applied.send_replace(revision);
        wake.notify();
        drop(old);
    }

    /// Hands a message of another member to the driver.
    pub(crate) fn receive(&self, bytes: &[u8]) -> Result<(), MessageError> {
        self.take(transport::decode(self.cluster, bytes)?, bytes.len())
    }

    /// The same, when it is known whose it must be.
    pub(crate) fn receive_from(&self, sender: MemberId, bytes: &[u8]) -> Result<(), MessageError> {
        let letter = transport::decode(self.cluster, bytes)?;
        if letter.from != sender {
            return Err(MessageError::OtherSender { found: letter.from });
        }
        self.take(letter, bytes.len())
    }

    fn take(&self, letter: Letter, bytes: usize) -> Result<(), MessageError> {
        let waiting = self.letter_bytes.load(Ordering::Relaxed);
        if self.inbox.len() >= MESSAGES_MAX || waiting > MESSAGES_BYTES_MAX {
            return Err(MessageError::Overloaded);
        }
        self.letter_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.inbox.push(Input::Letter { letter, bytes }).map_err(|_| MessageError::Closed)
    }

    /// A message was taken out of the inbox.
    pub(crate) fn letter_taken(&self, bytes: usize) {
        self.letter_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Ends everything that waits: writes, reads and watches. What was handed to the driver and not yet proposed did
    /// not happen, and is told so.
    pub(crate) fn close(&self) {
        self.sole_voter.store(false, Ordering::Release);
        self.set_lease(Duration::ZERO);
        self.budget.close();
        for input in self.inbox.close() {
            match input {
                Input::Propose(proposal) => proposal.answer(Err(ProposeError::Closed)),
                Input::Read(request) => request.answer(Err(ReadError::Closed)),
                Input::Task(task) => task.answer(Err(NoFate::Closed)),
                Input::Copy(_) | Input::Letter { .. } | Input::Done(_) | Input::Shutdown => {}
            }
        }
        self.leadership.send_if_modified(|leadership| {
            let led = leadership.is_leader;
            *leadership = Leadership { leader: None, is_leader: false, ..*leadership };
            led
        });
        self.history.close();
    }

    /// Waits for room among the writes under way; `None` when the store is closed.
    async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, BUDGET_BYTES / PERMIT_BYTES);
        let permits = u32::try_from(permits).expect("the budget has few enough units");
        self.budget.clone().acquire_many_owned(permits).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Message, MessageType};

    use super::*;

    #[test]
    fn a_message_in_the_name_of_another_member_is_refused() {
        let cluster = ClusterId(7);
        let shared = Shared::new(&Config::new("unused"), cluster, Machine::new().snapshot());
        let message = Message { msg_type: MessageType::MsgHeartbeat, from: 2, to: 1, ..Message::default() };
        let bytes = transport::encode(cluster, &Letter::of(message)).expect("one for others");
        let found = MemberId(2);
        assert_eq!(shared.receive_from(MemberId(3), &bytes), Err(MessageError::OtherSender { found }));
        assert_eq!(shared.inbox.len(), 0);
        assert_eq!(shared.receive_from(found, &bytes), Ok(()));
        assert_eq!(shared.inbox.len(), 1);
    }
}
