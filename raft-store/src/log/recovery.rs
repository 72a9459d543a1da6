//! Reading the log back: all of it is checked before anything is started or changed.
//!
//! A frame that cannot be read ends the log only where a crash can have left it so: in the last segment, with no
//! later frame that proves it had been on the disk, and looking like a write that was cut short (see
//! [`frame::looks_torn`]). Such a tail was never acknowledged and is cut. Everything else is damage.

use std::sync::Arc;

use raft::eraftpb::ConfState;

use super::frame::{self, Frame, Item, Position, Unreadable};
use super::segment::{self, Header, Segment};
use super::{Log, Options};
use crate::disk::{self, Disk, DiskError, SECTOR_BYTES};
use crate::error::OpenError;

/// A log that was read, and what must be done before it is written to.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    /// Length of the last segment's file.
    file_bytes: u64,
    /// Bytes of a torn write are in the last segment.
    torn: bool,
}

/// Reads and checks the segments among `names`, which continue the snapshot at `snapshot`.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    options: Options,
    names: &[String],
    snapshot: Position,
    conf_state: &ConfState,
) -> Result<Recovered, OpenError> {
    let mut segments: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((segment::sequence_of(name)?, name))).collect();
    segments.sort_unstable();
    let log = Log::empty(disk.clone(), options, Position::default(), conf_state.clone());
    let mut scan = Scan { recovered: Recovered { log, file_bytes: 0, torn: false } };
    for (at, (first_sequence, name)) in segments.iter().enumerate() {
        scan.segment(name, *first_sequence, at + 1 == segments.len())?;
    }
    let Recovered { log, .. } = &scan.recovered;
    let Some((first, last)) = log.segments.front().zip(log.segments.back()) else {
        let path = disk.path(&segment::name_of(1));
        return Err(OpenError::Damaged { path, offset: 0, reason: "there is no log" });
    };
    let damaged = |segment: &Segment, offset, reason| {
        Err(OpenError::Damaged { path: disk.path(&segment.name), offset, reason })
    };
    if log.base.index > snapshot.index {
        return damaged(
            first,
            segment::HEADER_BYTES as u64,
            "entries between the snapshot and it are missing",
        );
    }
    if log.last().index < snapshot.index.max(log.hard_state.commit) {
        return damaged(last, log.offset, "committed entries after it are missing");
    }
    if raft::Storage::term(log, snapshot.index) != Ok(snapshot.term) {
        return damaged(first, segment::HEADER_BYTES as u64, "it does not continue the snapshot");
    }
    Ok(scan.recovered)
}

impl Recovered {
    /// Cuts a torn tail and makes sure that everything that was read is on the disk: after a crash of the process alone it
    /// may have been read from the cache of the operating system.
    pub(crate) fn repair(self) -> Result<Log, DiskError> {
        let last = self.log.segments.back().expect("recovered logs have a segment");
        if self.torn || self.file_bytes < last.size_bytes {
            segment::fill_zeros(&*last.file, self.log.offset, last.size_bytes)?;
        }
        last.file.sync()?;
        Ok(self.log)
    }
}

struct Scan {
    recovered: Recovered,
}

