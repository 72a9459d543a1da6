//! Three members in one thread, with a clock, a network and disks of the test's making.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use raft::eraftpb::ConfState;

use super::*;
use crate::command::{Compare, Op, Txn, TxnResponse};
use crate::disk::memory::MemoryDisk;
use crate::state::{KeyRange, Revision};
use crate::{open, snapshot_file, transport};

const CLUSTER: ClusterId = ClusterId(5);

/// One member with its disk. `cut_off`: no message comes in or goes out.
struct Node {
    config: Config,
    disk: MemoryDisk,
    shared: Arc<Shared>,
    member: Member,
    cut_off: bool,
}

struct Cluster {
    nodes: Vec<Node>,
    now: Duration,
}

/// A wait for an answer, polled by hand.
struct Waiting<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Waiting<T> {
    fn new(future: impl Future<Output = T> + 'static) -> Self {
        let mut waiting = Self(Box::pin(future));
        // The first poll hands the request in.
        assert!(waiting.poll().is_none(), "nobody can have answered yet");
        waiting
    }

    fn poll(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

impl Node {
    fn open(id: u64, disk: MemoryDisk) -> Self {
        let config = Config {
            member: MemberId(id),
            cluster: Some(CLUSTER),
            txn_bytes_max: 2 << 10,
            segment_bytes: 1,
            ..Config::new("/memory")
        };
        let (shared, member) = open::open(&config, Arc::new(disk.clone()), rand::random()).expect("it opens");
        Self { config, disk, shared, member, cut_off: false }
    }

    /// Takes in what waits, and does everything up to the last sync.
    fn step(&mut self, now: Duration) {
        let mut inputs = Vec::new();
        self.shared.inbox.take(&mut inputs, Duration::ZERO);
        let mut unsynced = self.member.step(inputs.into_iter(), now).expect("the disk is well");
        while let Some(written) = unsynced {
            written.sync().expect("the disk is well");
            unsynced = self.member.synced(&written).expect("the disk is well");
        }
        for job in self.member.take_jobs() {
            let outcome = job.run(&self.disk);
            assert!(self.shared.inbox.push(Input::Done(outcome)).is_ok(), "it is open");
        }
    }

    fn propose(&self, txn: Txn) -> Waiting<Result<TxnResponse, ProposeError>> {
        let shared = self.shared.clone();
        Waiting::new(async move {
            let answer = shared.propose(txn, 100).await?;
            answer.await.unwrap_or(Err(ProposeError::Unknown))
        })
    }

    fn confirm_read(&self) -> Waiting<Result<(), ReadError>> {
        let shared = self.shared.clone();
        Waiting::new(async move {
            let answer = shared.confirm_read().await?;
            answer.await.unwrap_or(Err(ReadError::Closed))
        })
    }

    fn revision(&self) -> Revision {
        self.shared.state.load().revision
    }

    /// Every entry with its revisions.
    fn content(&self) -> Vec<(Bytes, crate::Entry)> {
        let state = self.shared.state.load();
        state.range(&KeyRange::all()).map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }
}

impl Cluster {
    /// Three members that were founded together.
    fn new() -> Self {
        let nodes = (1..=3).map(|id| {
            let disk = MemoryDisk::default();
            let conf_state = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
            let meta = Meta { cluster: CLUSTER, position: Position { index: 1, term: 1 }, conf_state };
            snapshot_file::write(&disk, &meta, &Machine::new()).expect("the disk is well");
            Node::open(id, disk)
        });
        Self { nodes: nodes.collect(), now: Duration::ZERO }
    }

    /// One tick of everybody's clock, and all messages until nobody has more to say.
    fn tick(&mut self) {
        self.now += TICK;
        self.nodes.iter_mut().for_each(|node| node.member.tick());
        self.talk();
    }

    fn talk(&mut self) {
        loop {
            self.nodes.iter_mut().for_each(|node| node.step(self.now));
            let sent: Vec<Message> = self
                .nodes
                .iter_mut()
                .flat_map(|node| {
                    let messages = node.member.take_messages();
                    if node.cut_off { Vec::new() } else { messages }
                })
                .collect();
            if sent.is_empty() {
                return;
            }
            for message in sent {
                let bytes = transport::encode(CLUSTER, &message).expect("it is for another member");
                let to = &self.nodes[(message.to - 1) as usize];
                if !to.cut_off {
                    to.shared.receive(&bytes).expect("it can be read");
                }
            }
        }
    }

    fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..500 {
            if let Some(found) = found(self) {
                return found;
            }
            self.tick();
        }
        panic!("never: {what}");
    }

    /// Waits until one of those that can talk leads, and gives its place.
    fn leader(&mut self) -> usize {
        self.until("a leader", |cluster| {
            cluster.nodes.iter().position(|node| !node.cut_off && node.shared.leadership.borrow().is_leader)
        })
    }

    fn put(
        &mut self,
        at: usize,
        key: &'static str,
        value: &'static str,
    ) -> Result<TxnResponse, ProposeError> {
        let mut waiting = self.nodes[at].propose(put(key, value));
        self.until("an answer", |_| waiting.poll())
    }

    fn everyone_agrees(&mut self) {
        self.until("everyone has the same", |cluster| {
            let [a, b, c] = &cluster.nodes[..] else { unreachable!("there are three") };
            (a.revision() == b.revision() && b.revision() == c.revision()).then_some(())
        });
        let contents: Vec<_> = self.nodes.iter().map(Node::content).collect();
        assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "{contents:?}");
    }
}

