//! Messages between members: who carries them, and how they look on the way.
//!
//! ```text
//! crc32c u32 of all that follows | format u8 | cluster u64 | kind u8 | to u64 | from u64 | fields …
//! ```
//!
//! Raft copes with messages that are lost, late, doubled or out of order, so a transport may drop what it cannot send
//! at once; it must not block and must not queue without bound.

pub(crate) mod letter;

use bytes::{BufMut, Bytes};
use raft::eraftpb::{Message, MessageType};

use crate::log::frame;
use crate::membership::{ClusterId, MemberId};
use crate::wire::{Reader, put_bytes};
use letter::Note;

/// Carries messages to other members.
pub trait Transport: Send + Sync {
    /// Takes a message for a member; called by the driver's thread, before it waits for the disk. The other side hands it
    /// to [`crate::Store::receive`].
    fn send(&self, to: MemberId, message: Bytes);
}

/// The transport of a member that has no others to talk to.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Transport for Alone {
    fn send(&self, to: MemberId, _message: Bytes) {
        tracing::debug!(%to, "a message for another member, and no way to it");
    }
}

/// Why a message that came in was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is not what a member sends.
    #[error("the message is damaged or of a format that this release does not know")]
    Unreadable,
    /// It comes from another cluster.
    #[error("the message is from cluster {found}")]
    OtherCluster {
        /// Which one.
        found: ClusterId,
    },
    /// It speaks in the name of another member than the one it came from.
    #[error("the message is in the name of member {found}, who did not send it")]
    OtherSender {
        /// In whose name.
        found: MemberId,
    },
    /// Too much waits already; Raft will send what matters again.
    #[error("too many messages wait")]
    Overloaded,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

const FORMAT: u8 = 1;

/// What members say to each other; the numbers are for ever.
const TYPES: [(u8, MessageType); 12] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgHeartbeat),
    (6, MessageType::MsgHeartbeatResponse),
    (7, MessageType::MsgTransferLeader),
    (8, MessageType::MsgTimeoutNow),
    (9, MessageType::MsgReadIndex),
    (10, MessageType::MsgReadIndexResp),
    (11, MessageType::MsgRequestPreVote),
    (12, MessageType::MsgRequestPreVoteResponse),
];

/// What one member sends to another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) to: MemberId,
    pub(crate) from: MemberId,
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Raft(Message),
    Note(Note),
}

impl Letter {
    pub(crate) fn of(message: Message) -> Self {
        Self { to: MemberId(message.to), from: MemberId(message.from), body: Body::Raft(message) }
    }
}

