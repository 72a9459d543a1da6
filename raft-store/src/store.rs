//! The handle that the rest of the system holds, and opening a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::command::{Txn, TxnResponse};
use crate::driver::Driver;
use crate::history::{History, Limits, NoState};
use crate::inbox::Inbox;
use crate::machine::Machine;
use crate::state::{KeyRange, Revision, Snapshot};
use crate::watch::{Watch, WatchEnd};

/// A participant in Raft; unique in its cluster, never zero, never used again after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Options of one member.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of this member; made when missing, locked while open.
    pub dir: PathBuf,
    /// Who this member is.
    pub member: MemberId,
    /// How long history is kept for watches and paged lists (default five minutes) ...
    pub history_window: Duration,
    /// ... at most this many events of it ...
    pub history_events_max: usize,
    /// ... and at most about this many bytes of memory.
    pub history_bytes_max: usize,
    /// Log bytes after which a snapshot is written and the log cut.
    pub snapshot_after_bytes: u64,
    /// Keys and values of one transaction, at most.
    pub txn_bytes_max: usize,
}

impl Config {
    /// The defaults, for a folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            member: MemberId(1),
            // As etcd under Kubernetes compacts.
            history_window: Duration::from_secs(300),
            history_events_max: 200_000,
            // A burst of writes must not double the memory of a small control plane.
            history_bytes_max: 64 << 20,
            snapshot_after_bytes: 64 << 20,
            // A request body is at most 3 MiB; one transaction may carry its object and a little more.
            txn_bytes_max: 8 << 20,
        }
    }
}

/// Who leads, as this member knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The current Raft term.
    pub term: u64,
    /// The leader of the term, when known.
    pub leader: Option<MemberId>,
    /// Whether this member leads *and* has applied everything committed before its term: only then may it act as the
    /// leader.
    pub is_leader: bool,
}

/// Why a store could not be opened. Nothing was changed or lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder open.
    #[error("the data folder {} is in use by another process", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
}

/// Why a transaction was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It is too large; it did not happen.
    #[error("the transaction has {bytes} bytes, more than the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Two of its ops change one key; it did not happen.
    #[error("the transaction changes the key {} twice", String::from_utf8_lossy(key))]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// The disk has no room for the log; it did not happen. Writes resume by themselves when there is space.
    #[error("the disk of {} is full: writes are refused until there is space, reads go on", dir.display())]
    DiskFull {
        /// The folder of the store.
        dir: PathBuf,
    },
    /// This member does not lead; it did not happen.
    #[error("this member is not the leader")]
    NotLeader {
        /// Who does, when known.
        leader: Option<MemberId>,
    },
    /// Another leader took over before the write was committed; it did not happen.
    #[error("leadership was lost before the write was committed")]
    Superseded,
    /// The store is closed; it did not happen.
    #[error("the store is closed")]
    Closed,
    /// The store was closed while the write was under way: it may or may not have happened.
    #[error("the store was closed before the write was acknowledged: it may or may not have happened")]
    Unknown,
}

/// Why a read was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The history of that time is gone.
    #[error("revision {revision} is compacted; the oldest available is {oldest}")]
    Compacted {
        /// What was asked for.
        revision: Revision,
        /// The oldest revision of which there is a state.
        oldest: Revision,
    },
    /// The revision is not reached yet.
    #[error("revision {revision} lies in the future; the latest is {latest}")]
    Future {
        /// What was asked for.
        revision: Revision,
        /// What this member has applied.
        latest: Revision,
    },
    /// There is no leader that could confirm the read.
    #[error("there is no leader")]
    NoLeader,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Sizes and counters for metrics and `/readyz`.
#[derive(Debug, Clone)]
pub struct Status {
    /// The revision applied here.
    pub revision: Revision,
    /// Keys in the store.
    pub keys: usize,
    /// Who leads.
    pub leadership: Leadership,
    /// The oldest revision that watches and lists may ask for.
    pub history_floor: Revision,
    /// Events in the history.
    pub history_events: usize,
    /// Memory of the history, about.
    pub history_bytes: usize,
    /// Open watches.
    pub watchers: usize,
}

/// A handle of an open store; cloning it costs a pointer.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What the handles and the driver share.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) state: ArcSwap<Snapshot>,
    pub(crate) applied: watch::Sender<Revision>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) history: History,
    pub(crate) inbox: Inbox<Input>,
    /// Every acknowledged write is in `state` and no other member can lead: a local read is linearizable.
    pub(crate) sole_leader: AtomicBool,
    /// Bytes of writes under way, in units of [`PERMIT_BYTES`].
    budget: Arc<Semaphore>,
    txn_bytes_max: usize,
}

