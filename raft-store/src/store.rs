//! The handle that the rest of the system holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::command::{Txn, TxnResponse};
use crate::config::Config;
use crate::disk::{Disk, LocalDisk};
use crate::driver::Driver;
use crate::error::{MembershipError, OpenError, ProposeError, ReadError, TransferError};
use crate::history::NoState;
use crate::machine::Machine;
use crate::membership::{ClusterId, Leadership, MemberId, Members, MembershipChange, Progress};
use crate::open;
use crate::shared::{NoFate, Shared};
use crate::snapshot_file::Meta;
use crate::state::{KeyRange, Revision, Snapshot};
use crate::transport::letter::{Reply, Request};
use crate::transport::{Alone, MessageError, Transport};
use crate::watch::{Watch, WatchEnd};

/// A handle of an open store; cloning it costs a pointer.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// Sizes and counters for metrics and `/readyz`.
#[derive(Debug, Clone)]
pub struct Status {
    /// The revision applied here.
    pub revision: Revision,
    /// Keys in the store.
    pub keys: usize,
    /// Bytes of all keys and values.
    pub data_bytes: u64,
    /// Who leads.
    pub leadership: Leadership,
    /// The last Raft entry applied here.
    pub applied_index: u64,
    /// The last Raft entry in the newest snapshot on disk.
    pub snapshot_index: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Files of the log.
    pub log_segments: u64,
    /// The disk is full: writes are refused until there is space.
    pub disk_full: bool,
    /// Transactions applied since the store was opened.
    pub txns: u64,
    /// Raft entries they came in; their ratio is the size of a batch.
    pub entries: u64,
    /// Waits for the disk since the store was opened, and the time they took.
    pub syncs: u64,
    /// See `syncs`.
    pub sync_time: Duration,
    /// The oldest revision that watches and lists may ask for.
    pub history_floor: Revision,
    /// Events in the history.
    pub history_events: usize,
    /// Memory of the history, at most.
    pub history_bytes: usize,
    /// Open watches.
    pub watchers: usize,
}

impl Store {
    /// Opens or creates the folder, recovers state, returns the handle and the driver to run. What one member alone
    /// acknowledged before is in the state at once; with more members, what is known to be committed.
    pub async fn open(config: Config) -> Result<(Self, Driver), OpenError> {
        Self::open_with(config, Arc::new(Alone)).await
    }

