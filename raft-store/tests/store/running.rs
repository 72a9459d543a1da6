//! An open store with its driver, for the tests.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use isopod_raft_store::{ClusterId, Config, DriverError, Op, OpenError, Store, Txn};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Running {
    pub(crate) store: Store,
    shutdown: CancellationToken,
    driver: JoinHandle<Result<(), DriverError>>,
}

/// The options that most tests use: a fixed cluster, so that files can be compared.
pub(crate) fn config(dir: &Path) -> Config {
    Config { cluster: Some(ClusterId(7)), ..Config::new(dir) }
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
}

impl Running {
    pub(crate) async fn open(dir: &Path) -> Self {
        Self::open_with(config(dir)).await.expect("the folder opens")
    }

    pub(crate) async fn open_with(config: Config) -> Result<Self, OpenError> {
        let (store, driver) = Store::open(config).await?;
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let driver = tokio::spawn(async move { driver.run(token).await });
        Ok(Self { store, shutdown, driver })
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.store.propose(Txn::of(vec![put(key, value)])).await.expect("it commits");
    }

    /// Ends the driver; the folder is free afterwards, once the handles are gone.
    pub(crate) async fn close(self) {
        self.shutdown.cancel();
        self.driver.await.expect("the driver does not panic").expect("it ends well");
    }
}

/// Waits for something that another thread brings about.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
