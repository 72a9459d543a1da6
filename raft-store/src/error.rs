//! What can go wrong, by what the caller can do about it.

use std::path::PathBuf;

use bytes::Bytes;

use crate::disk::DiskError;
use crate::membership::MemberId;
use crate::state::Revision;

/// Why a store could not be opened. Nothing was changed or lost.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the folder open.
    #[error("the data folder {} is in use by another process", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A file is not as it was written: bytes were changed or lost after they had been on the disk. Nothing was started
    /// and nothing removed; put the file back, or the whole folder from a backup.
    #[error("{} is damaged at offset {offset}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it the first damage was found, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A file was written by a later release.
    #[error("{} has format {found}, this release knows formats up to {supported}", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The greatest known format.
        supported: u32,
    },
    /// The folder belongs to another member.
    #[error("the data folder {} belongs to member {found}, not to member {wanted}", dir.display())]
    OtherMember {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        found: MemberId,
        /// Who asked.
        wanted: MemberId,
    },
    /// A member that joins must know what it joins.
    #[error("a member that joins must be told the number of its cluster")]
    NoCluster,
    /// The Raft library refused what it was given.
    #[error("the raft library refused the configuration")]
    Raft {
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operating system refused something.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a snapshot was not saved, restored or recovered from. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is a store in the folder already.
    #[error("the folder {} has a store in it: restore into an empty one", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder has no store, or one of a member that never got any data.
    #[error("there is nothing to recover in the folder {}", dir.display())]
    Nothing {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or the file could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Values in memory are not as they were written.
    #[error("values in memory are not as they were written: the memory of this machine may be faulty")]
    Unsound,
    /// What was to take the snapshot did not.
    #[error("cannot write the snapshot")]
    Write(#[source] std::io::Error),
}

impl From<DiskError> for BackupError {
    fn from(error: DiskError) -> Self {
        Self::Open(error.into())
    }
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
    /// No leader was found in time; it did not happen.
    #[error("there is no leader: a majority of the members cannot be reached")]
    NoLeader,
    /// The store is closed; it did not happen.
    #[error("the store is closed")]
    Closed,
    /// The store was closed, or the leader was lost for too long, while the write was under way.
    #[error("the write was not acknowledged: it may or may not have happened")]
    Unknown,
}

/// Why the members were not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// There is no such member.
    #[error("there is no member {member}")]
    NotAMember {
        /// Who was meant.
        member: MemberId,
    },
    /// It is a voter already, and voters are not made learners.
    #[error("member {member} is a voter already")]
    IsAVoter {
        /// Who was meant.
        member: MemberId,
    },
    /// The only voter cannot go.
    #[error("member {member} is the only voter: promote another one first")]
    LastVoter {
        /// Who was meant.
        member: MemberId,
    },
    /// A learner that votes before it has caught up would hold up every write.
    #[error("member {member} lacks {entries} entries: wait until it has caught up")]
    Behind {
        /// Who was meant.
        member: MemberId,
        /// What it lacks.
        entries: u64,
    },
    /// After the change, those who answer would be no majority.
    #[error("the change would leave no majority of voters that can be reached")]
    QuorumAtRisk,
    /// No leader was found in time, or it was busy with another change; nothing changed.
    #[error("there is no leader that could change the members")]
    NoLeader,
    /// The store is closed; nothing changed.
    #[error("the store is closed")]
    Closed,
    /// The change was proposed and not acknowledged in time.
    #[error("the change was not acknowledged: it may or may not have happened")]
    Unknown,
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// It has no vote, or is no member.
    #[error("member {member} is not a voter")]
    NotAVoter {
        /// Who was meant.
        member: MemberId,
    },
    /// There is nobody else.
    #[error("there is no other voter that can be reached")]
    NoOtherVoter,
    /// There is no leader that could hand over.
    #[error("there is no leader")]
    NoLeader,
    /// It did not take over in time: it is too far behind, or cannot be reached.
    #[error("member {to} did not take over in time")]
    TimedOut {
        /// Who was to lead.
        to: MemberId,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
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

/// Why a driver ended. Reads of what was applied before go on; writes are refused.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The disk failed. What was not acknowledged may or may not be on it; the store must be opened anew, which reads it
    /// all again.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A committed entry is not something that this release can apply.
    #[error("entry {index} of the log cannot be applied by this release")]
    UnknownEntry {
        /// Its Raft index.
        index: u64,
    },
    /// The other members removed this one.
    #[error("member {member} was removed from the cluster; its data folder is of no use any more")]
    Removed {
        /// Which one: this one.
        member: MemberId,
    },
    /// The state differs from that of most members: it must not be served, and has to be fetched again from them.
    #[error("the state in {} differs from that of most members after entry {index}: it has to be fetched again from them", dir.display())]
    Diverged {
        /// The folder.
        dir: PathBuf,
        /// The Raft index after which it was found.
        index: u64,
    },
    /// The log ends before what this member has acknowledged: its folder was put back from an older copy, or its disk lies.
    #[error("the log in {} ends before what this member acknowledged: its data has to be fetched again from the other members", dir.display())]
    Forgot {
        /// The folder.
        dir: PathBuf,
    },
    /// Bytes changed in memory. What is on the disk is as it was: opening the folder again reads it back.
    #[error("values in memory are not as they were written: the memory of this machine may be faulty")]
    Unsound,
    /// The Raft library refused what it never should.
    #[error("the raft library failed")]
    Raft {
        /// What it says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The driver's thread could not be started.
    #[error("cannot start the thread of the store")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// The driver's thread ended in a panic: an invariant is broken.
    #[error("the thread of the store panicked")]
    Panicked,
}
