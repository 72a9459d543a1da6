//! Many tasks on many threads at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use isopod_raft_store::{Compare, Event, KeyRange, Op, Revision, Store, Txn, Watch};
use tokio::task::JoinSet;

use crate::running::{Running, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_increment_is_lost_or_made_twice() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    running.put("/counter", "0").await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = running.store.clone();
        tasks.spawn(async move {
            for _ in 0..25 {
                increment(&store).await;
            }
        });
    }
    tasks.join_all().await;
    let state = running.store.linearizable().await.expect("there is a leader");
    let entry = state.get(b"/counter").expect("it was put");
    assert_eq!(entry.value, "200");
    assert_eq!(entry.modified, Revision(202), "each held at exactly one revision");
    running.close().await;
}

/// Reads, adds one, and writes if nobody wrote in between; until that works.
async fn increment(store: &Store) {
    loop {
        let state = store.linearizable().await.expect("there is a leader");
        let entry = state.get(b"/counter").expect("it was put");
        let number: u32 = std::str::from_utf8(&entry.value).expect("text").parse().expect("a number");
        let txn = Txn {
            compares: vec![Compare::Modified(Bytes::from_static(b"/counter"), entry.modified)],
            ops: vec![put("/counter", &(number + 1).to_string())],
        };
        if store.propose(txn).await.expect("it is applied").held() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_that_join_at_any_time_see_every_change_once() {
    const WRITERS: usize = 6;
    const WRITES: usize = 150;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let store = &running.store;
    let last = Revision((1 + WRITERS * WRITES) as u64);
    let mut watchers = JoinSet::new();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..WRITES {
                let key = format!("/{}/{writer}", number % 3);
                let op = if number % 10 == 9 { Op::Delete(key.into()) } else { put(&key, "value") };
                // A deletion finds its key: it is the fourth write of it or later.
                store.propose(Txn::of(vec![op])).await.expect("it commits");
            }
        });
    }
    for number in 0..40 {
        let range =
            if number % 4 == 3 { KeyRange::all() } else { KeyRange::prefix(format!("/{}/", number % 4)) };
        // From where the state is now, as a list and a watch do, or from the beginning.
        let from = if number % 2 == 0 {
            store.snapshot()
        } else {
            store.snapshot_at(Revision::FIRST).expect("kept")
        };
        let watch = store.watch(range.clone(), from.revision()).expect("it is kept");
        watchers.spawn(follow(watch, range, from, last));
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
    let state = store.linearizable().await.expect("there is a leader");
    assert_eq!(state.revision(), last);
    for (range, followed) in watchers.join_all().await {
        let expected: BTreeMap<Bytes, Revision> =
            state.range(&range).map(|(key, entry)| (key.clone(), entry.modified)).collect();
        assert_eq!(followed, expected, "{range:?}");
    }
    running.close().await;
}

/// Applies events to a copy of the state until the last revision is handed out.
async fn follow(
    mut watch: Watch,
    range: KeyRange,
    from: isopod_raft_store::Snapshot,
    last: Revision,
) -> (KeyRange, BTreeMap<Bytes, Revision>) {
    let mut copy: BTreeMap<Bytes, Revision> =
        from.range(&range).map(|(key, entry)| (key.clone(), entry.modified)).collect();
    let mut seen = from.revision();
    while watch.progress() < last {
        let batch = tokio::select! {
            batch = watch.next() => batch.expect("nobody is that slow"),
            // Others' writes move progress on without waking this watcher.
            () = tokio::time::sleep(std::time::Duration::from_millis(1)) => continue,
        };
        for event in batch {
            assert!(event.revision > seen, "{} came again or out of order", event.revision);
            seen = event.revision;
            apply(&mut copy, &event);
        }
    }
    (range, copy)
}

fn apply(copy: &mut BTreeMap<Bytes, Revision>, event: &Arc<Event>) {
    let before = event.previous.as_ref().map(|entry| entry.modified);
    assert_eq!(copy.get(&event.key).copied(), before, "a change of {:?} is missing", event.key);
    match &event.entry {
        Some(entry) => copy.insert(event.key.clone(), entry.modified),
        None => copy.remove(&event.key),
    };
}
