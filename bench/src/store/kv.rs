//! The calls of etcd's v3 API that are measured, as protobuf inside gRPC frames: both stores are asked in the same
//! words, so that the client costs the same.
//!
//! Sources: etcd's `rpc.proto` and `kv.proto` for the field numbers, "gRPC over HTTP/2" for the frame.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Writes one key.
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
/// Reads one key, linearizably.
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
/// Who leads.
pub(super) const STATUS: &str = "/etcdserverpb.Maintenance/Status";
/// Hands leadership to another member.
pub(super) const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";
/// All of them.
pub(super) const CALLS: [&str; 4] = [PUT, RANGE, STATUS, MOVE_LEADER];

/// A frame begins with a byte that says "not compressed" and the length.
const FRAME_HEAD: usize = 5;

/// Room for a message: nearly all are smaller.
const MESSAGE_BYTES: usize = 384;

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

/// `PutRequest`.
pub(super) fn put(key: &[u8], value: &[u8]) -> Bytes {
    frame(|into| {
        put_bytes(into, 1, key);
        put_bytes(into, 2, value);
    })
}

/// `RangeRequest` of one key.
pub(super) fn range(key: &[u8]) -> Bytes {
    frame(|into| put_bytes(into, 1, key))
}

/// `MoveLeaderRequest`.
pub(super) fn move_leader(target: u64) -> Bytes {
    frame(|into| put_number(into, 1, target))
}

/// A message without fields.
pub(super) fn empty() -> Bytes {
    frame(|_| {})
}

/// Key and value of a `PutRequest`.
pub(super) fn read_put(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let fields = fields(message)?;
    Some((bytes(&fields, 1), bytes(&fields, 2)))
}

/// The key of a `RangeRequest`.
pub(super) fn read_range(message: &[u8]) -> Option<&[u8]> {
    Some(bytes(&fields(message)?, 1))
}

/// The member that a `MoveLeaderRequest` names.
pub(super) fn read_move_leader(message: &[u8]) -> Option<u64> {
    number(&fields(message)?, 1)
}

/// `PutResponse`: a header with the revision.
pub(super) fn put_response(revision: u64) -> Bytes {
    frame(|into| put_message(into, 1, |header| put_number(header, 3, revision)))
}

/// `RangeResponse` with the key, if it is there.
pub(super) fn range_response(revision: u64, key: &[u8], found: Option<(&[u8], u64, u64)>) -> Bytes {
    frame(|into| {
        put_message(into, 1, |header| put_number(header, 3, revision));
        if let Some((value, created, modified)) = found {
            put_message(into, 2, |entry| {
                put_bytes(entry, 1, key);
                put_number(entry, 2, created);
                put_number(entry, 3, modified);
                put_bytes(entry, 5, value);
            });
            put_number(into, 4, 1);
        }
    })
}

/// How many keys a `RangeResponse` found.
pub(super) fn read_count(message: &[u8]) -> u64 {
    fields(message).and_then(|fields| number(&fields, 4)).unwrap_or(0)
}

/// `StatusResponse`: who answers, and who leads.
pub(super) fn status_response(member: u64, leader: u64) -> Bytes {
    frame(|into| {
        put_message(into, 1, |header| put_number(header, 2, member));
        put_number(into, 4, leader);
    })
}

/// Who answered with a `StatusResponse`, and who leads; zero stands for nobody.
pub(super) fn read_status(message: &[u8]) -> Option<(u64, u64)> {
    let outer = fields(message)?;
    let header = fields(bytes(&outer, 1))?;
    Some((number(&header, 2)?, number(&outer, 4).unwrap_or(0)))
}

/// The message in a frame.
pub(super) fn unframe(frame: &[u8]) -> Option<&[u8]> {
    let (head, message) = frame.split_first_chunk::<FRAME_HEAD>()?;
    let [0, length @ ..] = *head else { return None };
    (message.len() == u32::from_be_bytes(length) as usize).then_some(message)
}

fn frame(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut into = BytesMut::with_capacity(MESSAGE_BYTES);
    into.put_bytes(0, FRAME_HEAD);
    write(&mut into);
    let length = u32::try_from(into.len() - FRAME_HEAD).expect("messages are small");
    into[1..FRAME_HEAD].copy_from_slice(&length.to_be_bytes());
    into.freeze()
}

fn put_varint(into: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        into.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

fn put_number(into: &mut BytesMut, field: u64, number: u64) {
    put_varint(into, field << 3 | VARINT);
    put_varint(into, number);
}

fn put_bytes(into: &mut BytesMut, field: u64, bytes: &[u8]) {
    put_varint(into, field << 3 | LENGTH_DELIMITED);
    put_varint(into, bytes.len() as u64);
    into.put_slice(bytes);
}

fn put_message(into: &mut BytesMut, field: u64, write: impl FnOnce(&mut BytesMut)) {
    let mut message = BytesMut::new();
    write(&mut message);
    put_bytes(into, field, &message);
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in its order; of those of other wire types than the two that are used, none is known.
fn fields(message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut rest = message;
    let mut fields = Vec::with_capacity(4);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            VARINT => Value::Number(varint(&mut rest)?),
            LENGTH_DELIMITED => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        fields.push((tag >> 3, value));
    }
    Some(fields)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = from.split_first()?;
        *from = after;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn bytes<'a>(fields: &[(u64, Value<'a>)], wanted: u64) -> &'a [u8] {
    let mut found = fields.iter().filter(|(field, _)| *field == wanted).map(|(_, value)| value);
    match found.next_back() {
        Some(Value::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

fn number(fields: &[(u64, Value<'_>)], wanted: u64) -> Option<u64> {
    let found = fields.iter().rfind(|(field, _)| *field == wanted);
    found.and_then(|(_, value)| match value {
        Value::Number(number) => Some(*number),
        Value::Bytes(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_were_written() {
        let value = [7; 300];
        assert_eq!(read_put(unframe(&put(b"key", &value)).unwrap()), Some((&b"key"[..], &value[..])));
        assert_eq!(read_range(unframe(&range(b"key")).unwrap()), Some(&b"key"[..]));
        assert_eq!(read_move_leader(unframe(&move_leader(u64::MAX)).unwrap()), Some(u64::MAX));
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let found = range_response(300, b"key", Some((b"value", 2, 300)));
        assert_eq!(read_count(unframe(&found).unwrap()), 1);
        assert_eq!(read_count(unframe(&range_response(300, b"key", None)).unwrap()), 0);
        assert_eq!(read_status(unframe(&status_response(3, 0)).unwrap()), Some((3, 0)));
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        let whole = put(b"key", b"value");
        for length in 0..whole.len() {
            assert_eq!(unframe(&whole[..length]), None, "{length}");
            if let Some(message) = whole.get(FRAME_HEAD..length).filter(|part| !part.is_empty()) {
                let read = read_put(message);
                assert!(read.is_none_or(|(_, value)| value.is_empty()), "{length}");
            }
        }
    }
}