fn put(key: &'static str, value: &'static str) -> Txn {
    Txn::of(vec![Op::Put(Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()))])
}

#[test]
fn three_members_apply_the_same_writes_at_the_same_revisions() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for number in 0..20 {
        let response = cluster.put(leader, ["/a", "/b", "/c"][number % 3], "value").expect("it commits");
        assert_eq!(response.revision, Revision(2 + number as u64));
    }
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[(leader + 1) % 3].revision(), Revision(21));
}

#[test]
fn one_member_alone_leads_and_serves_reads_at_once() {
    let mut node = Node::open(1, MemoryDisk::default());
    assert!(node.shared.sole_voter.load(Ordering::Relaxed), "reads need no leader");
    node.step(Duration::ZERO);
    assert!(node.shared.leadership.borrow().is_leader);
}

#[test]
fn a_member_that_does_not_lead_refuses_writes_and_says_who_does() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.tick();
    let refused = cluster.put((leader + 1) % 3, "/a", "value");
    let expected = ProposeError::NotLeader { leader: Some(MemberId(leader as u64 + 1)) };
    assert_eq!(refused, Err(expected));
}

#[test]
fn a_read_on_any_member_sees_every_acknowledged_write() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for at in 0..3 {
        let written = cluster.put(leader, "/a", "value").expect("it commits").revision;
        // Several at once share a question.
        let mut reads = [cluster.nodes[at].confirm_read(), cluster.nodes[at].confirm_read()];
        for read in &mut reads {
            cluster.until("a confirmation", |_| read.poll()).expect("there is a leader");
        }
        assert!(cluster.nodes[at].revision() >= written, "member {}", at + 1);
    }
}

#[test]
fn a_read_without_a_leader_is_refused_in_time() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.nodes.iter_mut().for_each(|node| node.cut_off = true);
    let mut read = cluster.nodes[leader].confirm_read();
    let answer = cluster.until("an answer", |_| read.poll());
    assert_eq!(answer, Err(ReadError::NoLeader), "a leader that nobody follows must not confirm");
    let mut write = cluster.nodes[leader].propose(put("/late", "value"));
    let answer = cluster.until("an answer", |_| write.poll());
    assert_eq!(answer, Err(ProposeError::NotLeader { leader: None }));
}

#[test]
fn a_deposed_leaders_write_does_not_happen_and_it_is_told_so() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    cluster.put(old, "/a", "1").expect("it commits");
    let old_term = cluster.nodes[old].shared.leadership.borrow().term;
    cluster.nodes[old].cut_off = true;
    let mut lost = cluster.nodes[old].propose(put("/a", "lost"));
    cluster.nodes[old].step(cluster.now);
    let new = cluster.leader();
    assert_ne!(new, old);
    cluster.put(new, "/a", "2").expect("two of three commit");
    assert!(lost.poll().is_none(), "it may still come to be");
    cluster.nodes[old].cut_off = false;
    let answer = cluster.until("an answer", |_| lost.poll());
    assert_eq!(answer, Err(ProposeError::Superseded));
    cluster.everyone_agrees();
    // And what was decided in the old term cannot land in the new one.
    let mut late = put("/a", "late");
    late.compares.push(Compare::Term(old_term));
    let leader = cluster.leader();
    let mut waiting = cluster.nodes[leader].propose(late);
    let answer = cluster.until("an answer", |_| waiting.poll()).expect("it is applied");
    assert_eq!(answer.failed, Some(0));
    assert_eq!(cluster.nodes[leader].content()[0].1.value, "2");
}

#[test]
fn members_that_crash_all_at_once_come_back_with_what_was_acknowledged() {
    for seed in 0..30 {
        let mut cluster = Cluster::new();
        let mut acknowledged = Revision::FIRST;
        for round in 0..3 {
            let leader = cluster.leader();
            for number in 0..5 + round {
                let key = ["/a", "/b", "/c"][number % 3];
                acknowledged = cluster.put(leader, key, "value").expect("it commits").revision;
            }
            // Something under way that nobody has acknowledged.
            drop(cluster.nodes[leader].propose(put("/under-way", "value")));
            cluster.nodes[leader].step(cluster.now);
            for (at, node) in cluster.nodes.iter_mut().enumerate() {
                let disk = node.disk.crashed(seed * 100 + at as u64);
                *node = Node::open(node.config.member.0, disk);
            }
            cluster.now = Duration::ZERO;
            let leader = cluster.leader();
            assert!(cluster.nodes[leader].revision() >= acknowledged, "seed {seed}, round {round}");
            cluster.everyone_agrees();
        }
    }
}

#[test]
fn the_same_log_gives_the_same_snapshot_bytes_on_every_member() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for number in 0..30 {
        cluster.put(leader, ["/a", "/b", "/c"][number % 3], "value").expect("it commits");
    }
    cluster.everyone_agrees();
    let mut files = Vec::new();
    for node in &cluster.nodes {
        let Member { applied, conf_state, machine, .. } = &node.member;
        let meta = Meta { cluster: CLUSTER, position: *applied, conf_state: conf_state.clone() };
        snapshot_file::write(&node.disk, &meta, machine).expect("the disk is well");
        files.push(node.disk.content(&snapshot_file::name_of(applied.index)));
    }
    assert!(files[0] == files[1] && files[1] == files[2]);
}
