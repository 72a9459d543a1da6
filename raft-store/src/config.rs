//! Options of one member, with the reasons for their defaults.

use std::path::PathBuf;
use std::time::Duration;

use crate::membership::{ClusterId, Founding, MemberId};

/// Options of one member.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of this member; made when missing, locked while open.
    pub dir: PathBuf,
    /// Who this member is.
    pub member: MemberId,
    /// The cluster a new folder belongs to; `None` draws a number. An old folder keeps its own.
    pub cluster: Option<ClusterId>,
    /// How a new folder begins.
    pub founding: Founding,
    /// How long history is kept for watches and paged lists (default five minutes) ...
    pub history_window: Duration,
    /// ... at most this many events of it ...
    pub history_events_max: usize,
    /// ... and at most about this many bytes of memory.
    pub history_bytes_max: usize,
    /// Log bytes after which a snapshot is written and the log cut; a state larger than this waits for as many log
    /// bytes as it has itself, so that snapshots never cost more than the log does.
    pub snapshot_after_bytes: u64,
    /// Length of one file of the log, at least twice `txn_bytes_max`.
    pub segment_bytes: u64,
    /// Keys and values of one transaction, at most.
    pub txn_bytes_max: usize,
}

impl Config {
    /// The defaults, for a folder.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            member: MemberId(1),
            cluster: None,
            founding: Founding::Alone,
            // As etcd under Kubernetes compacts.
            history_window: Duration::from_secs(300),
            history_events_max: 200_000,
            // A burst of writes must not double the memory of a small control plane.
            history_bytes_max: 64 << 20,
            snapshot_after_bytes: 64 << 20,
            // Few enough files at any log length, and filled with zeros in some ten milliseconds.
            segment_bytes: 32 << 20,
            // A request body is at most 3 MiB; one transaction may carry its object and a little more.
            txn_bytes_max: 8 << 20,
        }
    }
}
