//! What a folder gives back when it is opened again.

use std::path::Path;

use isopod_raft_store::{Config, KeyRange, Op, OpenError, ReadError, Revision, Snapshot, Txn, WatchEnd};

use crate::running::{Running, config, put};

/// Snapshots after 256 KiB of log, so that a test sees several.
fn eager(dir: &Path) -> Config {
    Config { snapshot_after_bytes: 256 << 10, txn_bytes_max: 1 << 20, segment_bytes: 1 << 20, ..config(dir) }
}

fn content(state: &Snapshot) -> Vec<(Vec<u8>, Vec<u8>, u64, u64)> {
    let entries = state.range(&KeyRange::all());
    entries
        .map(|(key, entry)| (key.to_vec(), entry.value.to_vec(), entry.created.0, entry.modified.0))
        .collect()
}

fn files(dir: &Path, ending: &str) -> Vec<String> {
    let names = std::fs::read_dir(dir).expect("the folder is there");
    let names =
        names.map(|entry| entry.expect("it can be read").file_name().into_string().expect("ours are UTF-8"));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn everything_acknowledged_is_there_again_with_its_revisions() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    for round in 0..50 {
        running.put(&format!("/a/{}", round % 7), &format!("value {round}")).await;
    }
    let before = running.store.snapshot();
    running.close().await;
    let running = Running::open(dir.path()).await;
    // At once, before the driver has done anything.
    let after = running.store.snapshot();
    assert_eq!(after.revision(), before.revision());
    assert_eq!(content(&after), content(&before));
    running.put("/a/0", "after").await;
    assert_eq!(running.store.snapshot().revision(), before.revision().next());
    running.close().await;
}

#[tokio::test]
async fn a_copy_taken_while_it_runs_holds_everything_acknowledged_by_then() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let copy = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    for round in 0..20 {
        running.put(&format!("/a/{round}"), "value").await;
    }
    // As a process that was killed leaves it: the files as they are, no orderly end.
    for name in files(dir.path(), "") {
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).expect("it can be copied");
    }
    let before = content(&running.store.snapshot());
    running.close().await;
    let running = Running::open(copy.path()).await;
    assert_eq!(content(&running.store.snapshot()), before);
    running.close().await;
}

#[tokio::test]
async fn the_log_is_cut_behind_a_snapshot_and_the_state_stays() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut before = Vec::new();
    let mut revision = Revision::FIRST;
    for run in 0..3 {
        let running = Running::open_with(eager(dir.path())).await.expect("it opens");
        assert_eq!(content(&running.store.snapshot()), before, "run {run}");
        assert_eq!(running.store.snapshot().revision(), revision);
        assert_eq!(files(dir.path(), ".snap").len(), 1, "old snapshots are gone");
        let segments = files(dir.path(), ".seg");
        assert!(segments.len() <= 3, "old segments are gone: {segments:?}");
        let value = "x".repeat(64 << 10);
        for round in 0..100 {
            running.put(&format!("/a/{}", round % 10), &format!("{run} {round} {value}")).await;
        }
        running.store.propose(Txn::of(vec![put("/b", "1")])).await.expect("it commits");
        before = content(&running.store.snapshot());
        revision = running.store.snapshot().revision();
        running.close().await;
        assert_eq!(revision, Revision(1 + 101 * (run + 1)), "one revision a write, over restarts too");
    }
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart_or_is_told_that_history_is_gone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open_with(eager(dir.path())).await.expect("it opens");
    let value = "x".repeat(64 << 10);
    for round in 0..20 {
        running.put(&format!("/a/{round}"), &value).await;
    }
    running.close().await;
    let running = Running::open_with(eager(dir.path())).await.expect("it opens");
    let store = &running.store;
    let floor = store.status().history_floor;
    assert!(floor > Revision(2) && floor < Revision(21), "some is in the snapshot, some in the log: {floor}");
    let mut watch = store.watch(KeyRange::all(), floor).expect("the log has it");
    let mut seen = Vec::new();
    while seen.last() != Some(&Revision(21)) {
        let batch = watch.next().await.expect("it goes on");
        seen.extend(batch.iter().map(|event| event.revision));
    }
    let expected: Vec<Revision> = (floor.0 + 1..=21).map(Revision).collect();
    assert_eq!(seen, expected);
    let from = Revision(floor.0 - 1);
    let end = store.watch(KeyRange::all(), from).err().expect("it is gone");
    assert_eq!(end, WatchEnd::Compacted { from, oldest: floor });
    let past = store.snapshot_at(from).expect_err("it is gone");
    assert_eq!(past, ReadError::Compacted { revision: from, oldest: floor });
    running.close().await;
}

#[tokio::test]
async fn the_same_log_gives_the_same_snapshot_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    for round in 0..40 {
        running.put(&format!("/a/{}", round % 7), &format!("value {round}")).await;
        running.store.propose(Txn::of(vec![Op::Delete("/a/3".into())])).await.expect("it commits");
    }
    running.close().await;
    let mut snapshots = Vec::new();
    for _ in 0..2 {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for name in files(dir.path(), "") {
            std::fs::copy(dir.path().join(&name), copy.path().join(&name)).expect("it can be copied");
        }
        let config = Config { snapshot_after_bytes: 1, ..config(copy.path()) };
        let running = Running::open_with(config).await.expect("it opens");
        running.put("/b", "makes a snapshot due").await;
        running.close().await;
        let name = files(copy.path(), ".snap").pop().expect("there is one");
        let bytes = std::fs::read(copy.path().join(&name)).expect("it can be read");
        snapshots.push((name, bytes));
    }
    assert_eq!(snapshots[0], snapshots[1]);
    assert!(snapshots[0].0 != "snapshot-0000000000000001.snap", "it is not the first one");
}

#[tokio::test]
async fn a_folder_opens_once_at_a_time() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    let second = Running::open_with(config(dir.path())).await.err().expect("it is taken");
    assert!(matches!(second, OpenError::Locked { .. }), "{second:?}");
    assert!(second.to_string().contains(&dir.path().display().to_string()), "{second}");
    running.put("/a", "still works").await;
    running.close().await;
    Running::open(dir.path()).await.close().await;
}

#[tokio::test]
async fn a_folder_of_another_member_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Running::open(dir.path()).await.close().await;
    let other = Config { member: isopod_raft_store::MemberId(2), ..config(dir.path()) };
    let error = Running::open_with(other).await.err().expect("it is not ours");
    assert!(matches!(error, OpenError::OtherMember { .. }), "{error:?}");
}