/// Memory that writes under way may take together.
const BUDGET_BYTES: usize = 64 << 20;

/// Unit of that budget: a small write takes one permit, so at most 65,536 wait at a time.
const PERMIT_BYTES: usize = 1 << 10;

/// What the driver is asked to do.
pub(crate) enum Input {
    Propose(Proposal),
    Read(ReadRequest),
    Shutdown,
}

/// One waiting transaction.
pub(crate) struct Proposal {
    pub(crate) txn: Txn,
    pub(crate) reply: oneshot::Sender<Result<TxnResponse, ProposeError>>,
    /// Given back when it is answered.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// One waiting linearizable read.
pub(crate) struct ReadRequest {
    pub(crate) reply: oneshot::Sender<Result<(), ReadError>>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Store {
    /// Opens or creates the folder, recovers state, returns the handle and the driver to run.
    pub async fn open(config: Config) -> Result<(Self, Driver), OpenError> {
        let machine = Machine::new();
        let shared = Arc::new(Shared::new(&config, &machine));
        let driver = Driver::new(shared.clone(), machine);
        Ok((Self { shared }, driver))
    }

    /// Proposes one transaction; returns when it is applied here (so durable on a quorum). Many calls in flight share a
    /// batch. A call that is dropped half-way may still happen.
    pub async fn propose(&self, txn: Txn) -> Result<TxnResponse, ProposeError> {
        let bytes = txn.size_bytes();
        let max = self.shared.txn_bytes_max;
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        if let Some(key) = duplicate_key(&txn) {
            return Err(ProposeError::DuplicateKey { key });
        }
        let permit = self.shared.permit(bytes).await.ok_or(ProposeError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let proposal = Proposal { txn, reply, _permit: permit };
        self.shared.inbox.push(Input::Propose(proposal)).map_err(|_| ProposeError::Closed)?;
        answer.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// State of this member now; may lag behind the leader.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.shared.state.load())
    }

    /// State that includes every write acknowledged before the call, on any member.
    pub async fn linearizable(&self) -> Result<Snapshot, ReadError> {
        if !self.shared.sole_leader.load(Ordering::Acquire) {
            let permit = self.shared.permit(1).await.ok_or(ReadError::Closed)?;
            let (reply, answer) = oneshot::channel();
            let request = ReadRequest { reply, _permit: permit };
            self.shared.inbox.push(Input::Read(request)).map_err(|_| ReadError::Closed)?;
            answer.await.unwrap_or(Err(ReadError::Closed))?;
        }
        Ok(self.snapshot())
    }

    /// The state at a past revision, while history keeps it.
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

    /// Sizes and counters for metrics and `/readyz`.
    pub fn status(&self) -> Status {
        let state = self.shared.state.load();
        let history = self.shared.history.sizes();
        Status {
            revision: state.revision,
            keys: state.map.len(),
            leadership: *self.shared.leadership.borrow(),
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

impl Shared {
    fn new(config: &Config, machine: &Machine) -> Self {
        let limits = Limits {
            window: config.history_window,
            events_max: config.history_events_max,
            bytes_max: config.history_bytes_max,
        };
        let state = machine.snapshot();
        Self {
            dir: config.dir.clone(),
            state: ArcSwap::from_pointee(state.clone()),
            applied: watch::Sender::new(state.revision),
            leadership: watch::Sender::default(),
            history: History::new(state, limits),
            inbox: Inbox::new(),
            sole_leader: AtomicBool::new(false),
            budget: Arc::new(Semaphore::new(BUDGET_BYTES / PERMIT_BYTES)),
            txn_bytes_max: config.txn_bytes_max.min(BUDGET_BYTES),
        }
    }

    /// Waits for room among the writes under way; `None` when the store is closed.
    async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, BUDGET_BYTES / PERMIT_BYTES);
        let permits = u32::try_from(permits).expect("the budget has few enough units");
        self.budget.clone().acquire_many_owned(permits).await.ok()
    }

    /// Ends everything that waits: writes, reads and watches.
    pub(crate) fn close(&self) {
        self.sole_leader.store(false, Ordering::Release);
        self.budget.close();
        // Dropping the requests answers them.
        drop(self.inbox.close());
        self.history.close();
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
