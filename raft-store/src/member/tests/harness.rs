//! Some members in one thread, with a clock, a network and disks of the test's making.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use raft::eraftpb::ConfState;

use crate::command::{Op, Txn, TxnResponse};
use crate::disk::memory::MemoryDisk;
use crate::member::*;
use crate::membership::{Founding, MembershipChange};
use crate::shared::NoFate;
use crate::state::{KeyRange, Revision};
use crate::transport::letter::{Reply, Request};
use crate::{open, snapshot_file, transport};

pub(super) const CLUSTER: ClusterId = ClusterId(5);

/// One member with its disk.
pub(super) struct Node {
    pub(super) config: Config,
    pub(super) disk: MemoryDisk,
    pub(super) shared: Arc<Shared>,
    pub(super) member: Member,
    /// No message comes in or goes out.
    pub(super) cut_off: bool,
    /// What ended its part.
    pub(super) ended: Option<DriverError>,
}

pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Duration,
    /// What the network does to a letter: how many of it arrive.
    pub(super) copies: Box<dyn FnMut(&Letter) -> usize>,
}

/// A wait for an answer, polled by hand.
pub(super) struct Waiting<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Waiting<T> {
    pub(super) fn new(future: impl Future<Output = T> + 'static) -> Self {
        let mut waiting = Self(Box::pin(future));
        // The first poll hands the request in.
        assert!(waiting.poll().is_none(), "nobody can have answered yet");
        waiting
    }

