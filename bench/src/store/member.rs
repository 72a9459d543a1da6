//! A member of the store in a process of its own, asked through the same calls as etcd: nothing of Kubernetes, so
//! that the two stores are compared and nothing else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use isopod_control::peers::{Admission, Inbound, Peers};
use isopod_control::security::{CertificateAuthority, tls};
use isopod_raft_store::transport::MessageError;
use isopod_raft_store::{ClusterId, Config, Founding, MemberId, MembershipChange, Op, Progress, Store, Txn};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::kv;

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
    let authority = CertificateAuthority::load_or_create(&args.authority)?;
    let tls = tls::peers(&authority, &authority.issue_peer(args.id)?)?;
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
    let serving = tokio::spawn(serve(listener, store.clone()));
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

async fn serve(listener: TcpListener, store: Store) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let store = store.clone();
        let service = service_fn(move |request| answer(store.clone(), request));
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(4096)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(store: Store, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let message = kv::unframe(body).context("no gRPC message");
    let mut frames = Vec::new();
    let status = match handle(&store, &path, message).await {
        Ok(answer) => {
            frames.push(Ok(Frame::data(answer)));
            ("0", None)
        }
        // gRPC's "unavailable": the client asks elsewhere.
        Err(error) => ("14", HeaderValue::from_str(&format!("{error:#}")).ok()),
    };
    let mut trailers = HeaderMap::from_iter([(
        header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status.0),
    )]);
    if let Some(message) = status.1 {
        trailers.insert("grpc-message", message);
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let body = StreamBody::new(futures::stream::iter(frames));
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(body)?)
}

async fn handle(store: &Store, path: &str, message: anyhow::Result<Bytes>) -> anyhow::Result<Bytes> {
    let message = message?;
    match path {
        kv::PUT => {
            let (key, value) = kv::read_put(&message).context("no PutRequest")?;
            let response = store.propose(Txn::of(vec![Op::Put(key, value)])).await?;
            Ok(kv::put_response(response.revision.0))
        }
        kv::RANGE => {
            let key = kv::read_range(&message).context("no RangeRequest")?;
            let snapshot = store.linearizable().await?;
            let found = snapshot.get(&key);
            let found = found.map(|entry| (&*entry.value, entry.created.0, entry.modified.0));
            Ok(kv::range_response(snapshot.revision().0, &key, found))
        }
        kv::STATUS => {
            let leader = store.leadership().borrow().leader.map_or(0, |leader| leader.0);
            Ok(kv::status_response(store.id().0, leader))
        }
        kv::MOVE_LEADER => {
            let target = kv::read_move_leader(&message).context("no MoveLeaderRequest")?;
            store.transfer_leadership(Some(MemberId(target))).await?;
            Ok(kv::empty())
        }
        _ => anyhow::bail!("{path} is not served"),
    }
}
