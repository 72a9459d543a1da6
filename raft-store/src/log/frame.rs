//! A frame: what one write adds to the log.
//!
//! ```text
//! length u32 | its complement u32 | crc32c u32 of all that follows | sequence u64 | durable u64 | items … | trailer u8
//! ```
//!
//! Frames are numbered without gaps over all segments, and begin at multiples of eight bytes, so that the length
//! and its complement never straddle two sectors: if they are there and disagree, it is damage and not a crash. `durable` is the number of the last frame known to be on the disk when this one was
//! written: it is the proof, found later, that a broken frame had been whole. The trailer is never zero: in a file
//! that was filled with zeros, a frame without it was never written to its end.

use bytes::{BufMut, Bytes};
use raft::eraftpb::{Entry, EntryType, HardState};

use crate::wire::{Reader, bytes_len, put_bytes};

/// Bytes before the items.
pub(crate) const HEADER_BYTES: usize = 28;

/// Frames begin at multiples of this.
pub(crate) const ALIGN_BYTES: usize = 8;

const TRAILER: u8 = 0xa5;

/// The length and its complement.
const LENGTH_BYTES: usize = 8;

/// Bytes that the checksum does not cover: the length and itself.
const UNCHECKED_BYTES: usize = 12;

/// The smallest frame.
pub(crate) const FRAME_BYTES_MIN: usize = HEADER_BYTES + 1;

const HARD_STATE: u8 = 1;
const BASE: u8 = 2;
const ENTRY: u8 = 3;
const RESTART: u8 = 4;

const NORMAL: u8 = 0;
const CONF_CHANGE: u8 = 1;
const CONF_CHANGE_V2: u8 = 2;

/// One thing that a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// Term, vote and commit index from now on.
    HardState(HardState),
    /// The entry before the first that follows.
    Base(Position),
    /// The same, and nothing before it belongs to the log any more: a snapshot took its place.
    Restart(Position),
    /// An entry; it replaces those of the same and of greater index.
    Entry(Entry),
}

/// Where an entry is in the Raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// A frame as it was found.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    pub(crate) items: Vec<Item>,
    /// Length in the file, with the padding to the next frame.
    pub(crate) padded: usize,
}

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Nothing begins here: the length is zero.
    Blank,
    /// The length cannot be: its complement disagrees, it is less than a frame has, or more than there is.
    Length,
    /// The checksum does not fit; the frame would take this many bytes.
    Checksum(usize),
    /// The checksum fits, but not what it covers.
    Content,
}

/// Begins a frame in an empty buffer.
pub(crate) fn begin(into: &mut Vec<u8>, sequence: u64, durable: u64) {
    into.put_bytes(0, UNCHECKED_BYTES);
    into.put_u64_le(sequence);
    into.put_u64_le(durable);
}

pub(crate) fn put_hard_state(into: &mut Vec<u8>, state: &HardState) {
    into.put_u8(HARD_STATE);
    for field in [state.term, state.vote, state.commit] {
        into.put_u64_le(field);
    }
}

pub(crate) fn put_base(into: &mut Vec<u8>, base: Position) {
    into.put_u8(BASE);
    into.put_u64_le(base.index);
    into.put_u64_le(base.term);
}

pub(crate) fn put_restart(into: &mut Vec<u8>, base: Position) {
    into.put_u8(RESTART);
    into.put_u64_le(base.index);
    into.put_u64_le(base.term);
}

pub(crate) fn put_entry(into: &mut Vec<u8>, entry: &Entry) {
    into.put_u8(ENTRY);
    into.put_u64_le(entry.index);
    into.put_u64_le(entry.term);
    into.put_u8(match entry.entry_type {
        EntryType::EntryNormal => NORMAL,
        EntryType::EntryConfChange => CONF_CHANGE,
        EntryType::EntryConfChangeV2 => CONF_CHANGE_V2,
    });
    put_bytes(into, &entry.context);
    put_bytes(into, &entry.data);
}

/// Length of an entry in a frame.
pub(crate) fn entry_len(entry: &Entry) -> usize {
    18 + bytes_len(&entry.context) + bytes_len(&entry.data)
}

/// Ends the frame that fills the buffer, and pads it.
pub(crate) fn finish(into: &mut Vec<u8>) {
    into.put_u8(TRAILER);
    let length = u32::try_from(into.len()).expect("a segment is smaller than 4 GiB");
    let checksum = crc32c::crc32c(&into[UNCHECKED_BYTES..]);
    into[..4].copy_from_slice(&length.to_le_bytes());
    into[4..8].copy_from_slice(&(!length).to_le_bytes());
    into[8..UNCHECKED_BYTES].copy_from_slice(&checksum.to_le_bytes());
    into.resize(padded(into.len()), 0);
}

/// Length with the padding.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGN_BYTES)
}

/// Reads the frame at the beginning of `bytes`, which reach to the end of the segment.
pub(crate) fn read(bytes: &[u8]) -> Result<Frame, Unreadable> {
    let Some(head) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Err(if bytes.iter().all(|byte| *byte == 0) { Unreadable::Blank } else { Unreadable::Length });
    };
    if head == &[0; LENGTH_BYTES] {
        return Err(Unreadable::Blank);
    }
    let (length, complement) = (u32_of(&head[..4]), u32_of(&head[4..]));
    let fits = (FRAME_BYTES_MIN..=bytes.len()).contains(&(length as usize));
    if length != !complement || !fits {
        return Err(Unreadable::Length);
    }
    let length = length as usize;
    if crc32c::crc32c(&bytes[UNCHECKED_BYTES..length]) != u32_of(&bytes[8..UNCHECKED_BYTES]) {
        return Err(Unreadable::Checksum(length));
    }
    content(&bytes[UNCHECKED_BYTES..length]).ok_or(Unreadable::Content)
}

