//! The whole store on a disk that is killed, filled or broken under it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::*;
use crate::disk::memory::{Faults, MemoryDisk};
use crate::transport::Alone;
use crate::{
    ClusterId, Config, KeyRange, MemberId, MembershipChange, Op, ProposeError, ReadError, Revision, Store,
    Txn,
};

/// Small files, so that a short test goes through several segments and snapshots.
fn config() -> Config {
    Config {
        cluster: Some(ClusterId(7)),
        txn_bytes_max: 2 << 10,
        segment_bytes: 1,
        snapshot_after_bytes: 100 << 10,
        ..Config::new("/memory")
    }
}

fn open(disk: &MemoryDisk) -> Result<(Store, Driver), crate::OpenError> {
    Store::open_on(&config(), Arc::new(disk.clone()), Arc::new(Alone))
}

struct Running {
    store: Store,
    shutdown: CancellationToken,
    driver: JoinHandle<Result<(), DriverError>>,
}

impl Running {
    fn open(disk: &MemoryDisk) -> Self {
        Self::try_open(disk).expect("it opens")
    }

    fn try_open(disk: &MemoryDisk) -> Result<Self, crate::OpenError> {
        let (store, driver) = open(disk)?;
        let shutdown = CancellationToken::new();
        let driver = tokio::spawn(driver.run(shutdown.clone()));
        Ok(Self { store, shutdown, driver })
    }

    async fn close(self) -> Result<(), DriverError> {
        self.shutdown.cancel();
        self.driver.await.expect("the driver does not panic")
    }

    async fn put(&self, key: &str, value: &str) -> Result<Revision, ProposeError> {
        put(&self.store, key, value).await
    }
}

async fn put(store: &Store, key: &str, value: &str) -> Result<Revision, ProposeError> {
    let op = Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    store.propose(Txn::of(vec![op])).await.map(|response| response.revision)
}

/// Waits for something that another thread brings about.
async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What one writer knows of its own keys: the last number acknowledged and the last one tried.
type Known = BTreeMap<String, (u32, u32)>;

/// Writes ascending numbers to five keys until something fails or it is done.
async fn write_numbers(store: Store, writer: u32, from: u32, known: &mut Known) -> Revision {
    let mut last = Revision::FIRST;
    for number in from..from + 60 {
        let key = format!("/{writer}/{}", number % 5);
        let value = format!("{number} {}", "x".repeat((number * 37 % 1_500) as usize));
        let entry = known.entry(key.clone()).or_default();
        entry.1 = number;
        match put(&store, &key, &value).await {
            Ok(revision) => {
                entry.0 = number;
                last = revision;
            }
            Err(_) => break,
        }
    }
    last
}

fn check(store: &Store, known: &Known, acknowledged: Revision, what: &str) {
    let state = store.snapshot();
    assert!(state.revision() >= acknowledged, "{what}: revision {} of {acknowledged}", state.revision());
    for (key, (done, tried)) in known {
        let found = state.get(key.as_bytes()).map_or(0, |entry| {
            let text = std::str::from_utf8(&entry.value).expect("a number");
            text.split(' ').next().and_then(|number| number.parse::<u32>().ok()).expect("a number")
        });
        assert!((*done..=*tried).contains(&found), "{what}: {key} has {found}, of {done} to {tried}");
    }
    let keys = state.range(&KeyRange::all()).map(|(key, _)| String::from_utf8_lossy(key).into_owned());
    keys.for_each(|key| assert!(known.contains_key(&key), "{what}: {key} was never written"));
}

/// One life: three writers at once, until the end or until the disk is gone.
async fn live(disk: &MemoryDisk, from: u32, known: &mut [Known; 3]) -> Revision {
    // A disk that is gone already opens nothing, and nothing is acknowledged.
    let Ok(running) = Running::try_open(disk) else { return Revision::FIRST };
    let [first, second, third] = known;
    let store = &running.store;
    let (a, b, c) = tokio::join!(
        write_numbers(store.clone(), 0, from, first),
        write_numbers(store.clone(), 1, from, second),
        write_numbers(store.clone(), 2, from, third),
    );
    // Ends with the disk's error where the disk was killed.
    drop(running.close().await);
    a.max(b).max(c)
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_wherever_the_process_is_killed() {
    let disk = MemoryDisk::default();
    live(&disk, 1, &mut Default::default()).await;
    let changes = disk.changes();
    assert!(changes > 150, "too few places to be killed at: {changes}");
    for killed_at in 1..=changes {
        let disk = MemoryDisk::default();
        disk.set_faults(Faults { killed_at: Some(killed_at), ..Faults::default() });
        let mut known: [Known; 3] = Default::default();
        let mut acknowledged = live(&disk, 1, &mut known).await;
        let mut disk = disk.crashed(killed_at);
        for life in 1..3 {
            let what = format!("killed at {killed_at}, life {life}");
            let merged = known.iter().flatten().map(|(key, numbers)| (key.clone(), *numbers)).collect();
            let (store, driver) = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&store, &merged, acknowledged, &what);
            drop((store, driver));
            acknowledged = live(&disk, 100 * life, &mut known).await;
            disk = disk.crashed(killed_at + 10_000);
        }
    }
}

