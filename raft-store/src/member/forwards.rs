//! What this member asks of the leader: transactions, when another member leads, and changes of members and of
//! leadership, also when it leads itself.
//!
//! A question that is in the log is recognized there by its [`Origin`]: no answer has to come back, and the wait ends when
//! it is applied *here*. A question was put to the leader of one term. As soon as an entry of a later term is applied, what
//! was not in the log before it never will be: then it certainly did not happen, and may be asked anew.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::Entry;

use super::Member;
use super::asks::WINDOW;
use super::proposals::{Batch, FATE_WAIT, LEADER_WAIT, Proposals, Waiting};
use crate::error::ProposeError;
use crate::membership::MemberId;
use crate::mutant::{self, Mutant};
use crate::shared::{NoFate, Task};
use crate::transport::letter::{Note, Origin, Reply, Request};
use crate::wire::Reader;

/// A question without an answer is put again, under its number.
const ASK_AGAIN: Duration = Duration::from_millis(150);

/// A task that was not possible now is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(30);

/// How long the next leader may take to show itself.
const TAKE_OVER: Duration = Duration::from_secs(2);

pub(super) struct Forwards {
    me: MemberId,
    run: u64,
    /// The last number used.
    number: u64,
    /// Asked, and not answered.
    sent: BTreeMap<u64, Sent>,
    /// Tasks to be asked for, and when.
    tasks: VecDeque<(TaskSince, Duration)>,
    /// Transfers that are under way, to whom, and until when.
    moving: Vec<(TaskSince, MemberId, Duration)>,
}

struct TaskSince {
    task: Task,
    since: Duration,
}

struct Sent {
    /// Of the leader it was put to.
    term: u64,
    at: Duration,
    since: Duration,
    what: What,
}

enum What {
    Writes { batch: Vec<Waiting>, data: Bytes },
    Task(Task),
}

impl Forwards {
    pub(super) fn new(me: MemberId, run: u64) -> Self {
        Self { me, run, number: 0, sent: BTreeMap::new(), tasks: VecDeque::new(), moving: Vec::new() }
    }

    pub(super) fn accept(&mut self, task: Task, now: Duration) {
        self.tasks.push_back((TaskSince { task, since: now }, now));
    }

    /// The transactions of an entry, when it is one that this member asked for.
    pub(super) fn take_writes(&mut self, entry: &Entry) -> Option<Batch> {
        let number = self.number_of(entry)?;
        match self.sent.remove(&number)?.what {
            What::Writes { batch, .. } => Some(Batch::Own(batch)),
            What::Task(_) => None,
        }
    }

    /// The task that led to a change of members, when it is one of this member.
    pub(super) fn take_task(&mut self, entry: &Entry) -> Option<Task> {
        let number = self.number_of(entry)?;
        match self.sent.remove(&number)?.what {
            What::Task(task) => Some(task),
            What::Writes { .. } => None,
        }
    }

    /// When the next task is due.
    pub(super) fn next_task_at(&self) -> Option<Duration> {
        self.tasks.iter().map(|(_, at)| *at).min()
    }

    fn number_of(&self, entry: &Entry) -> Option<u64> {
        if entry.context.is_empty() {
            return None;
        }
        let origin = Origin::read(&mut Reader::new(&entry.context))?;
        ((origin.member, origin.run) == (self.me, self.run)).then_some(origin.number)
    }

    pub(super) fn next_origin(&mut self) -> Origin {
        self.number += 1;
        Origin { member: self.me, run: self.run, number: self.number }
    }

