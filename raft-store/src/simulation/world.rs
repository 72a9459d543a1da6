//! The queue of events and what each of them does.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::ConfState;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clients::{self, Client, Ended, Histories, Request};
use super::faults::{Follow, Relief};
use super::network::Network;
use super::node::{Effects, End, Node};
use super::operator::Operator;
use super::oracle::{Check, Oracle, violation};
use super::profile::{Ending, Profile};
use super::trace::{Trace, digest};
use super::watchers::{Look, Watcher};
use super::{Micros, Report, Statistics};
use crate::config::Config;
use crate::disk::memory::MemoryDisk;
use crate::error::OpenError;
use crate::log::frame::Position;
use crate::machine::Machine;
use crate::membership::{ClusterId, Founding, MemberId};
use crate::snapshot_file::{self, Meta};
use crate::state::KeyRange;
use crate::transport::Body;
use crate::worker::Job;

pub(super) const CLUSTER: ClusterId = ClusterId(5);

/// From an input to the turn of the driver that takes it.
const WAKE_UP: Micros = 20;

pub(super) enum Event {
    Turn {
        at: usize,
        life: u64,
    },
    Synced {
        at: usize,
        life: u64,
    },
    Work {
        at: usize,
        life: u64,
        job: Job,
    },
    Deliver {
        to: u64,
        bytes: Bytes,
    },
    Call {
        client: usize,
    },
    Look {
        watcher: usize,
    },
    Strike,
    /// The second part of a fault.
    Follow(Follow),
    Relief(Relief),
    /// Somebody looks after members that lost what they had.
    Tend,
    Start {
        at: usize,
    },
}

pub(super) struct World {
    pub(super) profile: Profile,
    pub(super) random: StdRng,
    pub(super) now: Micros,
    queue: BTreeMap<(Micros, u64), Event>,
    sequence: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    /// How often links were cut.
    pub(super) cuts: u64,
    /// The member that lost what it had, or has something wrong.
    pub(super) lost: Option<usize>,
    /// Clients only read.
    pub(super) lull: bool,
    /// A whole store as somebody saved it.
    pub(super) saved: Option<(Meta, Machine)>,
    pub(super) clients: Vec<Client>,
    pub(super) watchers: Vec<Watcher>,
    pub(super) keys: Vec<Bytes>,
    pub(super) histories: Histories,
    pub(super) oracle: Oracle,
    pub(super) operator: Operator,
    pub(super) trace: Trace,
    pub(super) statistics: Statistics,
    /// Faults may happen.
    pub(super) stormy: bool,
}

impl World {
    pub(super) fn new(seed: u64, profile: Profile, print: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let all = profile.members + profile.newcomers;
        let nodes = (1..=all).map(|id| node(id, &profile, &mut random)).collect();
        let places = 0..all as usize;
        let clients =
            (0..profile.clients).map(|_| Client::new(random.random_range(places.clone()))).collect();
        let keys: Vec<Bytes> = (0..profile.keys).map(|number| format!("/key/{number}").into()).collect();
        let ranges = [KeyRange::all(), KeyRange::prefix("/key/"), KeyRange::key(keys[0].clone())];
        let watchers = (0..profile.watchers)
            .map(|at| Watcher::new(ranges[at % 3].clone(), random.random_range(places.clone())));
        let watchers = watchers.collect();
        let mut trace = Trace::new(print);
        trace.note(0, &[seed], || format!("seed {seed}: {profile:#?}"));
        Self {
            random,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            nodes,
            network: Network::new(profile.weather),
            cuts: 0,
            lost: None,
            lull: false,
            saved: None,
            clients,
            watchers,
            keys,
            histories: Histories::default(),
            oracle: Oracle::after(1),
            operator: Operator::default(),
            trace,
            statistics: Statistics::default(),
            stormy: true,
            profile,
        }
    }

    pub(super) fn report(&self) -> Report {
        let Histories { done, unknown, .. } = self.histories;
        let terms = self.oracle.terms_led();
        Report { hash: self.trace.hash(), statistics: Statistics { done, unknown, terms, ..self.statistics } }
    }

