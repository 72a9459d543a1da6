//! One record for each member: `/isopod/<cluster>/members/<number>` in the store, JSON; and the next free number.
//!
//! A number is used once: whoever has a number below the next one and no record was removed. A state that was restored
//! or recovered belongs to a new cluster, which therefore begins with no record, whoever was a member before.

use std::collections::BTreeMap;

use bytes::Bytes;
use isopod_raft_store::{ClusterId, Compare, KeyRange, MemberId, Op, Revision, Snapshot, Store, Txn};
use serde::{Deserialize, Serialize};

/// Prefix of what the store keeps for a cluster; its number follows.
const CLUSTERS: &str = "/isopod/";
/// Below that: the records, and the next number.
const MEMBERS: &str = "members/";
const NEXT: &str = "next-member";

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
    /// Who asked for it, until the member writes its own: whoever shows the same token and key gets the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
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

/// The records of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roll(ClusterId);

impl Roll {
    /// Of the cluster that the store belongs to.
    pub(crate) fn of(store: &Store) -> Roll {
        Roll(store.cluster())
    }

    /// The range of all records, to be watched.
    pub(crate) fn range(self) -> KeyRange {
        KeyRange::prefix(self.prefix())
    }

    /// All members that have a record. One that cannot be read is left out and logged.
    pub(crate) fn all(self, state: &Snapshot) -> BTreeMap<MemberId, Record> {
        let prefix = self.prefix();
        let records = state.range(&self.range()).filter_map(|(key, entry)| {
            let number = std::str::from_utf8(key.get(prefix.len()..)?).ok()?.parse().ok()?;
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
    pub(crate) fn others(self, state: &Snapshot, own: MemberId) -> impl Iterator<Item = Record> + use<> {
        self.all(state).into_iter().filter(move |(member, _)| *member != own).map(|(_, record)| record)
    }

    /// One record, and when it was last written.
    pub(crate) fn get(self, state: &Snapshot, member: MemberId) -> Option<(Record, Revision)> {
        let entry = state.get(&self.key(member))?;
        Some((serde_json::from_slice(&entry.value).ok()?, entry.modified))
    }

    /// Whether the member was one, and was removed.
    pub(crate) fn is_removed(self, state: &Snapshot, member: MemberId) -> bool {
        self.next(state).is_some_and(|(next, _)| member.0 < next) && state.get(&self.key(member)).is_none()
    }

    /// The first member of a cluster writes itself down; holds only while there is no record at all. What the state
    /// still says of members of the cluster that it comes from goes.
    pub(crate) fn found(self, state: &Snapshot, own: MemberId, record: &Record) -> Txn {
        let mut ops = vec![self.put_next(own.0 + 1), Op::Put(self.key(own), encode(record))];
        let others = state.range(&KeyRange::prefix(CLUSTERS)).map(|(key, _)| key);
        ops.extend(others.filter(|key| self.is_of_another(key)).map(|key| Op::Delete(key.clone())));
        Txn { compares: vec![Compare::Absent(self.next_key())], ops }
    }

    /// Whether this is the key of a record of another cluster.
    fn is_of_another(self, key: &[u8]) -> bool {
        let words = key.strip_prefix(CLUSTERS.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok());
        let Some((cluster, rest)) = words.and_then(|words| words.split_once('/')) else { return false };
        (rest == NEXT || rest.starts_with(MEMBERS)) && cluster != self.0.to_string()
    }

    /// The number of a new member, and the transaction that makes it one. `None` while the first has not written itself
    /// down.
    pub(crate) fn admit(self, state: &Snapshot, record: &Record) -> Option<(MemberId, Txn)> {
        let (number, modified) = self.next(state)?;
        let member = MemberId(number);
        let txn = Txn {
            compares: vec![Compare::Modified(self.next_key(), modified), Compare::Absent(self.key(member))],
            ops: vec![self.put_next(number + 1), Op::Put(self.key(member), encode(record))],
        };
        Some((member, txn))
    }

    /// Replaces a record that was last written at `at`.
    pub(crate) fn replace(self, member: MemberId, record: &Record, at: Revision) -> Txn {
        let key = self.key(member);
        Txn { compares: vec![Compare::Modified(key.clone(), at)], ops: vec![Op::Put(key, encode(record))] }
    }

    /// Removes a record that was last written at `at`.
    pub(crate) fn forget(self, member: MemberId, at: Revision) -> Txn {
        let key = self.key(member);
        Txn { compares: vec![Compare::Modified(key.clone(), at)], ops: vec![Op::Delete(key)] }
    }

    fn prefix(self) -> String {
        format!("{CLUSTERS}{}/{MEMBERS}", self.0)
    }

    fn key(self, member: MemberId) -> Bytes {
        format!("{}{member}", self.prefix()).into()
    }

    fn next_key(self) -> Bytes {
        format!("{CLUSTERS}{}/{NEXT}", self.0).into()
    }

    fn next(self, state: &Snapshot) -> Option<(u64, Revision)> {
        let entry = state.get(&self.next_key())?;
        Some((std::str::from_utf8(&entry.value).ok()?.parse().ok()?, entry.modified))
    }

    fn put_next(self, number: u64) -> Op {
        Op::Put(self.next_key(), number.to_string().into())
    }
}

/// The member that a person means by its name or number.
pub(crate) fn find(records: &BTreeMap<MemberId, Record>, word: &str) -> Option<MemberId> {
    let by_name = records.iter().find(|(_, record)| record.name == word).map(|(member, _)| *member);
    by_name.or_else(|| word.parse().ok().map(MemberId).filter(|member| records.contains_key(member)))
}

/// The member whose record was asked for with this token and key.
pub(crate) fn asked_by(records: &BTreeMap<MemberId, Record>, proof: &str) -> Option<MemberId> {
    let is_it =
        |record: &Record| record.asked_by.as_deref() == Some(proof) && record.standing == Standing::Stays;
    records.iter().find(|(_, record)| is_it(record)).map(|(member, _)| *member)
}

fn encode(record: &Record) -> Bytes {
    serde_json::to_vec(record).expect("a record has only strings").into()
}

#[cfg(test)]
mod tests {
    use super::super::token;
    use super::*;

    #[test]
    fn records_of_another_cluster_are_told_from_everything_else() {
        let roll = Roll(ClusterId(0x0a));
        let other = Roll(ClusterId(0x0b));
        for key in [other.key(MemberId(3)), other.next_key()] {
            assert!(roll.is_of_another(&key) && !other.is_of_another(&key), "{key:?}");
        }
        for key in ["/isopod/nodes/members", "/isopod/nodes/n1", "/isopod/x", "/registry/members/1"] {
            assert!(!roll.is_of_another(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn only_who_asked_for_a_record_is_known_again_and_only_while_it_stays() {
        let credential = token::Credential::draw();
        let proof = |key: &str| token::proof(&credential, key);
        let record = |standing| Record {
            name: "b".into(),
            peer_address: String::new(),
            api_address: String::new(),
            standing,
            asked_by: Some(proof("mine")),
        };
        let records = |standing| BTreeMap::from([(MemberId(2), record(standing))]);
        assert_eq!(asked_by(&records(Standing::Stays), &proof("mine")), Some(MemberId(2)));
        assert_eq!(asked_by(&records(Standing::Stays), &proof("another's")), None);
        assert_eq!(asked_by(&records(Standing::Leaves), &proof("mine")), None);
        let other = token::proof(&token::Credential::draw(), "mine");
        assert_eq!(asked_by(&records(Standing::Stays), &other), None);
    }
}
