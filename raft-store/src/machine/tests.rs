//! Tables over `apply`, and its equality with a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn put(key: &str, value: &str) -> Op {
    Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
}

fn delete(key: &str) -> Op {
    Op::Delete(Bytes::copy_from_slice(key.as_bytes()))
}

fn when(compare: Compare) -> Txn {
    Txn { compares: vec![compare], ops: vec![put("result", "yes")] }
}

fn key(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

/// `a` created at 2 and written at 4, `b` created at 3, `gone` created at 5 and deleted at 6.
fn machine() -> Machine {
    let mut machine = Machine::new();
    for op in [put("a", "1"), put("b", "1"), put("a", "2"), put("gone", "1"), delete("gone")] {
        machine.apply(Txn::of(vec![op]), 1);
    }
    machine
}

#[test]
fn each_compare_holds_exactly_when_it_says() {
    let range = |prefix: &'static str| KeyRange::prefix(prefix);
    let cases = [
        (Compare::Absent(key("new")), true),
        (Compare::Absent(key("a")), false),
        (Compare::Absent(key("gone")), true),
        (Compare::Present(key("a")), true),
        (Compare::Present(key("gone")), false),
        (Compare::Modified(key("a"), Revision(4)), true),
        (Compare::Modified(key("a"), Revision(2)), false),
        (Compare::Modified(key("gone"), Revision(5)), false),
        (Compare::Term(7), true),
        (Compare::Term(6), false),
        (Compare::RangeUnchanged(range("a"), Revision(4)), true),
        (Compare::RangeUnchanged(range("a"), Revision(3)), false),
        (Compare::RangeUnchanged(range("g"), Revision(6)), true),
        (Compare::RangeUnchanged(range("g"), Revision(5)), false),
        (Compare::RangeUnchanged(range("nothing"), Revision(1)), true),
        (Compare::RangeUnchanged(KeyRange::all(), Revision(6)), true),
        (Compare::RangeUnchanged(KeyRange::all(), Revision(5)), false),
    ];
    for (compare, holds) in cases {
        let mut machine = machine();
        let applied = machine.apply(when(compare.clone()), 7);
        assert_eq!(applied.response.held(), holds, "{compare:?}");
        assert_eq!(applied.response.revision, if holds { Revision(7) } else { Revision(6) });
        assert_eq!(machine.snapshot().get(b"result").is_some(), holds);
    }
}

#[test]
fn the_first_compare_that_fails_is_named_and_nothing_happens() {
    let mut machine = machine();
    let compares = vec![Compare::Present(key("a")), Compare::Present(key("x")), Compare::Absent(key("a"))];
    let applied = machine.apply(Txn { compares, ops: vec![put("a", "3"), delete("b")] }, 1);
    assert_eq!(applied.response, TxnResponse { revision: Revision(6), failed: Some(1) });
    assert!(applied.events.is_empty());
    assert_eq!(machine.snapshot().get(b"a").expect("it is there").value, "2");
}

#[test]
fn all_ops_of_a_transaction_share_one_revision_and_keep_the_created_one() {
    let mut machine = machine();
    let applied = machine.apply(Txn::of(vec![put("a", "3"), put("c", "1"), delete("b"), delete("x")]), 1);
    assert_eq!(applied.response.revision, Revision(7));
    let seen: Vec<_> = applied
        .events
        .iter()
        .map(|event| (event.key.clone(), event.entry.is_some(), event.revision))
        .collect();
    assert_eq!(
        seen,
        [(key("a"), true, Revision(7)), (key("c"), true, Revision(7)), (key("b"), false, Revision(7))]
    );
    let state = machine.snapshot();
    let a = state.get(b"a").expect("it is there");
    assert_eq!((a.created, a.modified), (Revision(2), Revision(7)));
    assert_eq!(applied.events[0].previous.as_ref().expect("it was there").value, "2");
}

#[test]
fn a_transaction_that_changes_nothing_takes_no_revision() {
    let mut machine = machine();
    for txn in [Txn::default(), Txn::of(vec![delete("x")])] {
        let applied = machine.apply(txn, 1);
        assert_eq!(applied.response, TxnResponse { revision: Revision(6), failed: None });
    }
}

#[test]
fn a_key_created_again_begins_anew() {
    let mut machine = machine();
    let applied = machine.apply(Txn::of(vec![put("gone", "2")]), 1);
    assert_eq!(applied.events[0].previous, None);
    let state = machine.snapshot();
    assert_eq!(state.get(b"gone").expect("it is there").created, Revision(7));
}

#[test]
fn deletions_are_remembered_for_the_window_and_no_longer() {
    let mut machine = machine();
    for _ in 0..DELETES_WINDOW - 1 {
        machine.apply(Txn::of(vec![put("other", "x")]), 1);
    }
    let unchanged = |machine: &Machine, since| machine.unchanged(&KeyRange::prefix("g"), Revision(since));
    assert!(!unchanged(&machine, 5), "the deletion at 6 is just remembered");
    assert!(unchanged(&machine, 6));
    machine.apply(Txn::of(vec![put("other", "x")]), 1);
    assert_eq!(machine.deletes().len(), 0);
    assert!(unchanged(&machine, 6));
    assert!(!unchanged(&machine, 5), "too old to know");
}

/// What the machine must be equal to: a plain map, and nothing clever.
#[derive(Default)]
struct Model {
    revision: u64,
    entries: BTreeMap<Bytes, Entry>,
    changed: BTreeMap<Bytes, u64>,
}

impl Model {
    fn apply(&mut self, txn: &Txn) -> Option<usize> {
        let failed = txn.compares.iter().position(|compare| !match compare {
            Compare::Absent(key) => !self.entries.contains_key(key),
            Compare::Present(key) => self.entries.contains_key(key),
            Compare::Modified(key, at) => self.entries.get(key).is_some_and(|entry| entry.modified == *at),
            Compare::RangeUnchanged(range, since) => {
                !self.changed.iter().any(|(key, at)| range.contains(key) && *at > since.0)
            }
            Compare::Term(term) => *term == 1,
        });
        if failed.is_none() {
            let next = Revision(self.revision + 1);
            let changes: Vec<_> = txn
                .ops
                .iter()
                .filter(|op| matches!(op, Op::Put(..)) || self.entries.contains_key(op.key()))
                .collect();
            for op in &changes {
                self.changed.insert(op.key().clone(), next.0);
                match op {
                    Op::Put(key, value) => {
                        let created = self.entries.get(key).map_or(next, |entry| entry.created);
                        let entry = Entry { value: value.clone(), created, modified: next };
                        self.entries.insert(key.clone(), entry);
                    }
                    Op::Delete(key) => drop(self.entries.remove(key)),
                }
            }
            self.revision += u64::from(!changes.is_empty());
        }
        failed
    }
}

fn any_key() -> impl Strategy<Value = Bytes> {
    "[ab]{1,3}".prop_map(|text| Bytes::from(text.into_bytes()))
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let revision = (1..40_u64).prop_map(Revision);
    let compare = prop_oneof![
        any_key().prop_map(Compare::Absent),
        any_key().prop_map(Compare::Present),
        (any_key(), revision.clone()).prop_map(|(key, revision)| Compare::Modified(key, revision)),
        (any_key(), revision).prop_map(|(key, at)| Compare::RangeUnchanged(KeyRange::prefix(key), at)),
        (1..3_u64).prop_map(Compare::Term),
    ];
    let op = prop_oneof![
        3 => (any_key(), "[a-z]{0,4}").prop_map(|(key, value)| Op::Put(key, value.into_bytes().into())),
        1 => any_key().prop_map(Op::Delete),
    ];
    let ops = proptest::collection::vec(op, 0..4).prop_map(|mut ops| {
        ops.sort_by(|a, b| a.key().cmp(b.key()));
        ops.dedup_by(|a, b| a.key() == b.key());
        ops
    });
    (proptest::collection::vec(compare, 0..2), ops).prop_map(|(compares, ops)| Txn { compares, ops })
}

proptest! {
    #[test]
    fn the_machine_equals_a_naive_model(txns in proptest::collection::vec(any_txn(), 0..60)) {
        let mut machine = Machine::new();
        let mut model = Model { revision: 1, ..Model::default() };
        for txn in txns {
            let before = machine.snapshot();
            let failed = model.apply(&txn);
            let applied = machine.apply(txn, 1);
            prop_assert_eq!(applied.response, TxnResponse { revision: Revision(model.revision), failed });
            let state = machine.snapshot();
            let entries: BTreeMap<Bytes, Entry> = state.range(&KeyRange::all()).map(|(k, e)| (k.clone(), e.clone())).collect();
            prop_assert_eq!(&entries, &model.entries);
            let bytes: usize = entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
            prop_assert_eq!(machine.data_bytes(), bytes as u64);
            prop_assert!(machine.is_sound());
            // Undoing the events gives the state before.
            let mut undone = state.map.clone();
            for event in &applied.events {
                prop_assert_eq!(state.map.get(&event.key), event.entry.as_ref());
                match &event.previous {
                    Some(entry) => undone.insert(event.key.clone(), entry.clone()),
                    None => undone.remove(&event.key),
                };
            }
            prop_assert!(undone == before.map);
        }
    }
}