    /// Faults for a while, then none: then everything must be well again.
    pub(super) fn run(&mut self) -> Check {
        (0..self.nodes.len()).for_each(|at| self.at(0, Event::Start { at }));
        (0..self.clients.len()).for_each(|client| self.at(1_000, Event::Call { client }));
        (0..self.watchers.len()).for_each(|watcher| self.at(1_000, Event::Look { watcher }));
        self.at(self.profile.between, Event::Strike);
        self.at(0, Event::Tend);
        self.run_until(self.profile.chaos, |_| false)?;
        if self.profile.ending == Ending::Recovered {
            return self.recover();
        }
        self.heal()?;
        self.check_histories()?;
        match self.profile.ending {
            Ending::Stopped => self.stop_in_turn(),
            Ending::Restored => self.restore(),
            _ => Ok(()),
        }
    }

    pub(super) fn at(&mut self, time: Micros, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), event);
    }

    pub(super) fn run_until(&mut self, end: Micros, done: impl Fn(&Self) -> bool) -> Check {
        while self.now < end && !done(self) {
            let Some(((time, _), event)) = self.queue.pop_first() else { return Ok(()) };
            self.now = self.now.max(time);
            self.statistics.events += 1;
            self.handle(event)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Check {
        match event {
            Event::Start { at } => self.start(at),
            Event::Turn { at, life } => self.turn(at, life),
            Event::Synced { at, life } => self.synced(at, life),
            Event::Work { at, life, job } => self.work(at, life, job),
            Event::Deliver { to, bytes } => {
                let at = (to - 1) as usize;
                if let Some(running) = &self.nodes[at].running {
                    let taken = running.shared.receive(&bytes);
                    self.trace.note(self.now, &[10, to, digest(0, &bytes)], || {
                        format!("message to {to}: {taken:?}")
                    });
                    self.wake(at, self.now + WAKE_UP);
                }
                Ok(())
            }
            Event::Call { client } => self.call(client),
            Event::Look { watcher } => self.look(watcher),
            Event::Strike => {
                if self.stormy {
                    let between = self.profile.between;
                    let next = self.now + self.random.random_range(between / 4..2 * between);
                    self.at(next, Event::Strike);
                    self.strike()?;
                }
                Ok(())
            }
            Event::Follow(follow) => self.follow(follow),
            Event::Relief(relief) => self.relieve(relief),
            Event::Tend => self.tend(),
        }
    }

    pub(super) fn start(&mut self, at: usize) -> Check {
        let Node { running, joined, removed, .. } = &self.nodes[at];
        if running.is_some() || !joined || *removed {
            return Ok(());
        }
        let (now, random) = (self.now, &mut self.random);
        let started = self.nodes[at].start(now, random);
        self.trace.note(now, &[11, at as u64], || format!("member {} starts: {started:?}", at + 1));
        match started {
            Ok(()) => {
                self.opened(at);
                self.wake(at, self.now);
                self.settle(at)
            }
            Err(error) if self.lost == Some(at) && !matches!(error, OpenError::Disk(_)) => {
                self.statistics.damaged += 1;
                self.reseed(at);
                Ok(())
            }
            // The disk is full, or it was killed again.
            Err(OpenError::Disk(_)) => {
                self.nodes[at].crash(None);
                self.at(self.now + 50_000, Event::Start { at });
                Ok(())
            }
            Err(error) => violation!("member {} does not start: {error}", at + 1),
        }
    }

    /// Asks the driver of a member to look at `time`, unless it will before.
    pub(super) fn wake(&mut self, at: usize, time: Micros) {
        let node = &mut self.nodes[at];
        let life = node.life;
        let Some(running) = &mut node.running else { return };
        if running.wake.is_none_or(|wake| wake > time) {
            running.wake = Some(time);
            self.at(time, Event::Turn { at, life });
        }
    }

    fn turn(&mut self, at: usize, life: u64) -> Check {
        let node = &mut self.nodes[at];
        let paused = node.paused;
        let Some(running) =
            node.running.as_mut().filter(|running| node.life == life && running.wake == Some(self.now))
        else {
            return Ok(());
        };
        running.wake = None;
        if paused || running.syncing.is_some() {
            return Ok(());
        }
        let effects = node.turn(self.now, &mut self.random);
        self.carry_out(at, effects)
    }

    fn synced(&mut self, at: usize, life: u64) -> Check {
        let node = &mut self.nodes[at];
        if node.life != life || node.running.is_none() {
            return Ok(());
        }
        if node.paused {
            self.at(self.now + 1_000, Event::Synced { at, life });
            return Ok(());
        }
        let effects = node.synced();
        self.carry_out(at, effects)
    }

    fn work(&mut self, at: usize, life: u64, job: Job) -> Check {
        let node = &mut self.nodes[at];
        if node.life != life || node.running.is_none() {
            return Ok(());
        }
        if node.paused {
            self.at(self.now + 1_000, Event::Work { at, life, job });
            return Ok(());
        }
        match node.work(job) {
            Ok(()) => self.wake(at, self.now + WAKE_UP),
            Err(end) => self.ended(at, &end)?,
        }
        Ok(())
    }

    /// What a member wants after it acted: messages go out, the disk and the second thread begin to work.
    fn carry_out(&mut self, at: usize, effects: Result<Effects, End>) -> Check {
        let Effects { letters, jobs, stops } = match effects {
            Ok(effects) => effects,
            Err(end) => return self.ended(at, &end),
        };
        for (bytes, letter) in letters {
            self.trace.note(self.now, &[17, letter.to.0], || format!("member {} sends {letter:?}", at + 1));
            if let Body::Raft(message) = &letter.body {
                self.oracle.sent(message)?;
            }
            for (takes, bytes) in self.network.carry(letter.from.0, letter.to.0, &bytes, &mut self.random) {
                self.at(self.now + takes, Event::Deliver { to: letter.to.0, bytes });
            }
        }
        let life = self.nodes[at].life;
        for job in jobs {
            match job {
                Job::WriteSnapshot { .. } => self.statistics.snapshots += 1,
                Job::CheckReceived => self.statistics.received += 1,
                _ => {}
            }
            let takes = self.random.random_range(1_000..50_000);
            self.at(self.now + takes, Event::Work { at, life, job });
        }
        if stops {
            return self.ended(at, &End::Stopped);
        }
        let (least, most) = self.profile.sync;
        if self.nodes[at].running.as_ref().is_some_and(|running| running.syncing.is_some()) {
            let takes = self.random.random_range(least..most);
            self.at(self.now + takes, Event::Synced { at, life });
        } else {
            self.wake(at, self.now + self.nodes[at].sleep(self.now));
        }
        self.settle(at)
    }

    /// After every step of a member: what must hold, and who has an answer.
    fn settle(&mut self, at: usize) -> Check {
        self.oracle.observe(&self.nodes[at])?;
        if let Some(running) = &self.nodes[at].running {
            let (view, revision) = (running.member.view(), running.shared.state.load().revision);
            let numbers = [
                12,
                at as u64,
                view.term,
                view.committed,
                view.applied.index,
                revision.0,
                u64::from(view.leads),
            ];
            self.trace
                .note(self.now, &numbers, || format!("member {}: {view:?}, revision {revision}", at + 1));
        }
        self.poll_all(at)?;
        if self.nodes[at].has_input() {
            self.wake(at, self.now + WAKE_UP);
        }
        Ok(())
    }

    fn call(&mut self, number: usize) -> Check {
        if !self.stormy {
            return Ok(());
        }
        if self.clients[number].turn_away() {
            self.clients[number].at = self.random.random_range(0..self.nodes.len());
        } else if !self.clients[number].is_idle() {
            return Ok(());
        }
        let at = self.clients[number].at;
        if self.nodes[at].trusted().is_none() {
            self.clients[number].at = self.random.random_range(0..self.nodes.len());
            self.at(self.now + 10_000, Event::Call { client: number });
            return Ok(());
        }
        let reads = if self.lull { 100 } else { self.profile.reads };
        let (keys, sizes) = (&self.keys, (self.profile.padding, reads));
        let client = &self.clients[number];
        let request = clients::draw(client, keys, sizes, &mut self.histories, &mut self.random);
        self.begin(number, request)
    }

    pub(super) fn begin(&mut self, number: usize, request: Request) -> Check {
        let (client, now) = (&mut self.clients[number], self.now);
        client.begin(request, now, &mut self.histories, &self.oracle);
        let at = client.at;
        if self.nodes[at].is_serving() {
            self.poll(number)?;
            self.wake(at, self.now + WAKE_UP);
        } else {
            // It does not answer: another one may.
            let patience = self.random.random_range(5_000..200_000);
            self.at(self.now + patience, Event::Call { client: number });
        }
        Ok(())
    }

    pub(super) fn poll_all(&mut self, at: usize) -> Check {
        self.poll_operator(at);
        for client in 0..self.clients.len() {
            if self.clients[client].at == at {
                self.poll(client)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, number: usize) -> Check {
        let client = &mut self.clients[number];
        let Some(running) = &self.nodes[client.at].running else { return Ok(()) };
        self.nodes[client.at].tell_time(self.now);
        let ended = client.poll(&running.store, self.now, &mut self.histories, &mut self.oracle)?;
        if let Some(saved) = client.saved.take() {
            self.statistics.saved += 1;
            self.saved = Some(saved);
        }
        let Some(ended) = ended else { return Ok(()) };
        self.trace.note(self.now, &[14, number as u64, u64::from(ended == Ended::Done)], || {
            format!("client {number} at member {}: {ended:?}", client.at + 1)
        });
        let mut pause = self.random.random_range(100..self.profile.think);
        match ended {
            Ended::Done if self.random.random_bool(0.9) => {}
            Ended::Done | Ended::Refused | Ended::Unknown => {
                client.at = self.random.random_range(0..self.nodes.len());
                pause += 10_000;
            }
        }
        self.at(self.now + pause, Event::Call { client: number });
        Ok(())
    }

    fn look(&mut self, number: usize) -> Check {
        let pause = [5_000, 50_000, 400_000][self.random.random_range(0..3)];
        self.at(self.now + pause, Event::Look { watcher: number });
        let watcher = &mut self.watchers[number];
        let node = &self.nodes[watcher.at];
        let look = match node.trusted() {
            Some(_) if node.paused => return Ok(()),
            Some(running) => watcher.look(&running.store, node.life, &self.oracle)?,
            None => Look::Ended,
        };
        match look {
            Look::Saw(count) => self.statistics.watched += count,
            Look::Ended => self.statistics.resumed += 1,
            Look::Compacted => self.statistics.compacted += 1,
        }
        if look == Look::Ended || self.random.random_bool(0.02) {
            watcher.leave(self.random.random_range(0..self.nodes.len()));
        }
        Ok(())
    }
}

/// A member that was founded together with the others, or one that joins later.
fn node(id: u64, profile: &Profile, random: &mut StdRng) -> Node {
    let disk = MemoryDisk::default();
    let founding = if id <= profile.members { Founding::Alone } else { Founding::Join };
    let conf_state = ConfState { voters: (1..=profile.members).collect(), ..ConfState::default() };
    let meta = Meta { cluster: CLUSTER, position: Position { index: 1, term: 1 }, conf_state };
    if founding == Founding::Alone {
        snapshot_file::write(&disk, &meta, &Machine::new()).expect("the disk is well");
    }
    let config = Config {
        member: MemberId(id),
        cluster: Some(CLUSTER),
        founding,
        txn_bytes_max: 4 << 10,
        segment_bytes: 1,
        history_window: profile.history_window,
        history_events_max: profile.history_events_max,
        snapshot_after_bytes: profile.snapshot_after_bytes,
        ..Config::new("/memory")
    };
    let drift = profile.drift;
    Node::new(config, disk, 1_000_000 + random.random_range(0..=2 * drift) - drift)
}