/// Whether a frame of this length, whose checksum does not fit, looks like one that a crash cut short: its end or a whole
/// sector of it still has the zeros that the segment was filled with. Anything else is damage, because a crash leaves
/// each sector as it was before or after the write.
pub(crate) fn looks_torn(bytes: &[u8], offset_in_file: usize, length: usize, sector: usize) -> bool {
    let frame = &bytes[..length];
    if frame.ends_with(&[0]) {
        return true;
    }
    let first = (sector - offset_in_file % sector).min(length);
    frame[first..].chunks(sector).any(|part| part.iter().all(|byte| *byte == 0))
}

fn content(checked: &[u8]) -> Option<Frame> {
    let (trailer, checked) = checked.split_last()?;
    if *trailer != TRAILER {
        return None;
    }
    let padded = padded(UNCHECKED_BYTES + checked.len() + 1);
    let mut reader = Reader::new(checked);
    let mut frame = Frame { sequence: reader.u64()?, durable: reader.u64()?, items: Vec::new(), padded };
    while !reader.is_empty() {
        frame.items.push(item(&mut reader)?);
    }
    Some(frame)
}

/// Reads one item; `None` when it is not one.
pub(crate) fn item(reader: &mut Reader<'_>) -> Option<Item> {
    Some(match reader.u8()? {
        HARD_STATE => {
            let (term, vote, commit) = (reader.u64()?, reader.u64()?, reader.u64()?);
            Item::HardState(HardState { term, vote, commit, ..HardState::default() })
        }
        BASE => Item::Base(Position { index: reader.u64()?, term: reader.u64()? }),
        RESTART => Item::Restart(Position { index: reader.u64()?, term: reader.u64()? }),
        ENTRY => Item::Entry(entry(reader)?),
        _ => return None,
    })
}

fn entry(reader: &mut Reader<'_>) -> Option<Entry> {
    let (index, term) = (reader.u64()?, reader.u64()?);
    let entry_type = match reader.u8()? {
        NORMAL => EntryType::EntryNormal,
        CONF_CHANGE => EntryType::EntryConfChange,
        CONF_CHANGE_V2 => EntryType::EntryConfChangeV2,
        _ => return None,
    };
    let context = Bytes::copy_from_slice(reader.bytes()?);
    let data = Bytes::copy_from_slice(reader.bytes()?);
    Some(Entry { entry_type, term, index, data, context, ..Entry::default() })
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("the caller gives four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(data: &'static [u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        begin(&mut bytes, 7, 6);
        put_base(&mut bytes, Position { index: 4, term: 2 });
        put_hard_state(&mut bytes, &HardState { term: 3, vote: 1, commit: 4, ..HardState::default() });
        put_entry(&mut bytes, &entry_of(data));
        finish(&mut bytes);
        bytes
    }

    fn entry_of(data: &'static [u8]) -> Entry {
        Entry { index: 5, term: 3, data: Bytes::from_static(data), ..Entry::default() }
    }

    #[test]
    fn a_frame_comes_back_as_it_was() {
        let bytes = frame_of(b"data");
        let frame = read(&bytes).expect("it is whole");
        assert_eq!((frame.sequence, frame.durable, frame.padded), (7, 6, bytes.len()));
        assert_eq!(frame.items.len(), 3);
        assert_eq!(frame.items[0], Item::Base(Position { index: 4, term: 2 }));
        assert_eq!(frame.items[2], Item::Entry(entry_of(b"data")));
        assert_eq!(bytes.len() % ALIGN_BYTES, 0);
    }

    #[test]
    fn an_entry_takes_the_length_foretold() {
        let mut bytes = Vec::new();
        put_entry(&mut bytes, &entry_of(b"some data"));
        assert_eq!(bytes.len(), entry_len(&entry_of(b"some data")));
    }

    #[test]
    fn zeros_are_no_frame_and_any_flipped_byte_is_found() {
        assert_eq!(read(&[0; 64]), Err(Unreadable::Blank));
        assert_eq!(read(&[]), Err(Unreadable::Blank));
        let whole = frame_of(b"data");
        let length = u32_of(&whole[..4]) as usize;
        for at in 0..length {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            assert!(read(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_frame_that_lacks_sectors_looks_torn_and_one_with_a_flipped_byte_does_not() {
        let data: &'static [u8] = &[0x55; 3_000];
        let whole = frame_of(data);
        let length = u32_of(&whole[..4]) as usize;
        let offset = 1_000;
        for first in (1_024..offset + length).step_by(512) {
            let mut bytes = whole.clone();
            let end = (first + 512 - offset).min(bytes.len());
            bytes[first - offset..end].fill(0);
            assert!(looks_torn(&bytes, offset, length, 512), "sector at {first}");
        }
        for at in 8..length {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            assert!(!looks_torn(&bytes, offset, length, 512), "byte {at}");
        }
    }
}
