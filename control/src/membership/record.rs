//! One record for each member: `/isopod/members/<number>` in the store, JSON; and the next free number.
//!
//! A number is used once: whoever has a number below the next one and no record was removed.

use std::collections::BTreeMap;

use bytes::Bytes;
use isopod_raft_store::{Compare, KeyRange, MemberId, Op, Revision, Snapshot, Txn};
use serde::{Deserialize, Serialize};

/// Prefix of the records' keys.
const MEMBERS: &str = "/isopod/members/";
/// The number that the next member to join gets.
const NEXT: &str = "/isopod/next-member";

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// By this people call it; unique among the members.
    pub name: String,
    /// `host:port` where the other members reach it; empty for a member that has no others.
    pub peer_address: String,
    /// `host:port` of its API.
    pub api_address: String,
    /// Whether it shall stay.
    #[serde(default)]
    pub standing: Standing,
}

/// Whether a member shall stay one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It shall.
    #[default]
    Stays,
    /// It is to be taken out.
    Leaves,
}

/// The range of all records, to be watched.
pub(crate) fn range() -> KeyRange {
    KeyRange::prefix(MEMBERS)
}

/// All members that have a record. One that cannot be read is left out and logged.
pub(crate) fn all(state: &Snapshot) -> BTreeMap<MemberId, Record> {
    let records = state.range(&range()).filter_map(|(key, entry)| {
        let number = std::str::from_utf8(key.get(MEMBERS.len()..)?).ok()?.parse().ok()?;
        match serde_json::from_slice(&entry.value) {
            Ok(record) => Some((MemberId(number), record)),
            Err(error) => {
                tracing::error!(member = number, %error, "the record of a member cannot be read");
                None
            }
        }
    });
    records.collect()
}

/// The records of all members but one.
pub(crate) fn others(state: &Snapshot, own: MemberId) -> impl Iterator<Item = Record> {
    all(state).into_iter().filter(move |(member, _)| *member != own).map(|(_, record)| record)
}

/// One record, and when it was last written.
pub(crate) fn of(state: &Snapshot, member: MemberId) -> Option<(Record, Revision)> {
    let entry = state.get(&key(member))?;
    Some((serde_json::from_slice(&entry.value).ok()?, entry.modified))
}

/// Whether the member was one, and was removed.
pub(crate) fn is_removed(state: &Snapshot, member: MemberId) -> bool {
    next(state).is_some_and(|(next, _)| member.0 < next) && state.get(&key(member)).is_none()
}

/// The member that a person means by its name or number.
pub(crate) fn find(records: &BTreeMap<MemberId, Record>, word: &str) -> Option<MemberId> {
    let by_name = records.iter().find(|(_, record)| record.name == word).map(|(member, _)| *member);
    by_name.or_else(|| word.parse().ok().map(MemberId).filter(|member| records.contains_key(member)))
}

/// The first member of a cluster writes itself down; holds only while there is no record at all.
pub(crate) fn found(own: MemberId, record: &Record) -> Txn {
    Txn {
        compares: vec![Compare::Absent(NEXT.into())],
        ops: vec![put_next(own.0 + 1), Op::Put(key(own), encode(record))],
    }
}

/// The number of a new member, and the transaction that makes it one. `None` while the first has not written itself
/// down.
pub(crate) fn admit(state: &Snapshot, record: &Record) -> Option<(MemberId, Txn)> {
    let (number, modified) = next(state)?;
    let member = MemberId(number);
    let txn = Txn {
        compares: vec![Compare::Modified(NEXT.into(), modified), Compare::Absent(key(member))],
        ops: vec![put_next(number + 1), Op::Put(key(member), encode(record))],
    };
    Some((member, txn))
}

/// Replaces a record that was last written at `at`.
pub(crate) fn replace(member: MemberId, record: &Record, at: Revision) -> Txn {
    Txn {
        compares: vec![Compare::Modified(key(member), at)],
        ops: vec![Op::Put(key(member), encode(record))],
    }
}

/// Removes a record that was last written at `at`.
pub(crate) fn forget(member: MemberId, at: Revision) -> Txn {
    Txn { compares: vec![Compare::Modified(key(member), at)], ops: vec![Op::Delete(key(member))] }
}

fn key(member: MemberId) -> Bytes {
    format!("{MEMBERS}{member}").into()
}

fn next(state: &Snapshot) -> Option<(u64, Revision)> {
    let entry = state.get(NEXT.as_bytes())?;
    Some((std::str::from_utf8(&entry.value).ok()?.parse().ok()?, entry.modified))
}

fn put_next(number: u64) -> Op {
    Op::Put(NEXT.into(), number.to_string().into())
}

fn encode(record: &Record) -> Bytes {
    serde_json::to_vec(record).expect("a record has only strings").into()
}
