//! Slow work on files, off the driver's thread: one job at a time, each ends with an outcome in the inbox.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskError, DiskFile};
use crate::error::OpenError;
use crate::log::{self, segment};
use crate::machine::Machine;
use crate::membership::MemberId;
use crate::snapshot_file::{self, Meta, RECEIVED_FILE};
use crate::transport::letter::SnapshotId;

/// A part of a snapshot on its way: large enough to be worth a round trip, small enough to delay no heartbeat.
const CHUNK_BYTES: u64 = 256 << 10;

/// Something to do with files.
pub(crate) enum Job {
    /// Make the file of the next segment.
    PrepareSegment { segment_bytes: u64 },
    /// Write the state down. The machine is a clone, which costs a pointer.
    WriteSnapshot { meta: Meta, machine: Box<Machine> },
    /// Read a part of a snapshot file, for a member that wants it.
    ReadChunk { to: MemberId, snapshot: SnapshotId, file: Arc<dyn DiskFile>, offset: u64 },
    /// Write a part of a snapshot that another member sends; the first begins the file.
    WriteChunk { offset: u64, bytes: Bytes },
    /// Read back what was received.
    CheckReceived,
    /// Count everything in memory.
    Count { machine: Box<Machine> },
    /// Remove files that are of no use any more, in this order.
    Remove { names: Vec<String> },
}

/// How a job ended.
pub(crate) enum Outcome {
    Segment(Result<Arc<dyn DiskFile>, DiskError>),
    Snapshot {
        meta: Meta,
        written: Result<u64, DiskError>,
    },
    ChunkRead {
        to: MemberId,
        snapshot: SnapshotId,
        offset: u64,
        read: Result<Bytes, DiskError>,
    },
    ChunkWritten(Result<(), DiskError>),
    Received(Box<Result<(Meta, Machine), OpenError>>),
    /// Bytes in memory are not as they were written.
    Unsound,
    Sound,
    Removed(Result<(), DiskError>),
}

impl Job {
    /// Does it; blocks.
    pub(crate) fn run(self, disk: &dyn Disk) -> Outcome {
        match self {
            Self::PrepareSegment { segment_bytes } => {
                Outcome::Segment(segment::create_zeroed(disk, log::SPARE_FILE, segment_bytes))
            }
            // What is wrong in memory must not get to the disk.
            Self::WriteSnapshot { machine, .. } if !machine.is_sound() => Outcome::Unsound,
            Self::Count { machine } => {
                if machine.is_sound() {
                    Outcome::Sound
                } else {
                    Outcome::Unsound
                }
            }
            Self::WriteSnapshot { meta, machine } => {
                let written = snapshot_file::write(disk, &meta, &machine);
                Outcome::Snapshot { meta, written }
            }
            Self::ReadChunk { to, snapshot, file, offset } => {
                let read = read_chunk(&*file, offset, snapshot.bytes);
                Outcome::ChunkRead { to, snapshot, offset, read }
            }
            Self::WriteChunk { offset, bytes } => {
                let file = match offset {
                    0 => disk.create(RECEIVED_FILE),
                    _ => disk.open(RECEIVED_FILE),
                };
                Outcome::ChunkWritten(file.and_then(|file| file.write_at(offset, &bytes)))
            }
            Self::CheckReceived => Outcome::Received(Box::new(check_received(disk))),
            Self::Remove { names } => {
                let removed = names.iter().try_for_each(|name| disk.remove(name));
                Outcome::Removed(removed.and_then(|()| disk.sync_dir()))
            }
        }
    }
}

fn read_chunk(file: &dyn DiskFile, offset: u64, file_bytes: u64) -> Result<Bytes, DiskError> {
    let length = CHUNK_BYTES.min(file_bytes - offset);
    let mut bytes = vec![0; usize::try_from(length).expect("a chunk is small")];
    let read = file.read_at(offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Makes it durable before anything relies on it.
fn check_received(disk: &dyn Disk) -> Result<(Meta, Machine), OpenError> {
    disk.open(RECEIVED_FILE)?.sync()?;
    disk.sync_dir()?;
    snapshot_file::read_unnamed(disk, RECEIVED_FILE)
}
