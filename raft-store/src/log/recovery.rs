//! Reading the log back: all of it is checked before anything is started or changed.
//!
//! A frame that cannot be read ends the log only where a crash can have left it so: in the last segment, with no
//! later frame that proves it had been on the disk, and looking like a write that was cut short (see
//! [`frame::looks_torn`]). Such a tail was never acknowledged and is cut. Everything else is damage.

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::ConfState;

use super::frame::{self, Frame, Item, Position, Unreadable};
use super::segment::{self, Header, Segment};
use super::{Log, Options};
use crate::disk::{self, Disk, DiskError, SECTOR_BYTES};
use crate::error::OpenError;
use crate::mutant::{self, Mutant};

/// A log that was read, and what must be done before it is written to.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    /// Length of the last segment's file.
    file_bytes: u64,
    /// Bytes of a torn write are in the last segment.
    torn: bool,
    /// Number and offset of the frames of the last segment that no later one proves to have been on the disk.
    unproven: VecDeque<(u64, usize)>,
    /// The bytes from the first of them on.
    tail: Vec<u8>,
}

/// Reads and checks the segments among `names`.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    options: Options,
    names: &[String],
) -> Result<Recovered, OpenError> {
    let mut segments: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((segment::sequence_of(name)?, name))).collect();
    segments.sort_unstable();
    let log = Log::empty(disk.clone(), options, Position::default(), ConfState::default());
    let mut recovered =
        Recovered { log, file_bytes: 0, torn: false, unproven: VecDeque::new(), tail: Vec::new() };
    for (at, (first_sequence, name)) in segments.iter().enumerate() {
        let bytes = recovered.open_segment(name, *first_sequence)?;
        recovered.read_frames(&bytes, at + 1 == segments.len())?;
    }
    Ok(recovered)
}

impl Recovered {
    /// The entry before the first.
    pub(crate) fn base(&self) -> Position {
        self.log.base
    }

    /// Cuts a torn tail and makes sure that everything that was read is on the disk, and the name of its file: after a crash
    /// of the process alone it may have been read from the cache of the operating system. After a sync that failed, that
    /// cache takes for written what is not, and no other sync would bring it to the disk: so what is not proven to be
    /// there is written again.
    pub(crate) fn repair(self) -> Result<Log, DiskError> {
        let last = self.log.segments.back().expect("recovered logs have a segment");
        if let Some((_, offset)) = self.unproven.front() {
            last.file.write_at(*offset as u64, &self.tail)?;
        }
        if self.torn {
            let path = self.log.disk.path(&last.name);
            tracing::warn!(path = %path.display(), offset = self.log.offset, "a write that a crash cut short is cut off");
        }
        let torn = self.torn && !mutant::planted(Mutant::TornTailKept);
        if torn || self.file_bytes < last.size_bytes {
            segment::fill_zeros(&*last.file, self.log.offset, last.size_bytes)?;
        }
        last.file.sync()?;
        self.log.disk.sync_dir()?;
        Ok(self.log)
    }

    /// Reads a segment and checks its header; returns its bytes, in its full length.
    fn open_segment(&mut self, name: &str, first_sequence: u64) -> Result<Vec<u8>, OpenError> {
        let log = &mut self.log;
        let path = log.disk.path(name);
        let file = log.disk.open(name)?;
        let mut bytes = disk::read_all(&*file)?;
        self.file_bytes = bytes.len() as u64;
        let header = Header::decode(&bytes, path.clone())?;
        if header.member != log.options.member {
            let dir = path.parent().unwrap_or(&path).to_owned();
            return Err(OpenError::OtherMember { dir, found: header.member, wanted: log.options.member });
        }
        let damaged = |reason| Err(OpenError::Damaged { path, offset: 0, reason });
        let follows = log.segments.is_empty() || first_sequence == log.written + 1;
        if header.first_sequence != first_sequence || !follows {
            return damaged("the segment before it is missing or incomplete");
        }
        let Ok(size) = u32::try_from(header.segment_bytes) else {
            return damaged("its length is impossible");
        };
        // A file cut short reads as if what is missing had never been written.
        bytes.resize(size as usize, 0);
        log.written = first_sequence - 1;
        let (name, last_index) = (name.to_owned(), log.last().index);
        let size_bytes = header.segment_bytes;
        log.segments.push_back(Segment { name, file, first_sequence, size_bytes, last_index });
        Ok(bytes)
    }

