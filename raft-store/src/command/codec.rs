//! Transactions as the data of a Raft entry: many to an entry.

use bytes::{BufMut, Bytes};

use super::{Compare, Op, Txn};
use crate::state::{KeyRange, Revision};
use crate::wire::{Reader, bytes_len, put_bytes};

/// First byte of an entry's data; a member that does not know it must not apply the entry.
const VERSION: u8 = 1;

const ABSENT: u8 = 1;
const PRESENT: u8 = 2;
const MODIFIED: u8 = 3;
const RANGE_UNCHANGED: u8 = 4;
const TERM: u8 = 5;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Length of [`encode`] without any transaction.
pub(crate) const ENVELOPE_BYTES: usize = 5;

/// Writes an entry's data.
pub(crate) fn encode<'a>(txns: impl ExactSizeIterator<Item = &'a Txn>, into: &mut Vec<u8>) {
    into.put_u8(VERSION);
    put_count(into, txns.len());
    for txn in txns {
        put_count(into, txn.compares.len());
        put_count(into, txn.ops.len());
        txn.compares.iter().for_each(|compare| put_compare(into, compare));
        txn.ops.iter().for_each(|op| put_op(into, op));
    }
}

/// Length of one transaction in it.
pub(crate) fn encoded_len(txn: &Txn) -> usize {
    let compares = txn.compares.iter().map(|compare| match compare {
        Compare::Absent(key) | Compare::Present(key) => 1 + bytes_len(key),
        Compare::Modified(key, _) => 9 + bytes_len(key),
        Compare::RangeUnchanged(range, _) => {
            10 + bytes_len(&range.start) + range.end.as_ref().map_or(0, |end| bytes_len(end))
        }
        Compare::Term(_) => 9,
    });
    let ops = txn.ops.iter().map(|op| match op {
        Op::Put(key, value) => 1 + bytes_len(key) + bytes_len(value),
        Op::Delete(key) => 1 + bytes_len(key),
    });
    8 + compares.sum::<usize>() + ops.sum::<usize>()
}

/// Reads an entry's data. Every key and value gets memory of its own, so that one small value does not keep a whole
/// entry alive. `None` when it is not something that [`encode`] writes.
pub(crate) fn decode(data: &[u8]) -> Option<Vec<Txn>> {
    let mut reader = Reader::new(data);
    if reader.u8()? != VERSION {
        return None;
    }
    let count = reader.u32()?;
    // Not reserved ahead: a count is not to be believed before what it counts was there.
    let mut txns = Vec::new();
    for _ in 0..count {
        let (compares, ops) = (reader.u32()?, reader.u32()?);
        let mut txn = Txn::default();
        for _ in 0..compares {
            txn.compares.push(compare(&mut reader)?);
        }
        for _ in 0..ops {
            txn.ops.push(op(&mut reader)?);
        }
        txns.push(txn);
    }
    reader.is_empty().then_some(txns)
}

fn put_count(into: &mut Vec<u8>, count: usize) {
    into.put_u32_le(u32::try_from(count).expect("limits keep a transaction far smaller"));
}

fn put_compare(into: &mut Vec<u8>, compare: &Compare) {
    match compare {
        Compare::Absent(key) => {
            into.put_u8(ABSENT);
            put_bytes(into, key);
        }
        Compare::Present(key) => {
            into.put_u8(PRESENT);
            put_bytes(into, key);
        }
        Compare::Modified(key, revision) => {
            into.put_u8(MODIFIED);
            put_bytes(into, key);
            into.put_u64_le(revision.0);
        }
        Compare::RangeUnchanged(range, revision) => {
            into.put_u8(RANGE_UNCHANGED);
            put_bytes(into, &range.start);
            into.put_u8(u8::from(range.end.is_some()));
            range.end.iter().for_each(|end| put_bytes(into, end));
            into.put_u64_le(revision.0);
        }
        Compare::Term(term) => {
            into.put_u8(TERM);
            into.put_u64_le(*term);
        }
    }
}

fn put_op(into: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Put(key, value) => {
            into.put_u8(PUT);
            put_bytes(into, key);
            put_bytes(into, value);
        }
        Op::Delete(key) => {
            into.put_u8(DELETE);
            put_bytes(into, key);
        }
    }
}

fn compare(reader: &mut Reader<'_>) -> Option<Compare> {
    Some(match reader.u8()? {
        ABSENT => Compare::Absent(owned(reader)?),
        PRESENT => Compare::Present(owned(reader)?),
        MODIFIED => Compare::Modified(owned(reader)?, Revision(reader.u64()?)),
        RANGE_UNCHANGED => {
            let start = owned(reader)?;
            let end = if reader.bool()? { Some(owned(reader)?) } else { None };
            Compare::RangeUnchanged(KeyRange { start, end }, Revision(reader.u64()?))
        }
        TERM => Compare::Term(reader.u64()?),
        _ => return None,
    })
}

fn op(reader: &mut Reader<'_>) -> Option<Op> {
    Some(match reader.u8()? {
        PUT => Op::Put(owned(reader)?, owned(reader)?),
        DELETE => Op::Delete(owned(reader)?),
        _ => return None,
    })
}

fn owned(reader: &mut Reader<'_>) -> Option<Bytes> {
    reader.bytes().map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txns() -> Vec<Txn> {
        let key = || Bytes::from_static(b"/a/key");
        let open = KeyRange { start: key(), end: None };
        let compares = vec![
            Compare::Absent(key()),
            Compare::Present(key()),
            Compare::Modified(key(), Revision(7)),
            Compare::RangeUnchanged(KeyRange::prefix(key()), Revision(8)),
            Compare::RangeUnchanged(open, Revision(u64::MAX)),
            Compare::Term(9),
        ];
        let ops = vec![
            Op::Put(key(), Bytes::from_static(b"value")),
            Op::Delete(key()),
            Op::Put(key(), Bytes::new()),
        ];
        vec![Txn::default(), Txn { compares, ops }, Txn::of(vec![Op::Delete(Bytes::new())])]
    }

    fn encoded() -> Vec<u8> {
        let mut data = Vec::new();
        encode(txns().iter(), &mut data);
        data
    }

    #[test]
    fn transactions_come_back_as_they_were_and_have_the_length_foretold() {
        let data = encoded();
        assert_eq!(decode(&data), Some(txns()));
        let lengths: usize = txns().iter().map(encoded_len).sum();
        assert_eq!(data.len(), ENVELOPE_BYTES + lengths);
    }

    #[test]
    fn cut_or_lengthened_data_is_refused() {
        let mut data = encoded();
        for length in 0..data.len() {
            assert_eq!(decode(&data[..length]), None, "cut to {length}");
        }
        data.push(0);
        assert_eq!(decode(&data), None);
    }

    #[test]
    fn no_flipped_byte_panics_or_reserves_what_is_not_there() {
        let data = encoded();
        for at in 0..data.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut data = data.clone();
                data[at] ^= flip;
                drop(decode(&data));
            }
        }
    }
}
