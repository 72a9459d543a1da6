//! Two members with real sockets on loopback: who is let in, the order of messages, full queues, reconnecting.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;
use crate::security::ca::{self, IssuedCertificate};
use crate::security::tls::Own;
use crate::security::{CertificateAuthority, tls};

/// How long something may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what comes, and lets everybody in who was not removed.
#[derive(Default)]
struct Kept {
    messages: Mutex<Vec<(MemberId, Bytes)>>,
    removes_all: AtomicBool,
}

impl Kept {
    fn from(&self, member: u64) -> Vec<Bytes> {
        let messages = self.messages.lock().unwrap();
        messages
            .iter()
            .filter(|(from, _)| *from == MemberId(member))
            .map(|(_, bytes)| bytes.clone())
            .collect()
    }
}

impl Inbound for Kept {
    fn admit(&self, _: MemberId) -> Admission {
        if self.removes_all.load(Ordering::Relaxed) { Admission::Removed } else { Admission::Welcome }
    }

    fn receive(&self, from: MemberId, message: &[u8]) -> Result<(), MessageError> {
        self.messages.lock().unwrap().push((from, Bytes::copy_from_slice(message)));
        Ok(())
    }
}

/// One end, which runs until it is dropped.
struct End {
    peers: Peers,
    kept: Arc<Kept>,
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

fn own(issued: Result<IssuedCertificate, ca::Error>) -> Own {
    let issued = issued.expect("issued");
    Own::new(ca::LIFE, move || Ok(issued.clone())).expect("sound")
}

impl Drop for End {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl End {
    async fn start(member: u64, authority: &CertificateAuthority, address: &str) -> End {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let address = listener.local_addr().expect("bound");
        let tls = tls::peers(authority, own(authority.issue_peer(member))).expect("sound certificates");
        let peers = Peers::new(MemberId(member), tls, address.to_string());
        let (kept, shutdown) = (Arc::new(Kept::default()), CancellationToken::new());
        let running = tokio::spawn(peers.clone().run(listener, kept.clone(), shutdown.clone()));
        End { peers, kept, address, shutdown, running }
    }

    fn knows(&self, others: &[(u64, SocketAddr)]) {
        let addresses = others.iter().map(|(member, address)| (MemberId(*member), address.to_string()));
        self.peers.set_addresses(&addresses.collect());
    }

