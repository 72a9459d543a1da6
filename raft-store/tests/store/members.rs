//! Three members with their drivers, on real folders; messages go from one to the other in this process.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use isopod_raft_store::transport::Transport;
use isopod_raft_store::{
    ClusterId, Config, DriverError, Founding, KeyRange, MemberId, MembershipChange, MembershipError, Op,
    Revision, Store, Txn,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::running::eventually;

/// Knows the members that can be reached.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<HashMap<MemberId, Store>>>);

impl Network {
    fn members(&self) -> std::sync::MutexGuard<'_, HashMap<MemberId, Store>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Network {
    fn send(&self, to: MemberId, message: Bytes) {
        let to = self.members().get(&to).cloned();
        // What cannot be delivered is lost.
        to.and_then(|to| to.receive(&message).ok());
    }
}

struct Member {
    store: Store,
    shutdown: CancellationToken,
    driver: JoinHandle<Result<(), DriverError>>,
}

impl Member {
    async fn open(network: &Network, config: Config) -> Self {
        let over = Arc::new(network.clone());
        let (store, driver) = Store::open_with(config, over).await.expect("it opens");
        network.members().insert(store.id(), store.clone());
        let shutdown = CancellationToken::new();
        let driver = tokio::spawn(driver.run(shutdown.clone()));
        Self { store, shutdown, driver }
    }

    /// Hands over and ends.
    async fn close(self, network: &Network) {
        self.shutdown.cancel();
        self.driver.await.expect("no panic").expect("it ends well");
        network.members().remove(&self.store.id());
    }

    /// Nobody hears of it any more.
    async fn cut_off(self, network: &Network) {
        network.members().remove(&self.store.id());
        self.shutdown.cancel();
        drop(self.driver.await);
    }

    async fn put(&self, key: &str, value: &str) -> Revision {
        let op = Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        self.store.propose(Txn::of(vec![op])).await.expect("it commits").revision
    }
}

fn config(folder: &Path, id: u64, founding: Founding) -> Config {
    Config {
        member: MemberId(id),
        cluster: Some(ClusterId(3)),
        founding,
        ..Config::new(folder.join(id.to_string()))
    }
}

/// A cluster that grew to three.
async fn three(network: &Network, folder: &Path) -> [Member; 3] {
    let first = Member::open(network, config(folder, 1, Founding::Alone)).await;
    first.put("/first", "1").await;
    let second = grow(network, folder, &first, 2).await;
    let third = grow(network, folder, &first, 3).await;
    [first, second, third]
}

async fn grow(network: &Network, folder: &Path, any: &Member, id: u64) -> Member {
    let member = MemberId(id);
    any.store.change_membership(MembershipChange::AddLearner(member)).await.expect("it is added");
    let joined = Member::open(network, config(folder, id, Founding::Join)).await;
    eventually("it may vote", async || {
        match any.store.change_membership(MembershipChange::Promote(member)).await {
            Ok(()) => true,
            Err(MembershipError::Behind { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    joined
}

fn leads(member: &Member) -> bool {
    member.store.leadership().borrow().is_leader
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_acknowledges_every_member_reads() {
    let (network, folder) = (Network::default(), tempfile::tempdir().expect("a temporary folder"));
    let members = three(&network, folder.path()).await;
    for round in 0..20_usize {
        let written = members[round % 3].put("/a", &round.to_string()).await;
        for reader in &members {
            let state = reader.store.linearizable().await.expect("there is a leader");
            assert!(state.revision() >= written, "member {}", reader.store.id());
        }
    }
    for member in members {
        member.close(&network).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_watches_go_on_over_the_loss_of_the_leader() {
    let (network, folder) = (Network::default(), tempfile::tempdir().expect("a temporary folder"));
    let members = three(&network, folder.path()).await;
    let (leaders, rest): (Vec<Member>, Vec<Member>) = members.into_iter().partition(leads);
    let from = rest[0].store.snapshot().revision();
    let mut watch = rest[0].store.watch(KeyRange::prefix("/a/"), from).expect("it is kept");
    rest[0].put("/a/1", "before").await;
    for leader in leaders {
        leader.cut_off(&network).await;
    }
    rest[1].put("/a/2", "after").await;
    rest[0].put("/a/3", "after").await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(watch.next().await.expect("it goes on").iter().map(|event| event.key.clone()));
    }
    assert_eq!(seen, ["/a/1", "/a/2", "/a/3"]);
    for member in rest {
        member.cut_off(&network).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_loses_no_write_and_a_member_that_comes_back_has_all() {
    let (network, folder) = (Network::default(), tempfile::tempdir().expect("a temporary folder"));
    let mut members = Vec::from(three(&network, folder.path()).await);
    for round in 0..3 {
        let leader = members.iter().position(leads).expect("one leads");
        let leader = members.remove(leader);
        let (id, writer) = (leader.store.id(), members[0].store.clone());
        let writes = tokio::spawn(async move {
            for number in 0..50 {
                let op = Op::Put(format!("/{round}/{number}").into(), "value".into());
                writer.propose(Txn::of(vec![op])).await.expect("no write fails meanwhile");
            }
        });
        leader.close(&network).await;
        writes.await.expect("no panic");
        let back = Member::open(&network, config(folder.path(), id.0, Founding::Join)).await;
        let newest = members[0].store.snapshot().revision();
        let waited = back.store.wait_applied(newest, Duration::from_secs(60)).await;
        assert_eq!(waited.expect("it catches up").count(&KeyRange::prefix(format!("/{round}/"))), 50);
        members.push(back);
        eventually("one leads", async || members.iter().any(leads)).await;
    }
    for member in members {
        member.close(&network).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_removed_ends_and_says_so() {
    let (network, folder) = (Network::default(), tempfile::tempdir().expect("a temporary folder"));
    let [first, second, third] = three(&network, folder.path()).await;
    let id = third.store.id();
    second.store.change_membership(MembershipChange::Remove(id)).await.expect("it is removed");
    let ended = third.driver.await.expect("no panic");
    assert!(matches!(ended, Err(DriverError::Removed { member }) if member == id), "{ended:?}");
    eventually("all know", async || {
        [&first, &second].iter().all(|member| !member.store.members().borrow().contains(id))
    })
    .await;
    second.close(&network).await;
    first.close(&network).await;
}
