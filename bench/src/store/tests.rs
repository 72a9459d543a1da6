//! The client and the server of the comparison, around a store in a folder of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use isopod_raft_store::{Config, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::load::{self, Ask, Window};
use super::{channel, kv, service};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_found_and_every_client_of_a_load_is_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, driver) = Store::open(Config::new(folder.path())).await.expect("it opens");
    let stop = CancellationToken::new();
    let driving = tokio::spawn(driver.run(stop.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn(service::serve(listener, store.clone()));

    let missing = channel::call(address, kv::RANGE, kv::range(b"/a")).await.expect("an answer");
    assert_eq!(kv::read_count(&missing), 0);
    channel::call(address, kv::PUT, kv::put(b"/a", b"1")).await.expect("an answer");
    let found = channel::call(address, kv::RANGE, kv::range(b"/a")).await.expect("an answer");
    assert_eq!(kv::read_count(&found), 1);
    assert_eq!(store.snapshot().get(b"/a").map(|entry| &entry.value[..]), Some(&b"1"[..]));
    let status = channel::call(address, kv::STATUS, kv::empty()).await.expect("an answer");
    assert_eq!(kv::read_status(&status), Some((1, 1)));
    let refused =
        channel::call(address, kv::MOVE_LEADER, kv::move_leader(2)).await.expect_err("no such member");
    assert!(refused.to_string().contains("status 14"), "{refused}");

    let revision = store.snapshot().revision();
    let now = Instant::now();
    let window = Window { begin: now, end: now + Duration::from_millis(300) };
    let puts = load::run(address, 23, Ask::Put, window).await.expect("all are answered");
    assert!(puts.answered >= 23 && store.snapshot().revision().0 == revision.0 + puts.answered);
    load::fill(address, 20, 50, Bytes::from_static(b"object")).await.expect("all are answered");
    assert!(store.snapshot().get(b"/objects/49").is_some());

    serving.abort();
    stop.cancel();
    driving.await.expect("no panic").expect("it ends well");
}