#[tokio::test]
async fn a_sync_that_fails_stops_the_store_and_is_not_tried_again() {
    let disk = MemoryDisk::default();
    let running = Running::open(&disk);
    running.put("/a", "1").await.expect("the disk is well");
    let last = running.put("/a", "2").await.expect("the disk is well");
    disk.set_faults(Faults { sync_fails_at: Some(disk.syncs() + 1), ..Faults::default() });
    assert_eq!(running.put("/a", "3").await, Err(ProposeError::Unknown));
    let syncs = disk.syncs();
    eventually("it is closed", async || running.put("/a", "4").await == Err(ProposeError::Closed)).await;
    assert_eq!(disk.syncs(), syncs, "no second try");
    // What was acknowledged is still there to be read.
    assert_eq!(running.store.snapshot().get(b"/a").map(|entry| entry.modified), Some(last));
    assert_eq!(running.store.linearizable().await.expect_err("not confirmed any more"), ReadError::Closed);
    let error = running.close().await.expect_err("it tells why");
    assert!(matches!(&error, DriverError::Disk(error) if !error.is_full()), "{error:?}");
}

#[tokio::test]
async fn what_is_read_after_a_failed_sync_outlives_the_next_loss_of_power() {
    for seed in 0..10 {
        let disk = MemoryDisk::default();
        let running = Running::open(&disk);
        running.put("/a", "1").await.expect("the disk is well");
        disk.set_faults(Faults { sync_fails_at: Some(disk.syncs() + 1), ..Faults::default() });
        assert_eq!(running.put("/a", "2").await, Err(ProposeError::Unknown));
        running.close().await.expect_err("the disk has failed");
        disk.set_faults(Faults::default());
        let running = Running::open(&disk);
        let seen = running.store.linearizable().await.expect("it serves").revision();
        let next = running.put("/b", "1").await.expect("the disk is well again");
        assert_eq!(next, seen.next());
        running.close().await.expect("it ends well");
        let running = Running::open(&disk.crashed(seed));
        assert_eq!(running.store.snapshot().revision(), next, "seed {seed}");
        running.close().await.expect("it ends well");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_resumes_when_there_is_space() {
    let disk = MemoryDisk::default();
    let running = Running::open(&disk);
    running.put("/first", "1").await.expect("there is space");
    disk.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let mut last = Revision::FIRST;
    let value = "x".repeat(1_500);
    let refused = loop {
        match running.put("/a", &value).await {
            Ok(revision) => last = revision,
            Err(error) => break error,
        }
    };
    assert!(last > Revision(20), "what is allocated ahead can be used");
    assert_eq!(refused, ProposeError::DiskFull { dir: "/memory".into() });
    assert!(running.store.status().disk_full);
    let state = running.store.linearizable().await.expect("reads go on");
    assert_eq!((state.revision(), state.get(b"/first").is_some()), (last, true));
    disk.set_faults(Faults::default());
    eventually("writes resume", async || running.put("/a", "again").await.is_ok()).await;
    assert!(!running.store.status().disk_full);
    running.close().await.expect("it ends well");
    let running = Running::open(&disk);
    assert_eq!(
        running.store.snapshot().revision(),
        last.next(),
        "nothing refused happened, nothing else is lost"
    );
    running.close().await.expect("it ends well");
}

#[tokio::test]
async fn also_where_overwriting_needs_space_nothing_is_lost_when_there_is_none() {
    let disk = MemoryDisk::default();
    let running = Running::open(&disk);
    running.put("/a", "1").await.expect("there is space");
    disk.set_faults(Faults { full_for_overwrites: true, ..Faults::default() });
    let store = running.store.clone();
    // Raft has it already: it waits for space instead of being refused.
    let waiting = tokio::spawn(async move { put(&store, "/b", "1").await });
    eventually("the disk is found full", async || running.store.status().disk_full).await;
    let refused = running.put("/c", "1").await;
    assert_eq!(refused, Err(ProposeError::DiskFull { dir: "/memory".into() }));
    assert!(running.store.snapshot().get(b"/b").is_none(), "not acknowledged, not visible");
    disk.set_faults(Faults::default());
    let revision = waiting.await.expect("no panic").expect("it commits when there is space");
    running.close().await.expect("it ends well");
    let running = Running::open(&disk);
    assert_eq!(running.store.snapshot().get(b"/b").map(|entry| entry.modified), Some(revision));
    running.close().await.expect("it ends well");
}

#[tokio::test]
async fn a_damaged_folder_starts_nothing_and_stays_as_it_is() {
    let disk = MemoryDisk::default();
    live(&disk, 1, &mut Default::default()).await;
    let segment =
        disk.list().expect("listed").into_iter().find(|name| name.ends_with(".seg")).expect("there is one");
    disk.tamper(&segment, |bytes| bytes[700] ^= 1);
    let (names, changes) = (disk.list().expect("listed"), disk.changes());
    let error = open(&disk).err().expect("it is damaged");
    assert!(error.to_string().contains(&format!("{segment} is damaged at offset ")), "{error}");
    assert_eq!(disk.list().expect("listed"), names);
    assert_eq!(disk.changes(), changes, "nothing was written or removed");
}

#[tokio::test]
async fn a_driver_that_is_dropped_leaves_nobody_waiting() {
    let disk = MemoryDisk::default();
    let (store, driver) = open(&disk).expect("it opens");
    let early = store.clone();
    let early = tokio::spawn(async move { put(&early, "/a", "1").await });
    tokio::task::yield_now().await;
    drop(driver);
    assert_eq!(early.await.expect("no panic"), Err(ProposeError::Closed));
    assert_eq!(put(&store, "/a", "1").await, Err(ProposeError::Closed));
}

#[tokio::test]
async fn a_change_of_members_right_after_opening_waits_for_nothing_else() {
    let disk = MemoryDisk::default();
    let running = Running::open(&disk);
    let change = MembershipChange::AddLearner(MemberId(2));
    assert_eq!(running.store.change_membership(change).await, Ok(()));
    running.close().await.expect("it ends well");
}
