//! Space on the disk, and work on whole files: the next segment, snapshots, cutting the log behind them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::{ProgressState, StateRole};

use super::Member;
use crate::disk::DiskError;
use crate::error::DriverError;
use crate::snapshot_file::{self, Meta};
use crate::worker::{Job, Outcome};

/// How long a full disk is left alone before it is asked for space again.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// For members that are a little behind, the log may grow to so many times the length at which it is cut.
const LOG_LENGTHS_MAX: u64 = 4;

/// What is under way and what is due.
pub(super) struct Upkeep {
    jobs: Vec<Job>,
    /// A job makes the next segment.
    preparing: bool,
    /// A job writes a snapshot.
    writing: bool,
    /// Jobs that lacked space are tried again at this time.
    retry_at: Duration,
    /// The last entry in the newest snapshot on disk.
    snapshot_index: u64,
    snapshot_after_bytes: u64,
    /// Bytes ever written to the log when the newest snapshot was begun.
    snapshot_at: u64,
}

impl Upkeep {
    pub(super) fn new(snapshot_index: u64, snapshot_after_bytes: u64) -> Self {
        Self {
            jobs: Vec::new(),
            preparing: false,
            writing: false,
            retry_at: Duration::ZERO,
            snapshot_index,
            snapshot_after_bytes,
            snapshot_at: 0,
        }
    }

    pub(super) fn add(&mut self, job: Job) {
        self.jobs.push(job);
    }

    pub(super) fn snapshot_index(&self) -> u64 {
        self.snapshot_index
    }
}

impl Member {
    /// Work for another thread.
    pub(crate) fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.upkeep.jobs)
    }

    /// Whether the log has room for `bytes` of entries. While the disk is full it is asked for more once in a while.
    pub(super) fn has_room(&mut self, bytes: usize) -> Result<bool, DriverError> {
        let log = self.node.mut_store();
        if !log.has_room(bytes) {
            if self.full_until.is_some_and(|until| self.now < until) {
                return Ok(false);
            }
            if let Err(error) = log.make_room() {
                self.note_full(error)?;
                return Ok(false);
            }
        }
        self.note_space();
        Ok(true)
    }

    pub(super) fn note_space(&mut self) {
        if self.full_until.take().is_some() {
            tracing::info!("there is space on the disk again; writes resume");
            self.shared.counters.disk_full.store(false, Ordering::Relaxed);
        }
    }

    /// Remembers that the disk is full; any other failure of it is final.
    pub(super) fn note_full(&mut self, error: DiskError) -> Result<(), DriverError> {
        if !error.is_full() {
            return Err(error.into());
        }
        if self.full_until.is_none() {
            tracing::error!(path = %error.path.display(), "the disk is full; writes are refused");
        }
        self.full_until = Some(self.now + FULL_RETRY);
        self.shared.counters.disk_full.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Starts what is due.
    pub(super) fn plan_jobs(&mut self) {
        if self.now < self.upkeep.retry_at {
            return;
        }
        let (log, upkeep) = (self.node.store(), &mut self.upkeep);
        if log.wants_spare() && !upkeep.preparing {
            upkeep.preparing = true;
            upkeep.jobs.push(Job::PrepareSegment { segment_bytes: log.segment_bytes() });
        }
        let after = upkeep.snapshot_after_bytes.max(self.machine.data_bytes());
        let grown = log.bytes_written() - upkeep.snapshot_at;
        let due = grown > after || log.wants_snapshot();
        if due && !upkeep.writing && self.applied.index > upkeep.snapshot_index {
            upkeep.writing = true;
            upkeep.snapshot_at = log.bytes_written();
            let meta =
                Meta { cluster: self.cluster, position: self.applied, conf_state: self.conf_state.clone() };
            upkeep.jobs.push(Job::WriteSnapshot { meta, machine: Box::new(self.machine.clone()) });
        }
    }

    /// Takes in how a job ended.
    pub(super) fn job_done(&mut self, outcome: Outcome) -> Result<(), DriverError> {
        match outcome {
            Outcome::Segment(Ok(file)) => {
                self.upkeep.preparing = false;
                self.node.mut_store().set_spare(file);
                Ok(())
            }
            Outcome::Segment(Err(error)) => {
                self.upkeep.preparing = false;
                self.job_failed(error, "making the next segment")
            }
            Outcome::Snapshot { meta, written: Ok(bytes) } => {
                self.upkeep.writing = false;
                self.snapshot_written(meta, bytes);
                Ok(())
            }
            Outcome::ChunkRead { to, snapshot, offset, read } => {
                self.chunk_read(to, snapshot, offset, read);
                Ok(())
            }
            Outcome::ChunkWritten(written) => self.chunk_written(written),
            Outcome::Received(read) => self.checked(*read),
            Outcome::Snapshot { written: Err(error), .. } => {
                self.upkeep.writing = false;
                // Due again as soon as jobs are.
                self.upkeep.snapshot_at = 0;
                self.job_failed(error, "writing a snapshot")
            }
            Outcome::Sound => Ok(()),
            Outcome::Unsound => Err(DriverError::Unsound),
            Outcome::Removed(removed) => Ok(removed?),
        }
    }

    /// A job that lacked space is tried again later; any other failure of the disk is final.
    pub(super) fn job_failed(&mut self, error: DiskError, what: &'static str) -> Result<(), DriverError> {
        if !error.is_full() {
            return Err(error.into());
        }
        tracing::warn!(path = %error.path.display(), "{what} failed: the disk is full; it is tried again");
        self.upkeep.retry_at = self.now + FULL_RETRY;
        Ok(())
    }

    fn snapshot_written(&mut self, meta: Meta, bytes: u64) {
        let index = meta.position.index;
        tracing::debug!(index, bytes, "snapshot written");
        if index <= self.upkeep.snapshot_index {
            // One of another member has taken its place meanwhile.
            self.upkeep.jobs.push(Job::Remove { names: vec![snapshot_file::name_of(index)] });
            return;
        }
        self.snapshot_in_place(meta);
    }

    /// There is a newer snapshot: what it replaces can go.
    pub(super) fn snapshot_in_place(&mut self, meta: Meta) {
        let index = meta.position.index;
        let keep_from = self.needed_by_others().map_or(index, |needed| needed.min(index));
        let old = std::mem::replace(&mut self.upkeep.snapshot_index, index);
        let mut names = vec![snapshot_file::name_of(old)];
        let log = self.node.mut_store();
        log.set_newest_snapshot(meta);
        names.extend(log.cut(keep_from));
        self.upkeep.jobs.push(Job::Remove { names });
    }

    /// The last entry before those that a member that answers will need, unless the log has grown too long for
    /// waiting: then it is sent a snapshot.
    fn needed_by_others(&self) -> Option<u64> {
        let (log, raft) = (self.node.store(), &self.node.raft);
        let long = self.upkeep.snapshot_after_bytes.max(self.machine.data_bytes()) * LOG_LENGTHS_MAX;
        if raft.state != StateRole::Leader || log.sizes().bytes > long {
            return None;
        }
        let answering = raft.prs().iter().filter(|(id, known)| {
            **id != raft.id
                && known.recent_active
                && known.matched > 0
                && known.state != ProgressState::Snapshot
        });
        answering.map(|(_, known)| known.matched).chain(self.outgoing_snapshots.oldest()).min()
    }
}