    /// As [`open`](Self::open), with a way to the other members.
    pub async fn open_with(
        config: Config,
        transport: Arc<dyn Transport>,
    ) -> Result<(Self, Driver), OpenError> {
        let opening = tokio::task::spawn_blocking(move || {
            let disk = LocalDisk::open(&config.dir)?;
            Self::open_on(&config, Arc::new(disk), transport)
        });
        opening.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// As [`open`](Self::open), with a disk and a way to the other members of the caller's making; blocks while it reads.
    pub fn open_on(
        config: &Config,
        disk: Arc<dyn Disk>,
        transport: Arc<dyn Transport>,
    ) -> Result<(Self, Driver), OpenError> {
        let (shared, member) = open::open(config, disk.clone(), rand::random())?;
        let driver = Driver::new(shared.clone(), member, disk, transport);
        Ok((Self { shared }, driver))
    }

    /// A handle of a store that a test drives by itself.
    #[cfg(test)]
    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Proposes one transaction, on any member; returns when it is applied here (so durable on a quorum): what is read here
    /// afterwards has it. Many calls in flight share a batch. A call that is dropped half-way may still happen. Waits
    /// while too much is under way, and for some seconds while there is no leader.
    pub async fn propose(&self, txn: Txn) -> Result<TxnResponse, ProposeError> {
        let (bytes, max) = (txn.size_bytes(), self.shared.txn_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        if let Some(key) = duplicate_key(&txn) {
            return Err(ProposeError::DuplicateKey { key });
        }
        let answer = self.shared.propose(txn, bytes).await?;
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// State of this member now; may lag behind the leader.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.shared.state.load())
    }

    /// State that includes every write acknowledged before the call, on any member.
    pub async fn linearizable(&self) -> Result<Snapshot, ReadError> {
        if !self.shared.is_sole_voter() && !self.shared.has_lease() {
            let answer = self.shared.confirm_read().await?;
            answer.await.unwrap_or(Err(ReadError::Closed))?;
        }
        Ok(self.snapshot())
    }

    /// The state at a past revision, while history keeps it. Cheap for revisions that were just asked for or are recent;
    /// else it walks back through the changes since.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, ReadError> {
        let now = self.snapshot();
        if now.revision == revision {
            return Ok(now);
        }
        self.shared.history.snapshot_at(revision).map_err(|error| match error {
            NoState::Compacted { oldest } => ReadError::Compacted { revision, oldest },
            NoState::Future { latest } => ReadError::Future { revision, latest },
        })
    }

    /// Waits until this member has applied `revision`; `Future` when it has not within `timeout`.
    pub async fn wait_applied(&self, revision: Revision, timeout: Duration) -> Result<Snapshot, ReadError> {
        let mut applied = self.shared.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(_)) => Ok(self.snapshot()),
            Ok(Err(_)) => Err(ReadError::Closed),
            Err(_) => Err(ReadError::Future { revision, latest: self.snapshot().revision }),
        }
    }

    /// Changes of the range after `from` (exclusive). `from` may lie ahead; then earlier changes are not seen.
    pub fn watch(&self, range: KeyRange, from: Revision) -> Result<Watch, WatchEnd> {
        let cursor = self.shared.history.subscribe(range, from)?;
        Ok(Watch::new(self.shared.clone(), cursor))
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.subscribe()
    }

    /// Who this member is.
    pub fn id(&self) -> MemberId {
        self.shared.id
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    /// Who takes part, and every change of it, as this member applies it.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.shared.members.subscribe()
    }

    /// On the leader: how far the members are. Empty on the others.
    pub fn progress(&self) -> Vec<Progress> {
        Vec::clone(&self.shared.progress.load())
    }

    /// Changes who takes part, on any member; returns when the change is applied here. Adding a learner that is there, or
    /// promoting a voter, changes nothing and is no error. A leader that is to be removed hands leadership over first.
    pub async fn change_membership(&self, change: MembershipChange) -> Result<(), MembershipError> {
        let member = change.member();
        match self.hand_in(Request::Change(change)).await {
            Ok(Reply::Done) => Ok(()),
            Ok(Reply::NotAMember) => Err(MembershipError::NotAMember { member }),
            Ok(Reply::IsAVoter) => Err(MembershipError::IsAVoter { member }),
            Ok(Reply::LastVoter) => Err(MembershipError::LastVoter { member }),
            Ok(Reply::Behind(entries)) => Err(MembershipError::Behind { member, entries }),
            Ok(Reply::QuorumAtRisk) => Err(MembershipError::QuorumAtRisk),
            Err(NoFate::NoLeader) => Err(MembershipError::NoLeader),
            Err(NoFate::Closed) => Err(MembershipError::Closed),
            Ok(_) | Err(NoFate::Unknown | NoFate::TimedOut(_)) => Err(MembershipError::Unknown),
        }
    }

    /// Hands leadership to another voter, `None`: to the one that has most of the log. Returns who leads then.
    pub async fn transfer_leadership(&self, to: Option<MemberId>) -> Result<MemberId, TransferError> {
        match self.hand_in(Request::Transfer(to)).await {
            Ok(Reply::Moving(to)) => Ok(to),
            Ok(Reply::NoOtherVoter) => Err(TransferError::NoOtherVoter),
            Ok(_) => {
                Err(to.map_or(TransferError::NoOtherVoter, |member| TransferError::NotAVoter { member }))
            }
            Err(NoFate::TimedOut(to)) => Err(TransferError::TimedOut { to }),
            Err(NoFate::NoLeader | NoFate::Unknown) => Err(TransferError::NoLeader),
            Err(NoFate::Closed) => Err(TransferError::Closed),
        }
    }

    /// All that makes up the state, from the driver.
    pub(crate) fn copy(&self) -> Option<oneshot::Receiver<(Meta, Machine)>> {
        self.shared.copy()
    }

    async fn hand_in(&self, request: Request) -> Result<Reply, NoFate> {
        let answer = self.shared.hand_in(request)?;
        answer.await.unwrap_or(Err(NoFate::Unknown))
    }

    /// Takes a message that another member's [`Transport`] sent to this one.
    pub fn receive(&self, message: &[u8]) -> Result<(), MessageError> {
        self.shared.receive(message)
    }

    /// As [`receive`](Self::receive), for a transport that knows who sent the message: one that speaks in another
    /// member's name is refused.
    pub fn receive_from(&self, sender: MemberId, message: &[u8]) -> Result<(), MessageError> {
        self.shared.receive_from(sender, message)
    }

    /// Sizes and counters for metrics and `/readyz`.
    pub fn status(&self) -> Status {
        let state = self.shared.state.load();
        let history = self.shared.history.sizes();
        let counters = &self.shared.counters;
        Status {
            revision: state.revision,
            keys: state.map.len(),
            data_bytes: counters.data_bytes.load(Ordering::Relaxed),
            leadership: *self.shared.leadership.borrow(),
            applied_index: counters.applied_index.load(Ordering::Relaxed),
            snapshot_index: counters.snapshot_index.load(Ordering::Relaxed),
            log_bytes: counters.log_bytes.load(Ordering::Relaxed),
            log_segments: counters.log_segments.load(Ordering::Relaxed),
            disk_full: counters.disk_full.load(Ordering::Relaxed),
            txns: counters.txns.load(Ordering::Relaxed),
            entries: counters.entries.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            sync_time: Duration::from_micros(counters.sync_micros.load(Ordering::Relaxed)),
            history_floor: history.floor,
            history_events: history.events,
            history_bytes: history.bytes,
            watchers: history.watchers,
        }
    }

    /// The folder it was opened with.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }
}

/// A key that two ops change.
fn duplicate_key(txn: &Txn) -> Option<Bytes> {
    if txn.ops.len() < 2 {
        return None;
    }
    let mut keys: Vec<&Bytes> = txn.ops.iter().map(|op| op.key()).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone())
}
