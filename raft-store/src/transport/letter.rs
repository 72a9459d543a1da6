//! What members say to each other beside Raft's own messages, and how it looks on the way. The numbers are for ever.
//!
//! Everything is one-way and may be lost: whoever wants an answer asks again, under the same number.

use bytes::{BufMut, Bytes};

use crate::log::frame::Position;
use crate::membership::{MemberId, MembershipChange};
use crate::wire::{Reader, put_bytes};

/// Which question of which run of which member: no two are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) member: MemberId,
    /// Drawn when the member was started.
    pub(crate) run: u64,
    pub(crate) number: u64,
}

impl Origin {
    pub(crate) fn put(&self, into: &mut Vec<u8>) {
        for field in [self.member.0, self.run, self.number] {
            into.put_u64_le(field);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { member: MemberId(reader.u64()?), run: reader.u64()?, number: reader.u64()? })
    }
}

/// What a member asks of the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Put these transactions, the data of an entry, into the log.
    Write(Bytes),
    Change(MembershipChange),
    /// Hand leadership over; `None`: to whom the leader likes.
    Transfer(Option<MemberId>),
}

/// What the leader says to a request, when it is not in the log for all to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It did not happen and will not under this number; ask again.
    NotNow,
    DiskFull,
    /// It is so already.
    Done,
    /// Leadership is on its way there.
    Moving(MemberId),
    NotAMember,
    IsAVoter,
    NotAVoter,
    LastVoter,
    /// It lacks so many entries.
    Behind(u64),
    QuorumAtRisk,
    NoOtherVoter,
}

/// A message of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// To the leader of `term`, and to no other. All questions below `answered` need no answer any more.
    Ask {
        term: u64,
        origin: Origin,
        answered: u64,
        request: Request,
    },
    Tell {
        origin: Origin,
        reply: Reply,
    },
    /// The leader has a snapshot for a member that lags too far.
    Offer {
        snapshot: SnapshotId,
    },
    /// The member wants the bytes from here on.
    Want {
        snapshot: SnapshotId,
        offset: u64,
    },
    /// Here they are.
    Chunk {
        snapshot: SnapshotId,
        offset: u64,
        bytes: Bytes,
    },
    /// An empty member, which may have been another before, asks the leader to be let in.
    Joining {
        run: u64,
    },
    /// It may take part: the leader counts neither its votes nor what it had.
    Admitted {
        run: u64,
        term: u64,
    },
    /// Who sent me something was no member when I had applied this index.
    NotAMember {
        index: u64,
    },
    /// The leader's state after this index.
    Compare {
        index: u64,
        sum: u64,
    },
    /// And mine.
    Compared {
        index: u64,
        sum: u64,
    },
    /// Most members have another state at this index than you.
    Differs {
        index: u64,
    },
}

/// A snapshot file of the leader, as it is told from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotId {
    pub(crate) position: Position,
    pub(crate) bytes: u64,
}

const ASK: u8 = 32;
const TELL: u8 = 33;
const OFFER: u8 = 34;
const WANT: u8 = 35;
const CHUNK: u8 = 36;
const JOINING: u8 = 37;
const ADMITTED: u8 = 38;
const NOT_A_MEMBER: u8 = 39;
const COMPARE: u8 = 40;
const COMPARED: u8 = 41;
const DIFFERS: u8 = 42;

impl Note {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Ask { .. } => ASK,
            Self::Tell { .. } => TELL,
            Self::Offer { .. } => OFFER,
            Self::Want { .. } => WANT,
            Self::Chunk { .. } => CHUNK,
            Self::Joining { .. } => JOINING,
            Self::Admitted { .. } => ADMITTED,
            Self::NotAMember { .. } => NOT_A_MEMBER,
            Self::Compare { .. } => COMPARE,
            Self::Compared { .. } => COMPARED,
            Self::Differs { .. } => DIFFERS,
        }
    }

    pub(crate) fn put(&self, into: &mut Vec<u8>) {
        match self {
            Self::Ask { term, origin, answered, request } => {
                into.put_u64_le(*term);
                origin.put(into);
                into.put_u64_le(*answered);
                put_request(into, request);
            }
            Self::Tell { origin, reply } => {
                origin.put(into);
                put_reply(into, *reply);
            }
            Self::Offer { snapshot } => put_snapshot(into, snapshot),
            Self::Want { snapshot, offset } => {
                put_snapshot(into, snapshot);
                into.put_u64_le(*offset);
            }
            Self::Chunk { snapshot, offset, bytes } => {
                put_snapshot(into, snapshot);
                into.put_u64_le(*offset);
                put_bytes(into, bytes);
            }
            Self::Joining { run } => into.put_u64_le(*run),
            Self::Admitted { run, term } => {
                into.put_u64_le(*run);
                into.put_u64_le(*term);
            }
            Self::NotAMember { index } | Self::Differs { index } => into.put_u64_le(*index),
            Self::Compare { index, sum } | Self::Compared { index, sum } => {
                into.put_u64_le(*index);
                into.put_u64_le(*sum);
            }
        }
    }

    pub(crate) fn read(kind: u8, reader: &mut Reader<'_>) -> Option<Self> {
        Some(match kind {
            ASK => Self::Ask {
                term: reader.u64()?,
                origin: Origin::read(reader)?,
                answered: reader.u64()?,
                request: request(reader)?,
            },
            TELL => Self::Tell { origin: Origin::read(reader)?, reply: reply(reader)? },
            OFFER => Self::Offer { snapshot: snapshot(reader)? },
            WANT => Self::Want { snapshot: snapshot(reader)?, offset: reader.u64()? },
            CHUNK => Self::Chunk {
                snapshot: snapshot(reader)?,
                offset: reader.u64()?,
                bytes: Bytes::copy_from_slice(reader.bytes()?),
            },
            JOINING => Self::Joining { run: reader.u64()? },
            ADMITTED => Self::Admitted { run: reader.u64()?, term: reader.u64()? },
            NOT_A_MEMBER => Self::NotAMember { index: reader.u64()? },
            COMPARE => Self::Compare { index: reader.u64()?, sum: reader.u64()? },
            COMPARED => Self::Compared { index: reader.u64()?, sum: reader.u64()? },
            DIFFERS => Self::Differs { index: reader.u64()? },
            _ => return None,
        })
    }
}

