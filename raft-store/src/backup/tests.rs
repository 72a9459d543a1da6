//! Backups of real folders, and members that go on alone.

use std::fs::File;
use std::path::PathBuf;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::error::OpenError;
use crate::state::KeyRange;
use crate::watch::WatchEnd;
use crate::{DriverError, Op, Txn};

struct Running {
    store: Store,
    shutdown: CancellationToken,
    driver: tokio::task::JoinHandle<Result<(), DriverError>>,
}

impl Running {
    async fn open(config: Config) -> Self {
        let (store, driver) = Store::open(config).await.expect("it opens");
        let shutdown = CancellationToken::new();
        let driver = tokio::spawn(driver.run(shutdown.clone()));
        Self { store, shutdown, driver }
    }

    async fn put(&self, key: &str, value: &str) -> Revision {
        let op = Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        self.store.propose(Txn::of(vec![op])).await.expect("it commits").revision
    }

    fn values(&self) -> Vec<(Bytes, Bytes)> {
        let state = self.store.snapshot();
        state.range(&KeyRange::all()).map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.driver.await.expect("no panic").expect("it ends well");
    }
}

async fn filled(dir: &Path) -> Running {
    let running = Running::open(Config::new(dir)).await;
    for number in 0..20 {
        running.put(&format!("/{}", number % 7), &number.to_string()).await;
    }
    running
}

async fn saved(running: &Running, folder: &Path) -> (PathBuf, Saved) {
    let file = folder.join("backup");
    let into = File::create(&file).expect("it can be made");
    let saved = running.store.save(into).await.expect("it is written");
    (file, saved)
}

#[tokio::test]
async fn a_restored_store_has_the_same_entries_in_a_new_cluster() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let old = filled(&folder.path().join("old")).await;
    let (file, saved) = saved(&old, folder.path()).await;
    assert_eq!((saved.keys, saved.revision), (7, Revision(21)));
    assert_eq!(inspect(&file).expect("it is whole"), saved);
    // What comes later is not in it.
    let last = old.put("/late", "1").await;
    let dir = folder.path().join("new");
    let restored = restore(&dir, &file, MemberId(4)).expect("it is restored");
    assert_eq!((restored.sum, restored.keys), (saved.sum, saved.keys));
    let new = Running::open(Config { member: MemberId(4), ..Config::new(&dir) }).await;
    assert_ne!(new.store.cluster(), old.store.cluster());
    assert!(new.store.snapshot().revision() > last, "no revision of the old cluster is one of its future");
    assert!(matches!(new.store.watch(KeyRange::all(), last), Err(WatchEnd::Compacted { .. })));
    assert!(new.put("/new", "1").await > restored.revision);
    let (mut before, after) = (old.values(), new.values());
    before.retain(|(key, _)| key != "/late");
    before.push(("/new".into(), "1".into()));
    assert_eq!(before, after);
    old.close().await;
    new.close().await;
}

#[tokio::test]
async fn a_file_that_is_cut_short_or_damaged_restores_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let old = filled(&folder.path().join("old")).await;
    let (file, _) = saved(&old, folder.path()).await;
    old.close().await;
    let whole = std::fs::read(&file).expect("it is there");
    let dir = folder.path().join("new");
    for (length, flipped) in [(whole.len() - 1, None), (10, None), (0, None), (whole.len(), Some(100))] {
        let mut bytes = whole[..length].to_vec();
        flipped.into_iter().for_each(|at: usize| bytes[at] ^= 1);
        std::fs::write(&file, bytes).expect("there is space");
        for error in [inspect(&file).err(), restore(&dir, &file, MemberId(1)).err()] {
            assert!(matches!(error, Some(BackupError::Open(OpenError::Damaged { .. }))), "{error:?}");
        }
        assert!(!dir.exists(), "nothing was made");
    }
}

#[tokio::test]
async fn nothing_is_restored_over_a_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("old");
    let old = filled(&dir).await;
    let (file, _) = saved(&old, folder.path()).await;
    let error = restore(&dir, &file, MemberId(1)).expect_err("it is in use");
    assert!(matches!(error, BackupError::Open(OpenError::Locked { .. })), "{error:?}");
    old.close().await;
    let error = restore(&dir, &file, MemberId(1)).expect_err("it is not empty");
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error:?}");
}

#[tokio::test]
async fn a_member_recovers_with_all_that_is_in_its_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config::new(folder.path());
    let old = filled(folder.path()).await;
    let (cluster, values, last) = (old.store.cluster(), old.values(), old.store.snapshot().revision());
    old.close().await;
    let recovered = recover(&config).expect("there is a store");
    let new = Running::open(config.clone()).await;
    assert_eq!(new.store.cluster(), recovered.cluster);
    assert_ne!(new.store.cluster(), cluster);
    assert_eq!(new.values(), values);
    assert!(new.store.snapshot().revision() > last);
    let written = new.put("/new", "1").await;
    new.close().await;
    let again = Running::open(config).await;
    assert_eq!(again.store.snapshot().revision(), written);
    again.close().await;
}

#[test]
fn there_is_nothing_to_recover_in_an_empty_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = recover(&Config::new(folder.path())).expect_err("it is empty");
    assert!(matches!(error, BackupError::Nothing { .. }), "{error:?}");
}
