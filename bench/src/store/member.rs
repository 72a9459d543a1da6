//! A member of the store in a process of its own, asked through the same calls as etcd: nothing of Kubernetes, so
//! that the two stores are compared and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use isopod_control::peers::{Admission, Inbound, Peers};
use isopod_control::security::tls::Own;
use isopod_control::security::{CertificateAuthority, ca, tls};
use isopod_raft_store::transport::MessageError;
use isopod_raft_store::{ClusterId, Config, Founding, MemberId, MembershipChange, Progress, Store};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::service;

/// All members of a run belong to this cluster; nobody else knows their authority.
const CLUSTER: ClusterId = ClusterId(0x1507_0d00_be4c);

/// How long a member may take to be taken in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Arguments of `store-member`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Who this member is; 1 founds the cluster and takes the others in
    #[arg(long, value_name = "N")]
    id: u64,
    /// Folder of its data
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// Folder of the authority that all members share
    #[arg(long, value_name = "D")]
    authority: PathBuf,
    /// Where it is asked
    #[arg(long, value_name = "A")]
    listen: SocketAddr,
    /// Every member's address for the others, in the order of their numbers
    #[arg(long, value_name = "A", value_delimiter = ',')]
    peers: Vec<SocketAddr>,
}

/// Serves until standard input ends, so that it does not outlive who started it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let own = MemberId(args.id);
    let authority = Arc::new(CertificateAuthority::load_or_create(&args.authority)?);
    let issuer = Arc::clone(&authority);
    let shown = Own::new(ca::LIFE, move || issuer.issue_peer(args.id))?;
    let tls = tls::peers(&authority, shown)?;
    let addresses: BTreeMap<MemberId, String> =
        (1..).map(MemberId).zip(args.peers.iter().map(SocketAddr::to_string)).collect();
    let advertised = addresses.get(&own).context("there is no address for this member")?.clone();
    let peer_listener = TcpListener::bind(&advertised).await?;
    let peers = Peers::new(own, tls, advertised);
    peers.set_addresses(&addresses);
    let founding = if args.id == 1 { Founding::Alone } else { Founding::Join };
    let config = Config { member: own, cluster: Some(CLUSTER), founding, ..Config::new(args.data_dir) };
    let (store, driver) = Store::open_with(config, Arc::new(peers.clone())).await?;
    let stop = CancellationToken::new();
    let driver = tokio::spawn(driver.run(stop.clone()));
    let talking = tokio::spawn(peers.run(peer_listener, Arc::new(ToStore(store.clone())), stop.clone()));
    let listener = TcpListener::bind(args.listen).await?;
    let serving = tokio::spawn(service::serve(listener, store.clone()));
    take_in(store, addresses.len() as u64).await?;
    crate::say("ready")?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    serving.abort();
    stop.cancel();
    driver.await??;
    talking.await??;
    Ok(())
}

/// Makes voters of all members, one after the other: the first member's work when the cluster is new.
async fn take_in(store: Store, members: u64) -> anyhow::Result<()> {
    if store.id() != MemberId(1) {
        return Ok(());
    }
    for member in (2..=members).map(MemberId) {
        if store.members().borrow().voters.contains(&member) {
            continue;
        }
        change(&store, MembershipChange::AddLearner(member)).await?;
        let has_caught_up = |progress: &Progress| progress.member == member && progress.behind == 0;
        let deadline = Instant::now() + JOIN_TIMEOUT;
        while !store.progress().iter().any(has_caught_up) {
            ensure!(Instant::now() < deadline, "member {member} does not catch up");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        change(&store, MembershipChange::Promote(member)).await?;
    }
    Ok(())
}

/// Tries until it is done: two voters on a busy machine may lose each other for a moment.
async fn change(store: &Store, change: MembershipChange) -> anyhow::Result<()> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    loop {
        match store.change_membership(change).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
            changed => return Ok(changed?),
        }
    }
}

struct ToStore(Store);

impl Inbound for ToStore {
    fn admit(&self, _: MemberId) -> Admission {
        Admission::Welcome
    }

    fn receive(&self, from: MemberId, message: &[u8]) -> Result<(), MessageError> {
        self.0.receive_from(from, message)
    }
}