    fn status(&self) -> PeerStatus {
        self.peers.status().remove(0)
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.running).await.expect("no panic").expect("it ends well");
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not happen"));
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate().expect("a fresh key")
}

fn numbered(number: u32) -> Bytes {
    let mut message = vec![0; number as usize % 40_000];
    message.extend_from_slice(&number.to_le_bytes());
    message.into()
}

#[tokio::test]
async fn messages_arrive_whole_in_order_and_both_ways() {
    let authority = authority();
    let (one, two) =
        (End::start(1, &authority, "127.0.0.1:0").await, End::start(2, &authority, "127.0.0.1:0").await);
    one.knows(&[(1, one.address), (2, two.address)]);
    two.knows(&[(1, one.address), (2, two.address)]);
    // Far less than a queue takes.
    let mut sent = Vec::new();
    for number in (0..400).map(|number| number * 101) {
        sent.push(numbered(number));
        one.peers.send(MemberId(2), numbered(number));
        two.peers.send(MemberId(1), numbered(number));
    }
    eventually("all messages", || two.kept.from(1).len() == 400 && one.kept.from(2).len() == 400).await;
    assert_eq!(two.kept.from(1), sent);
    assert_eq!(one.kept.from(2), sent);
    let status = one.status();
    assert!(status.connected && status.sent == 400 && status.dropped == 0, "{status:?}");
}

#[tokio::test]
async fn a_member_of_another_cluster_is_not_let_in_and_lets_nobody_in() {
    let (ours, theirs) = (authority(), authority());
    let (one, two) = (End::start(1, &ours, "127.0.0.1:0").await, End::start(2, &theirs, "127.0.0.1:0").await);
    one.knows(&[(2, two.address)]);
    two.knows(&[(1, one.address)]);
    one.peers.send(MemberId(2), Bytes::from_static(b"secret"));
    two.peers.send(MemberId(1), Bytes::from_static(b"secret"));
    // A queue is emptied when a try to connect has failed.
    eventually("both give up a message", || one.status().dropped == 1 && two.status().dropped == 1).await;
    assert!(one.kept.messages.lock().unwrap().is_empty() && two.kept.messages.lock().unwrap().is_empty());
    assert!(!one.status().connected && !two.status().connected);
}

#[tokio::test]
async fn a_certificate_that_is_no_members_or_another_members_opens_nothing() {
    let authority = authority();
    let two = End::start(2, &authority, "127.0.0.1:0").await;
    // A node's certificate, for both ends.
    let node = own(authority.issue_client(&ca::Subject::node("n1")));
    let node_tls = tls::peers(&authority, node).expect("sound certificates");
    let node = Peers::new(MemberId(1), node_tls, "127.0.0.1:1".into());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free address");
    let stop = CancellationToken::new();
    let running = tokio::spawn(node.clone().run(listener, Arc::new(Kept::default()), stop.clone()));
    node.set_addresses(&BTreeMap::from([(MemberId(2), two.address.to_string())]));
    node.send(MemberId(2), Bytes::from_static(b"hello"));
    eventually("the node gives up", || node.status()[0].dropped + node.status()[0].sent > 0).await;
    // Whoever answers at the address of member 3 must be member 3.
    let one = End::start(1, &authority, "127.0.0.1:0").await;
    one.knows(&[(3, two.address)]);
    one.peers.send(MemberId(3), Bytes::from_static(b"hello"));
    eventually("the wrong member is not spoken to", || one.status().dropped == 1).await;
    assert!(two.kept.messages.lock().unwrap().is_empty());
    stop.cancel();
    running.await.expect("no panic").expect("it ends well");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_costs_a_full_queue_and_hinders_no_other() {
    let authority = authority();
    let (one, three) =
        (End::start(1, &authority, "127.0.0.1:0").await, End::start(3, &authority, "127.0.0.1:0").await);
    // It accepts connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free address");
    one.knows(&[(2, silent.local_addr().expect("bound")), (3, three.address)]);
    let large = Bytes::from(vec![0; 8 << 20]);
    for _ in 0..6 {
        one.peers.send(MemberId(2), large.clone());
    }
    one.peers.send(MemberId(3), Bytes::from_static(b"hello"));
    eventually("the other gets its message", || three.kept.from(1).len() == 1).await;
    let status = one.status();
    assert!(status.dropped_bytes >= 2 * (8 << 20), "{status:?}");
    assert!(!status.connected);
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again_at_its_old_or_a_new_address() {
    let authority = authority();
    let (one, two) =
        (End::start(1, &authority, "127.0.0.1:0").await, End::start(2, &authority, "127.0.0.1:0").await);
    one.knows(&[(2, two.address)]);
    eventually("connected", || one.status().connected).await;
    let old = two.address;
    two.stop().await;
    eventually("the loss is noticed", || !one.status().connected).await;
    let two = End::start(2, &authority, &old.to_string()).await;
    eventually("connected again", || one.status().connected).await;
    one.peers.send(MemberId(2), Bytes::from_static(b"again"));
    eventually("a message", || two.kept.from(1) == [Bytes::from_static(b"again")]).await;
    two.stop().await;
    // It says itself where it is now.
    let two = End::start(2, &authority, "127.0.0.1:0").await;
    two.knows(&[(1, one.address)]);
    eventually("its new address is known", || one.status().address == two.address.to_string()).await;
    eventually("connected there", || one.status().connected).await;
    one.peers.send(MemberId(2), Bytes::from_static(b"moved"));
    eventually("a message", || two.kept.from(1) == [Bytes::from_static(b"moved")]).await;
}

#[tokio::test]
async fn a_removed_member_is_told() {
    let authority = authority();
    let (one, two) =
        (End::start(1, &authority, "127.0.0.1:0").await, End::start(2, &authority, "127.0.0.1:0").await);
    one.knows(&[(2, two.address)]);
    eventually("connected", || one.status().connected).await;
    two.kept.removes_all.store(true, Ordering::Relaxed);
    one.peers.send(MemberId(2), Bytes::from_static(b"a message"));
    let told = tokio::time::timeout(PATIENCE, one.peers.removed()).await.expect("it is told in time");
    assert_eq!(told, MemberId(2));
}

#[tokio::test]
async fn a_peer_that_is_forgotten_is_sent_nothing() {
    let authority = authority();
    let (one, two) =
        (End::start(1, &authority, "127.0.0.1:0").await, End::start(2, &authority, "127.0.0.1:0").await);
    one.knows(&[(2, two.address)]);
    eventually("connected", || one.status().connected).await;
    one.knows(&[]);
    one.peers.send(MemberId(2), Bytes::from_static(b"lost"));
    assert!(one.peers.status().is_empty());
    one.knows(&[(2, two.address)]);
    one.peers.send(MemberId(2), Bytes::from_static(b"found"));
    eventually("a message", || !two.kept.from(1).is_empty()).await;
    assert_eq!(two.kept.from(1), [Bytes::from_static(b"found")]);
}
