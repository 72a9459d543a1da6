//! Reads, writes and watches through the handle.

use std::time::Duration;

use bytes::Bytes;
use isopod_raft_store::{Compare, KeyRange, Op, ProposeError, ReadError, Revision, Txn, WatchEnd};

use crate::running::{Running, put};

#[tokio::test]
async fn a_write_is_seen_by_reads_and_watches_at_its_revision() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let store = &running.store;
    let mut watch = store.watch(KeyRange::prefix("/a/"), Revision::FIRST).expect("nothing is compacted");
    let first = store.propose(Txn::of(vec![put("/b/x", "0")])).await.expect("it commits");
    let second = store.propose(Txn::of(vec![put("/a/x", "1")])).await.expect("it commits");
    assert_eq!((first.revision, second.revision), (Revision(2), Revision(3)));
    let events = watch.next().await.expect("the watch goes on");
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0].key[..], events[0].revision), (&b"/a/x"[..], Revision(3)));
    let state = store.linearizable().await.expect("there is a leader");
    assert_eq!(state.get(b"/a/x").expect("it was put").value, "1");
    let past = store.snapshot_at(Revision(2)).expect("history goes back");
    assert!(past.get(b"/a/x").is_none() && past.get(b"/b/x").is_some());
    running.close().await;
}

#[tokio::test]
async fn a_failed_compare_is_an_answer_and_not_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let create = Txn { compares: vec![Compare::Absent(Bytes::from_static(b"a"))], ops: vec![put("a", "1")] };
    let first = running.store.propose(create.clone()).await.expect("it commits");
    let again = running.store.propose(create).await.expect("it commits");
    assert!(first.held());
    assert_eq!((again.failed, again.revision), (Some(0), first.revision));
    running.close().await;
}

#[tokio::test]
async fn a_transaction_that_is_too_large_or_changes_a_key_twice_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let large = Txn::of(vec![Op::Put(Bytes::from_static(b"a"), Bytes::from(vec![0; 9 << 20]))]);
    let refused = running.store.propose(large).await.expect_err("over the limit");
    assert!(matches!(refused, ProposeError::TooLarge { max, .. } if max == 8 << 20), "{refused:?}");
    let twice = Txn::of(vec![put("a", "1"), put("b", "1"), put("a", "2")]);
    let refused = running.store.propose(twice).await.expect_err("twice the same key");
    assert_eq!(refused, ProposeError::DuplicateKey { key: Bytes::from_static(b"a") });
    running.close().await;
}

#[tokio::test]
async fn waiting_for_a_revision_ends_when_it_is_applied_or_time_is_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let store = running.store.clone();
    let wait = tokio::spawn(async move { store.wait_applied(Revision(2), Duration::from_secs(60)).await });
    running.store.propose(Txn::of(vec![put("a", "1")])).await.expect("it commits");
    assert_eq!(wait.await.expect("no panic").expect("reached").revision(), Revision(2));
    let late = running.store.wait_applied(Revision(9), Duration::from_millis(1)).await;
    assert_eq!(
        late.expect_err("never reached"),
        ReadError::Future { revision: Revision(9), latest: Revision(2) }
    );
    running.close().await;
}

#[tokio::test]
async fn a_closed_store_still_reads_and_refuses_the_rest() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let store = running.store.clone();
    store.propose(Txn::of(vec![put("a", "1")])).await.expect("it commits");
    let mut watch = store.watch(KeyRange::all(), Revision::FIRST).expect("nothing is compacted");
    running.close().await;
    assert_eq!(store.snapshot().revision(), Revision(2));
    assert_eq!(store.propose(Txn::of(vec![put("a", "2")])).await, Err(ProposeError::Closed));
    assert_eq!(store.linearizable().await.expect_err("no leader any more"), ReadError::Closed);
    assert_eq!(watch.next().await.expect("what was written before").len(), 1);
    assert_eq!(watch.next().await.expect_err("no more"), WatchEnd::Closed);
}