    /// Below this, nothing waits for an answer.
    fn answered(&self) -> u64 {
        self.sent.keys().next().copied().unwrap_or(self.number + 1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.number + 1 >= self.answered() + WINDOW
    }

    pub(super) fn are_pending(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Nothing is asked and nothing is to be.
    fn is_idle(&self) -> bool {
        self.sent.is_empty() && self.tasks.is_empty() && self.moving.is_empty()
    }

    /// The state jumped: whether what was asked for is in it, nobody knows.
    pub(super) fn jumped(&mut self) {
        std::mem::take(&mut self.sent).into_values().for_each(Sent::give_up);
    }

    pub(super) fn close(&mut self) {
        let tasks = self.tasks.drain(..).map(|(task, _)| task);
        let moving = self.moving.drain(..).map(|(task, ..)| task);
        tasks.chain(moving).for_each(|task| task.task.answer(Err(NoFate::Closed)));
    }
}

impl Sent {
    fn give_up(self) {
        match self.what {
            What::Writes { batch, .. } => {
                batch.into_iter().for_each(|waiting| waiting.proposal.answer(Err(ProposeError::Unknown)))
            }
            What::Task(task) => task.answer(Err(NoFate::Unknown)),
        }
    }
}

impl Member {
    /// Asks the leader for what waits here, and again for what it may not have heard.
    pub(super) fn forward(&mut self) {
        let raft = &self.node.raft;
        let (leader, leads) = (MemberId(raft.leader_id), raft.state == StateRole::Leader);
        if leads && self.forwards.is_idle() {
            return;
        }
        self.watch_transfers();
        self.ask_for_tasks();
        if !leads && leader.0 != raft::INVALID_ID {
            self.ask_for_writes(leader);
            self.ask_again(leader);
        }
        self.give_up_old();
    }

    fn ask_for_writes(&mut self, leader: MemberId) {
        let mut round = 0;
        while round < self.proposals.round_bytes() && !self.forwards.is_full() {
            let Some((batch, bytes)) = self.proposals.next_batch() else { break };
            round += bytes;
            let data = Bytes::from(Proposals::encode(&batch, bytes));
            let since = batch.first().map_or(self.now, |oldest| oldest.since);
            let origin = self.forwards.next_origin();
            self.ask(leader, origin, Request::Write(data.clone()));
            let sent =
                Sent { term: self.node.raft.term, at: self.now, since, what: What::Writes { batch, data } };
            self.forwards.sent.insert(origin.number, sent);
        }
    }

    fn ask_for_tasks(&mut self) {
        let raft = &self.node.raft;
        let (term, leader, leads) = (raft.term, raft.leader_id, raft.state == StateRole::Leader);
        for _ in 0..self.forwards.tasks.len() {
            let Some((TaskSince { task, since }, at)) = self.forwards.tasks.pop_front() else { break };
            if self.now > since + LEADER_WAIT {
                task.answer(Err(NoFate::NoLeader));
            } else if at > self.now || leader == raft::INVALID_ID || self.forwards.is_full() {
                self.forwards.tasks.push_back((TaskSince { task, since }, at));
            } else {
                let (origin, request) = (self.forwards.next_origin(), task.request.clone());
                let sent = Sent { term, at: self.now, since, what: What::Task(task) };
                self.forwards.sent.insert(origin.number, sent);
                if !leads {
                    self.ask(MemberId(leader), origin, request);
                } else if let Some(reply) = self.decide(origin, &request) {
                    self.told(origin, reply);
                }
            }
        }
    }

    fn ask(&mut self, leader: MemberId, origin: Origin, request: Request) {
        let answered = self.forwards.answered().min(origin.number);
        self.post(leader, Note::Ask { term: self.node.raft.term, origin, answered, request });
    }

    /// A question may have been lost on the way. The leader of the same term knows it when it was not.
    fn ask_again(&mut self, leader: MemberId) {
        let (term, now) = (self.node.raft.term, self.now);
        let Forwards { me, run, sent, .. } = &mut self.forwards;
        let mut again = Vec::new();
        for (number, sent) in sent.iter_mut() {
            if sent.term == term && now >= sent.at + ASK_AGAIN {
                sent.at = now;
                let request = match &sent.what {
                    What::Writes { data, .. } => Request::Write(data.clone()),
                    What::Task(task) => task.request.clone(),
                };
                again.push((Origin { member: *me, run: *run, number: *number }, request));
            }
        }
        again.into_iter().for_each(|(origin, request)| self.ask(leader, origin, request));
    }

    fn give_up_old(&mut self) {
        let now = self.now;
        let old = |_: &u64, sent: &mut Sent| now > sent.since + FATE_WAIT;
        let old: Vec<Sent> = self.forwards.sent.extract_if(.., old).map(|(_, sent)| sent).collect();
        old.into_iter().for_each(Sent::give_up);
    }

    /// The leader's reply to a question of this member.
    pub(super) fn told(&mut self, origin: Origin, reply: Reply) {
        if (origin.member, origin.run) != (self.forwards.me, self.forwards.run) {
            return;
        }
        let Some(Sent { since, what, .. }) = self.forwards.sent.remove(&origin.number) else { return };
        match (what, reply) {
            (What::Writes { batch, .. }, Reply::DiskFull) => {
                let dir = &self.shared.dir;
                batch.into_iter().for_each(|waiting| {
                    waiting.proposal.answer(Err(ProposeError::DiskFull { dir: dir.clone() }));
                });
            }
            (What::Writes { batch, .. }, _) => self.proposals.take_back(batch),
            (What::Task(task), Reply::NotNow | Reply::DiskFull) => {
                self.forwards.tasks.push_back((TaskSince { task, since }, self.now + TRY_AGAIN));
            }
            (What::Task(task), Reply::Moving(to)) => {
                self.forwards.moving.push((TaskSince { task, since }, to, self.now + TAKE_OVER));
            }
            (What::Task(task), reply) => task.answer(Ok(reply)),
        }
    }

    /// Ends the wait of those who asked for another leader.
    fn watch_transfers(&mut self) {
        let (leader, now) = (MemberId(self.node.raft.leader_id), self.now);
        let ended = self.forwards.moving.extract_if(.., |(_, to, until)| *to == leader || now > *until);
        for (task, to, _) in ended {
            let fate = if to == leader { Ok(Reply::Moving(to)) } else { Err(NoFate::TimedOut(to)) };
            task.task.answer(fate);
        }
    }

    /// An entry of `term` was applied: what was asked of leaders of earlier terms and is not applied did not happen.
    pub(super) fn superseded(&mut self, term: u64) {
        let term = term + u64::from(mutant::planted(Mutant::SupersededTooEarly));
        let old: Vec<Sent> =
            self.forwards.sent.extract_if(.., |_, sent| sent.term < term).map(|(_, sent)| sent).collect();
        for Sent { since, what, .. } in old.into_iter().rev() {
            match what {
                What::Writes { batch, .. } => self.proposals.take_back(batch),
                What::Task(task) => self.forwards.tasks.push_front((TaskSince { task, since }, self.now)),
            }
        }
    }
}
