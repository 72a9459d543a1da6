//! Slow work on files, off the driver's thread: one job at a time, each ends with an outcome in the inbox.

use std::sync::Arc;

use crate::disk::{Disk, DiskError, DiskFile};
use crate::log::{self, segment};
use crate::machine::Machine;
use crate::snapshot_file::{self, Meta};

/// Something to do with files.
pub(crate) enum Job {
    /// Make the file of the next segment.
    PrepareSegment { segment_bytes: u64 },
    /// Write the state down. The machine is a clone, which costs a pointer.
    WriteSnapshot { meta: Meta, machine: Box<Machine> },
    /// Remove files that are of no use any more, in this order.
    Remove { names: Vec<String> },
}

/// How a job ended.
pub(crate) enum Outcome {
    Segment(Result<Arc<dyn DiskFile>, DiskError>),
    Snapshot { index: u64, written: Result<u64, DiskError> },
    Removed(Result<(), DiskError>),
}

impl Job {
    /// Does it; blocks.
    pub(crate) fn run(self, disk: &dyn Disk) -> Outcome {
        match self {
            Self::PrepareSegment { segment_bytes } => {
                Outcome::Segment(segment::create_zeroed(disk, log::SPARE_FILE, segment_bytes))
            }
            Self::WriteSnapshot { meta, machine } => {
                let written = snapshot_file::write(disk, &meta, &machine);
                Outcome::Snapshot { index: meta.position.index, written }
            }
            Self::Remove { names } => {
                let removed = names.iter().try_for_each(|name| disk.remove(name));
                Outcome::Removed(removed.and_then(|()| disk.sync_dir()))
            }
        }
    }
}