impl Scan {
    fn segment(&mut self, name: &str, first_sequence: u64, last: bool) -> Result<(), OpenError> {
        let Recovered { log, file_bytes, torn } = &mut self.recovered;
        let path = log.disk.path(name);
        let damaged = |offset: usize, reason| {
            Err(OpenError::Damaged { path: path.clone(), offset: offset as u64, reason })
        };
        let file = log.disk.open(name)?;
        let mut bytes = disk::read_all(&*file)?;
        *file_bytes = bytes.len() as u64;
        let header = Header::decode(&bytes, path.clone())?;
        if header.member != log.options.member {
            let dir = path.parent().unwrap_or(&path).to_owned();
            return Err(OpenError::OtherMember { dir, found: header.member, wanted: log.options.member });
        }
        let follows = log.segments.is_empty() || first_sequence == log.written + 1;
        if header.first_sequence != first_sequence || !follows {
            return damaged(0, "the segment before it is missing or incomplete");
        }
        let size = usize::try_from(header.segment_bytes).unwrap_or(usize::MAX);
        if size > u32::MAX as usize {
            return damaged(0, "its length is impossible");
        }
        // A file cut short reads as if what is missing had never been written.
        bytes.resize(size, 0);
        log.written = first_sequence - 1;
        log.segments.push_back(Segment {
            name: name.to_owned(),
            file,
            first_sequence,
            size_bytes: header.segment_bytes,
            last_index: log.last().index,
        });
        let mut offset = segment::HEADER_BYTES;
        while offset < bytes.len() {
            match frame::read(&bytes[offset..]) {
                Ok(frame) if frame.sequence == log.written + 1 => {
                    let padded = frame.padded;
                    if let Err(reason) = replay(log, frame, offset) {
                        return damaged(offset, reason);
                    }
                    offset = bytes.len().min(offset + padded);
                }
                Ok(_) => return damaged(offset, "a frame is out of sequence"),
                Err(why) => {
                    let end = judge(&bytes, offset, why, log.written + 1);
                    match end {
                        End::Clean => {}
                        End::Torn if last && log.written >= first_sequence => *torn = true,
                        End::Torn => {
                            return damaged(offset, "a frame is incomplete in the middle of the log");
                        }
                        End::Damaged(reason) => return damaged(offset, reason),
                    }
                    break;
                }
            }
        }
        log.offset = offset as u64;
        log.bytes_written += offset as u64;
        log.durable = log.written;
        if log.written < first_sequence {
            return damaged(segment::HEADER_BYTES, "the first frame is missing");
        }
        Ok(())
    }
}

/// Takes over what a frame says.
fn replay(log: &mut Log, frame: Frame, offset: usize) -> Result<(), &'static str> {
    let first = log.segments.back().is_some_and(|segment| segment.first_sequence == frame.sequence);
    let begins_with_base = matches!(frame.items.first(), Some(Item::Base(_)));
    if first != begins_with_base {
        return Err("a frame is not where it belongs");
    }
    let length = u32::try_from(frame.padded).map_err(|_| "a frame is impossibly long")?;
    let offset = u32::try_from(offset).map_err(|_| "a segment is impossibly long")?;
    for item in frame.items {
        match item {
            Item::HardState(state) => log.hard_state = state,
            Item::Base(base) if log.segments.len() == 1 => log.base = base,
            Item::Base(base) if base == log.last() => {}
            Item::Base(_) => return Err("it does not continue the segment before it"),
            Item::Entry(entry) if entry.index <= log.base.index || entry.index > log.last().index + 1 => {
                return Err("an entry is out of order");
            }
            Item::Entry(entry) => log.note(&entry, offset, length),
        }
    }
    if log.segments.len() == 1 && log.segments[0].last_index < log.base.index {
        log.segments[0].last_index = log.base.index;
    }
    log.written = frame.sequence;
    log.written_hard_state = log.hard_state.clone();
    Ok(())
}

enum End {
    /// Only zeros follow.
    Clean,
    /// A write was cut short by a crash.
    Torn,
    Damaged(&'static str),
}

/// What it means that no frame `sequence` can be read at `offset`.
fn judge(bytes: &[u8], offset: usize, why: Unreadable, sequence: u64) -> End {
    let rest = &bytes[offset..];
    let Some(used) = rest.iter().rposition(|byte| *byte != 0) else {
        return End::Clean;
    };
    if was_durable(&rest[..=used], bytes, offset, sequence) {
        return End::Damaged("a frame cannot be read that had been on the disk: a later one proves it");
    }
    match why {
        Unreadable::Blank => End::Torn,
        Unreadable::Checksum(length) if frame::looks_torn(rest, offset, length, SECTOR_BYTES) => End::Torn,
        Unreadable::Checksum(_) => End::Damaged("the checksum of a frame does not fit"),
        // No more than a scrap of a length: nothing was written here to its end.
        Unreadable::Length if used < frame::ALIGN_BYTES => End::Torn,
        Unreadable::Length => End::Damaged("the length of a frame is impossible"),
        Unreadable::Content => End::Damaged("a frame holds what no release wrote"),
    }
}

/// Whether a later frame was written when frame `sequence` was known to be on the disk.
fn was_durable(used: &[u8], bytes: &[u8], offset: usize, sequence: u64) -> bool {
    let starts = (frame::ALIGN_BYTES..used.len()).step_by(frame::ALIGN_BYTES);
    let mut later = starts.filter_map(|at| frame::read(&bytes[offset + at..]).ok());
    later.any(|frame| frame.sequence > sequence && frame.durable >= sequence)
}