    /// Takes over the frames of the segment that was opened last, up to the end of what was written.
    fn read_frames(&mut self, bytes: &[u8], last: bool) -> Result<(), OpenError> {
        let mut offset = segment::HEADER_BYTES;
        // Whatever is in the segments before is on the disk.
        self.unproven.clear();
        while offset < bytes.len() {
            match frame::read(&bytes[offset..]) {
                Ok(frame) if frame.sequence == self.log.written + 1 => {
                    let padded = frame.padded;
                    self.note_proof(&frame, offset);
                    replay(&mut self.log, frame, offset).or_else(|reason| self.damaged(offset, reason))?;
                    offset = bytes.len().min(offset + padded);
                }
                Ok(_) => return self.damaged(offset, "a frame is out of sequence"),
                Err(why) => {
                    match judge(bytes, offset, why, self.log.written + 1) {
                        End::Clean => {}
                        End::Torn if last => self.torn = true,
                        End::Torn => {
                            return self.damaged(offset, "a frame is incomplete in the middle of the log");
                        }
                        End::Damaged(reason) => return self.damaged(offset, reason),
                    }
                    break;
                }
            }
        }
        let first_sequence = self.log.segments.back().map_or(0, |segment| segment.first_sequence);
        if self.log.written < first_sequence {
            // It was synced before the segment got its name.
            return self.damaged(segment::HEADER_BYTES, "the first frame is missing");
        }
        let tail = self.unproven.front().map_or(offset, |(_, begin)| *begin);
        self.tail = bytes[tail..offset].to_vec();
        self.log.offset = offset as u64;
        self.log.bytes_written += offset as u64;
        self.log.durable = self.log.written;
        Ok(())
    }

    /// The frame has not been proven to be on the disk, and may prove others.
    fn note_proof(&mut self, frame: &Frame, offset: usize) {
        while self.unproven.front().is_some_and(|(sequence, _)| *sequence <= frame.durable) {
            self.unproven.pop_front();
        }
        self.unproven.push_back((frame.sequence, offset));
    }

    /// Checks that the log as a whole goes on from the snapshot, and reaches what is known to be committed.
    pub(crate) fn check_continues(&self, snapshot: Position) -> Result<(), OpenError> {
        let log = &self.log;
        let begin = segment::HEADER_BYTES as u64;
        let Some((first, last)) = log.segments.front().zip(log.segments.back()) else {
            let path = log.disk.path(&segment::name_of(1));
            return Err(OpenError::Damaged { path, offset: 0, reason: "there is no log" });
        };
        let damaged = |segment: &Segment, offset, reason| {
            Err(OpenError::Damaged { path: log.disk.path(&segment.name), offset, reason })
        };
        if log.base.index > snapshot.index {
            return damaged(first, begin, "entries between the snapshot and it are missing");
        }
        if log.last().index < snapshot.index.max(log.hard_state.commit) {
            return damaged(last, log.offset, "committed entries after it are missing");
        }
        if raft::Storage::term(log, snapshot.index) != Ok(snapshot.term) {
            return damaged(first, begin, "it does not continue the snapshot");
        }
        Ok(())
    }

    /// An error about the segment that was opened last.
    fn damaged(&self, offset: usize, reason: &'static str) -> Result<(), OpenError> {
        let segment = self.log.segments.back().expect("called after a segment was opened");
        let path = self.log.disk.path(&segment.name);
        Err(OpenError::Damaged { path, offset: offset as u64, reason })
    }
}

/// Takes over what a frame says.
fn replay(log: &mut Log, frame: Frame, offset: usize) -> Result<(), &'static str> {
    let first = log.segments.back().is_some_and(|segment| segment.first_sequence == frame.sequence);
    let begins_with_base = matches!(frame.items.first(), Some(Item::Base(_) | Item::Restart(_)));
    if first != begins_with_base {
        return Err("a frame is not where it belongs");
    }
    let length = u32::try_from(frame.padded).map_err(|_| "a frame is impossibly long")?;
    let offset = u32::try_from(offset).map_err(|_| "a segment is impossibly long")?;
    for item in frame.items {
        match item {
            Item::HardState(state) => log.hard_state = state,
            Item::Base(base) if log.segments.len() == 1 => log.base = base,
            // The entries after it were about to be replaced.
            Item::Base(base) if log.holds(base) => log.slots.truncate((base.index - log.base.index) as usize),
            Item::Restart(base) => log.begin_at(base),
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