/// A letter as it goes over the network; `None` for Raft's messages that stay inside a member or carry a snapshot.
pub(crate) fn encode(cluster: ClusterId, letter: &Letter) -> Option<Bytes> {
    let kind = match &letter.body {
        Body::Raft(message) => TYPES.iter().find(|(_, known)| *known == message.msg_type)?.0,
        Body::Note(note) => note.kind(),
    };
    let mut into = vec![0; size_of::<u32>()];
    into.put_u8(FORMAT);
    into.put_u64_le(cluster.0);
    into.put_u8(kind);
    into.put_u64_le(letter.to.0);
    into.put_u64_le(letter.from.0);
    match &letter.body {
        Body::Raft(message) => put_message(&mut into, message),
        Body::Note(note) => note.put(&mut into),
    }
    let checksum = crc32c::crc32c(&into[size_of::<u32>()..]);
    into[..size_of::<u32>()].copy_from_slice(&checksum.to_le_bytes());
    Some(into.into())
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(cluster: ClusterId, bytes: &[u8]) -> Result<Letter, MessageError> {
    let mut reader = Reader::new(bytes);
    let checksum = reader.u32().ok_or(MessageError::Unreadable)?;
    if crc32c::crc32c(&bytes[size_of::<u32>()..]) != checksum || reader.u8() != Some(FORMAT) {
        return Err(MessageError::Unreadable);
    }
    let found = ClusterId(reader.u64().ok_or(MessageError::Unreadable)?);
    if found != cluster {
        return Err(MessageError::OtherCluster { found });
    }
    letter(&mut reader).filter(|_| reader.is_empty()).ok_or(MessageError::Unreadable)
}

fn letter(reader: &mut Reader<'_>) -> Option<Letter> {
    let (kind, to, from) = (reader.u8()?, MemberId(reader.u64()?), MemberId(reader.u64()?));
    let body = match TYPES.iter().find(|(known, _)| *known == kind) {
        Some((_, msg_type)) => Body::Raft(message(reader, *msg_type, to, from)?),
        None => Body::Note(Note::read(kind, reader)?),
    };
    Some(Letter { to, from, body })
}

fn put_message(into: &mut Vec<u8>, message: &Message) {
    let Message { term, log_term, index, commit, commit_term, .. } = message;
    for field in [term, log_term, index, commit, commit_term] {
        into.put_u64_le(*field);
    }
    into.put_u64_le(message.request_snapshot);
    into.put_u8(u8::from(message.reject));
    into.put_u64_le(message.reject_hint);
    into.put_i64_le(message.priority);
    put_bytes(into, &message.context);
    into.put_u32_le(u32::try_from(message.entries.len()).expect("the size of a message is limited"));
    message.entries.iter().for_each(|entry| frame::put_entry(into, entry));
}

fn message(reader: &mut Reader<'_>, msg_type: MessageType, to: MemberId, from: MemberId) -> Option<Message> {
    let mut message = Message {
        msg_type,
        to: to.0,
        from: from.0,
        term: reader.u64()?,
        log_term: reader.u64()?,
        index: reader.u64()?,
        commit: reader.u64()?,
        commit_term: reader.u64()?,
        request_snapshot: reader.u64()?,
        reject: reader.bool()?,
        reject_hint: reader.u64()?,
        priority: reader.u64()?.cast_signed(),
        context: Bytes::copy_from_slice(reader.bytes()?),
        ..Message::default()
    };
    let count = reader.u32()?;
    for _ in 0..count {
        let frame::Item::Entry(entry) = frame::item(reader)? else { return None };
        message.entries.push(entry);
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Entry;

    use super::*;

    fn raft(msg_type: MessageType) -> Message {
        let entry = |index| Entry { index, term: 3, data: vec![7; 20].into(), ..Entry::default() };
        Message {
            msg_type,
            to: 1,
            from: 2,
            term: 3,
            log_term: 4,
            index: 5,
            commit: 6,
            commit_term: 7,
            request_snapshot: 8,
            reject: true,
            reject_hint: 9,
            priority: -10,
            context: Bytes::from_static(b"context"),
            entries: vec![entry(6), entry(7)].into(),
            ..Message::default()
        }
    }

    const CLUSTER: ClusterId = ClusterId(11);

    fn letters() -> Vec<Letter> {
        let notes = letter::examples().into_iter();
        let notes = notes.map(|note| Letter { to: MemberId(1), from: MemberId(2), body: Body::Note(note) });
        TYPES.iter().map(|(_, msg_type)| Letter::of(raft(*msg_type))).chain(notes).collect()
    }

    #[test]
    fn every_kind_of_letter_comes_back_as_it_was() {
        for letter in letters() {
            let bytes = encode(CLUSTER, &letter).expect("it is one for others");
            assert_eq!(decode(CLUSTER, &bytes), Ok(letter));
        }
        assert_eq!(encode(CLUSTER, &Letter::of(raft(MessageType::MsgHup))), None);
    }

    #[test]
    fn a_letter_of_another_cluster_or_a_damaged_one_is_refused() {
        for letter in letters() {
            let bytes = encode(CLUSTER, &letter).expect("it is one for others");
            let other = ClusterId(12);
            assert_eq!(decode(other, &bytes), Err(MessageError::OtherCluster { found: CLUSTER }));
            for at in 0..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0x10;
                assert_eq!(decode(CLUSTER, &damaged), Err(MessageError::Unreadable), "byte {at}");
                assert_eq!(decode(CLUSTER, &bytes[..at]), Err(MessageError::Unreadable), "cut to {at}");
            }
        }
    }

    #[test]
    fn a_count_that_is_not_there_reserves_nothing() {
        let message = raft(MessageType::MsgHeartbeat);
        let count = 2 * frame::entry_len(&message.entries[0]) + 4;
        let mut bytes = encode(CLUSTER, &Letter::of(message)).expect("one for others").to_vec();
        let count = bytes.len() - count;
        bytes[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(decode(CLUSTER, &bytes), Err(MessageError::Unreadable));
    }
}