    pub(super) fn poll(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

/// Small files, so that a short test goes through several segments.
pub(super) fn config(id: u64) -> Config {
    Config {
        member: MemberId(id),
        cluster: Some(CLUSTER),
        txn_bytes_max: 2 << 10,
        segment_bytes: 1,
        ..Config::new("/memory")
    }
}

impl Node {
    pub(super) fn open(config: Config, disk: MemoryDisk) -> Self {
        let (shared, member) = open::open(&config, Arc::new(disk.clone()), rand::random()).expect("it opens");
        Self { config, disk, shared, member, cut_off: false, ended: None }
    }

    /// A member with an empty folder that waits for a leader.
    pub(super) fn joining(id: u64) -> Self {
        Self::open(Config { founding: Founding::Join, ..config(id) }, MemoryDisk::default())
    }

    pub(super) fn id(&self) -> MemberId {
        self.config.member
    }

    /// Takes in what waits, and does everything up to the last sync.
    pub(super) fn step(&mut self, now: Duration) {
        if self.ended.is_none() {
            self.ended = self.try_step(now).err();
        }
    }

    fn try_step(&mut self, now: Duration) -> Result<(), DriverError> {
        let mut inputs = Vec::new();
        self.shared.inbox.take(&mut inputs, Duration::ZERO);
        let mut unsynced = self.member.step(inputs.into_iter(), now)?;
        while let Some(written) = unsynced {
            written.sync()?;
            unsynced = self.member.synced(&written)?;
        }
        for job in self.member.take_jobs() {
            let outcome = job.run(&self.disk);
            assert!(self.shared.inbox.push(Input::Done(outcome)).is_ok(), "it is open");
        }
        Ok(())
    }

    pub(super) fn propose(&self, txn: Txn) -> Waiting<Result<TxnResponse, ProposeError>> {
        let shared = self.shared.clone();
        Waiting::new(async move {
            let answer = shared.propose(txn, 100).await?;
            answer.await.unwrap_or(Err(ProposeError::Unknown))
        })
    }

    pub(super) fn confirm_read(&self) -> Waiting<Result<(), ReadError>> {
        let shared = self.shared.clone();
        Waiting::new(async move {
            let answer = shared.confirm_read().await?;
            answer.await.unwrap_or(Err(ReadError::Closed))
        })
    }

    pub(super) fn hand_in(&self, request: Request) -> Waiting<Result<Reply, NoFate>> {
        let shared = self.shared.clone();
        Waiting::new(async move { shared.hand_in(request)?.await.unwrap_or(Err(NoFate::Unknown)) })
    }

    pub(super) fn revision(&self) -> Revision {
        self.shared.state.load().revision
    }

    /// Every entry with its revisions.
    pub(super) fn content(&self) -> Vec<(Bytes, crate::Entry)> {
        let state = self.shared.state.load();
        state.range(&KeyRange::all()).map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    pub(super) fn leads(&self) -> bool {
        !self.cut_off && self.ended.is_none() && self.shared.leadership.borrow().is_leader
    }
}

impl Cluster {
    pub(super) fn of(nodes: Vec<Node>) -> Self {
        Self { nodes, now: Duration::ZERO, copies: Box::new(|_| 1) }
    }

    /// Three members that were founded together.
    pub(super) fn new() -> Self {
        let nodes = (1..=3).map(|id| {
            let disk = MemoryDisk::default();
            let conf_state = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
            let meta = Meta { cluster: CLUSTER, position: Position { index: 1, term: 1 }, conf_state };
            snapshot_file::write(&disk, &meta, &Machine::new()).expect("the disk is well");
            Node::open(config(id), disk)
        });
        Self::of(nodes.collect())
    }

    /// One member that leads itself.
    pub(super) fn alone() -> Self {
        let mut cluster = Self::of(vec![Node::open(config(1), MemoryDisk::default())]);
        cluster.leader();
        cluster
    }

    /// One tick of everybody's clock, and all messages until nobody has more to say.
    pub(super) fn tick(&mut self) {
        self.now += TICK;
        self.nodes.iter_mut().for_each(|node| node.member.tick());
        self.talk();
    }

    pub(super) fn talk(&mut self) {
        loop {
            self.nodes.iter_mut().for_each(|node| node.step(self.now));
            let sent: Vec<Letter> = self
                .nodes
                .iter_mut()
                .flat_map(|node| {
                    let letters = node.member.take_messages();
                    if node.cut_off || node.ended.is_some() { Vec::new() } else { letters }
                })
                .collect();
            let busy = self.nodes.iter().any(|node| node.ended.is_none() && node.shared.inbox.len() > 0);
            if sent.is_empty() && !busy {
                return;
            }
            sent.iter().for_each(|letter| self.deliver(letter));
        }
    }

    fn deliver(&mut self, letter: &Letter) {
        let bytes = transport::encode(CLUSTER, letter).expect("it is for another member");
        let copies = (self.copies)(letter);
        let to = self.nodes.iter().find(|node| node.id() == letter.to);
        if let Some(to) = to.filter(|to| !to.cut_off && to.ended.is_none()) {
            (0..copies).for_each(|_| to.shared.receive(&bytes).expect("it can be read"));
        }
    }

    pub(super) fn until<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..1_000 {
            if let Some(found) = found(self) {
                return found;
            }
            self.tick();
        }
        panic!("never: {what}");
    }

    /// Waits until one of those that can talk leads, and gives its place.
    pub(super) fn leader(&mut self) -> usize {
        self.until("a leader", |cluster| cluster.nodes.iter().position(Node::leads))
    }

    pub(super) fn put(
        &mut self,
        at: usize,
        key: &'static str,
        value: &'static str,
    ) -> Result<TxnResponse, ProposeError> {
        let mut waiting = self.nodes[at].propose(put(key, value));
        self.until("an answer", |_| waiting.poll())
    }

    pub(super) fn change(&mut self, at: usize, change: MembershipChange) -> Result<Reply, NoFate> {
        self.ask(at, Request::Change(change))
    }

    pub(super) fn ask(&mut self, at: usize, request: Request) -> Result<Reply, NoFate> {
        let mut waiting = self.nodes[at].hand_in(request);
        self.until("an answer", |_| waiting.poll())
    }

    /// Adds a member and waits until it has everything and votes.
    pub(super) fn grow(&mut self, id: u64) {
        self.nodes.push(Node::joining(id));
        let member = MemberId(id);
        assert_eq!(self.change(0, MembershipChange::AddLearner(member)), Ok(Reply::Done));
        self.until("it may vote", |cluster| {
            let promoted = cluster.change(0, MembershipChange::Promote(member));
            (promoted == Ok(Reply::Done)).then_some(())
        });
    }

    pub(super) fn everyone_agrees(&mut self) {
        self.until("everyone has the same", |cluster| {
            let taking_part: Vec<&Node> = cluster.nodes.iter().filter(|node| node.ended.is_none()).collect();
            taking_part.windows(2).all(|pair| pair[0].revision() == pair[1].revision()).then_some(())
        });
        let contents: Vec<_> =
            self.nodes.iter().filter(|node| node.ended.is_none()).map(Node::content).collect();
        assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "{contents:?}");
    }
}

pub(super) fn put(key: &'static str, value: &'static str) -> Txn {
    Txn::of(vec![Op::Put(Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()))])
}