fn put_request(into: &mut Vec<u8>, request: &Request) {
    match request {
        Request::Write(data) => {
            into.put_u8(1);
            put_bytes(into, data);
        }
        Request::Change(change) => {
            into.put_u8(2);
            put_change(into, *change);
        }
        Request::Transfer(to) => {
            into.put_u8(3);
            // Zero stands for nobody.
            into.put_u64_le(to.map_or(0, |to| to.0));
        }
    }
}

fn request(reader: &mut Reader<'_>) -> Option<Request> {
    Some(match reader.u8()? {
        1 => Request::Write(Bytes::copy_from_slice(reader.bytes()?)),
        2 => Request::Change(change(reader)?),
        3 => Request::Transfer(Some(reader.u64()?).filter(|to| *to != 0).map(MemberId)),
        _ => return None,
    })
}

/// As it is in the log too.
pub(crate) fn put_change(into: &mut Vec<u8>, change: MembershipChange) {
    into.put_u8(match change {
        MembershipChange::AddLearner(_) => 1,
        MembershipChange::Promote(_) => 2,
        MembershipChange::Remove(_) => 3,
    });
    into.put_u64_le(change.member().0);
}

/// What [`put_change`] wrote.
pub(crate) fn change(reader: &mut Reader<'_>) -> Option<MembershipChange> {
    let (kind, member) = (reader.u8()?, MemberId(reader.u64()?));
    if member.0 == 0 {
        return None;
    }
    Some(match kind {
        1 => MembershipChange::AddLearner(member),
        2 => MembershipChange::Promote(member),
        3 => MembershipChange::Remove(member),
        _ => return None,
    })
}

fn put_reply(into: &mut Vec<u8>, reply: Reply) {
    let (kind, number) = match reply {
        Reply::NotNow => (1, 0),
        Reply::DiskFull => (2, 0),
        Reply::Done => (3, 0),
        Reply::Moving(to) => (4, to.0),
        Reply::NotAMember => (5, 0),
        Reply::IsAVoter => (6, 0),
        Reply::NotAVoter => (7, 0),
        Reply::LastVoter => (8, 0),
        Reply::Behind(entries) => (9, entries),
        Reply::QuorumAtRisk => (10, 0),
        Reply::NoOtherVoter => (11, 0),
    };
    into.put_u8(kind);
    into.put_u64_le(number);
}

fn reply(reader: &mut Reader<'_>) -> Option<Reply> {
    let (kind, number) = (reader.u8()?, reader.u64()?);
    Some(match kind {
        1 => Reply::NotNow,
        2 => Reply::DiskFull,
        3 => Reply::Done,
        4 => Reply::Moving(MemberId(number)),
        5 => Reply::NotAMember,
        6 => Reply::IsAVoter,
        7 => Reply::NotAVoter,
        8 => Reply::LastVoter,
        9 => Reply::Behind(number),
        10 => Reply::QuorumAtRisk,
        11 => Reply::NoOtherVoter,
        _ => return None,
    })
}

fn put_snapshot(into: &mut Vec<u8>, snapshot: &SnapshotId) {
    for field in [snapshot.position.index, snapshot.position.term, snapshot.bytes] {
        into.put_u64_le(field);
    }
}

fn snapshot(reader: &mut Reader<'_>) -> Option<SnapshotId> {
    let position = Position { index: reader.u64()?, term: reader.u64()? };
    Some(SnapshotId { position, bytes: reader.u64()? })
}

/// One of each, for the tests of the codec.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Note> {
    let origin = Origin { member: MemberId(2), run: 3, number: 4 };
    let snapshot = SnapshotId { position: Position { index: 5, term: 6 }, bytes: 7 };
    let ask = |request| Note::Ask { term: 8, origin, answered: 3, request };
    let tell = |reply| Note::Tell { origin, reply };
    vec![
        ask(Request::Write(Bytes::from_static(b"data"))),
        ask(Request::Change(MembershipChange::AddLearner(MemberId(9)))),
        ask(Request::Change(MembershipChange::Promote(MemberId(9)))),
        ask(Request::Change(MembershipChange::Remove(MemberId(9)))),
        ask(Request::Transfer(None)),
        ask(Request::Transfer(Some(MemberId(9)))),
        tell(Reply::NotNow),
        tell(Reply::DiskFull),
        tell(Reply::Done),
        tell(Reply::Moving(MemberId(9))),
        tell(Reply::NotAMember),
        tell(Reply::IsAVoter),
        tell(Reply::NotAVoter),
        tell(Reply::LastVoter),
        tell(Reply::Behind(10)),
        tell(Reply::QuorumAtRisk),
        tell(Reply::NoOtherVoter),
        Note::Offer { snapshot },
        Note::Want { snapshot, offset: 11 },
        Note::Chunk { snapshot, offset: 12, bytes: Bytes::from_static(b"bytes") },
        Note::Joining { run: 13 },
        Note::Admitted { run: 14, term: 15 },
        Note::NotAMember { index: 16 },
        Note::Compare { index: 17, sum: 18 },
        Note::Compared { index: 19, sum: 20 },
        Note::Differs { index: 21 },
    ]
}
