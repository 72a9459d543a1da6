//! Linearizable reads by ReadIndex (Raft thesis §6.4): a leader that a quorum still follows names its commit index, and
//! the read waits until that is applied here. Reads that come while one question is under way share the next.
//!
//! An answer is also a lease: whoever of the quorum answered votes for nobody else for an election timeout after it was
//! *asked*, on its own clock, so until somewhat less has passed on this clock the leader may answer by itself. What breaks
//! that reasoning: leadership that is handed over (votes are then given at once, so a term in which that was tried has no
//! leases) and a voter that forgets by a restart whom it heard of (so it does not vote for an election timeout).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BufMut};

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::{ELECTION_TICKS, Member, TICK};
use crate::error::ReadError;
use crate::mutant::{self, Mutant};
use crate::shared::ReadRequest;

/// The shortest election timeout, without the tick that may have begun before the question came, and with a margin for
/// clocks of different speed.
const LEASE: Duration = Duration::from_millis((ELECTION_TICKS as u64 - 1) * TICK.as_millis() as u64 * 5 / 6);

/// What a forced election says of itself.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// A question without an answer is asked again: the leader may be gone, or too new to answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How long a read waits for a leader to confirm it.
const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Reads {
    /// Makes questions of this run differ from those of an earlier one, whose late answers must not count.
    run: u64,
    asked_count: u64,
    waiting: Vec<Waiting>,
    asked: Option<Asked>,
    /// Confirmed, and the index that must be applied.
    confirmed: VecDeque<(u64, Vec<Waiting>)>,
    lease: Option<Lease>,
    /// In this term leadership was to be handed over.
    leaseless_term: u64,
}

/// For so long nobody else leads.
#[derive(Debug, Clone, Copy)]
struct Lease {
    term: u64,
    until: Duration,
}

struct Waiting {
    request: ReadRequest,
    since: Duration,
}

struct Asked {
    number: u64,
    at: Duration,
    /// The term in which this member led when it asked.
    led_term: Option<u64>,
    reads: Vec<Waiting>,
}

impl Reads {
    pub(super) fn new(run: u64) -> Self {
        Self {
            run,
            asked_count: 0,
            waiting: Vec::new(),
            asked: None,
            confirmed: VecDeque::new(),
            lease: None,
            leaseless_term: 0,
        }
    }

    pub(super) fn accept(&mut self, request: ReadRequest, since: Duration) {
        self.waiting.push(Waiting { request, since });
    }

    /// The context of the question to ask now, if any.
    fn ask(&mut self, now: Duration, led_term: Option<u64>) -> Option<Vec<u8>> {
        if let Some(asked) = self.asked.take_if(|asked| now >= asked.at + ASK_AGAIN) {
            self.waiting.extend(asked.reads);
        }
        if self.asked.is_some() || self.waiting.is_empty() {
            return None;
        }
        Some(self.next_question(now, led_term))
    }

    /// The context of a question that makes the lease longer, when it will end soon.
    fn renew(&mut self, now: Duration, led_term: Option<u64>) -> Option<Vec<u8>> {
        let lasts = self.lease.is_some_and(|lease| now + LEASE / 2 < lease.until);
        (!lasts && self.asked.is_none()).then(|| self.next_question(now, led_term))
    }

    fn next_question(&mut self, at: Duration, led_term: Option<u64>) -> Vec<u8> {
        self.asked_count += 1;
        let reads = std::mem::take(&mut self.waiting);
        self.asked = Some(Asked { number: self.asked_count, at, led_term, reads });
        let mut context = Vec::with_capacity(16);
        context.put_u64_le(self.run);
        context.put_u64_le(self.asked_count);
        context
    }

    /// The question with this context was answered.
    pub(super) fn confirm(&mut self, mut context: &[u8], index: u64) {
        let number = (context.len() == 16 && context.get_u64_le() == self.run).then(|| context.get_u64_le());
        if let Some(asked) = self.asked.take_if(|asked| Some(asked.number) == number) {
            if let Some(term) = asked.led_term.filter(|term| *term != self.leaseless_term) {
                let times = if mutant::planted(Mutant::LeaseTooLong) { 10 } else { 1 };
                self.lease = Some(Lease { term, until: asked.at + LEASE * times });
            }
            self.confirmed.push_back((index, asked.reads));
        }
    }

    /// Answers the reads whose index is applied.
    pub(super) fn answer(&mut self, applied: u64) {
        while self.confirmed.front().is_some_and(|(index, _)| *index <= applied) {
            let (_, reads) = self.confirmed.pop_front().unwrap_or_default();
            reads.into_iter().for_each(|read| read.request.answer(Ok(())));
        }
    }

    /// Until when the leader of `term` may answer by itself.
    fn lease(&self, term: u64) -> Option<Duration> {
        self.lease.filter(|lease| lease.term == term && term != self.leaseless_term).map(|lease| lease.until)
    }

    /// Answers reads that wait for longer than they should.
    pub(super) fn refuse_old(&mut self, now: Duration) {
        let old = |read: &mut Waiting| now > read.since + WAIT;
        let asked = self.asked.as_mut().map(|asked| &mut asked.reads);
        let lists = [Some(&mut self.waiting), asked];
        for list in lists.into_iter().flatten() {
            list.extract_if(.., old).for_each(|read| read.request.answer(Err(ReadError::NoLeader)));
        }
    }

    pub(super) fn refuse(&mut self, error: &ReadError) {
        let asked = self.asked.take().map(|asked| asked.reads);
        let confirmed = self.confirmed.drain(..).flat_map(|(_, reads)| reads);
        let all = self.waiting.drain(..).chain(asked.into_iter().flatten()).chain(confirmed);
        all.for_each(|read| read.request.answer(Err(error.clone())));
    }
}

impl Member {
    /// Takes in a read: answers it at once where nobody else can have committed anything.
    pub(super) fn read(&mut self, request: ReadRequest) {
        if self.shared.is_sole_voter() || mutant::planted(Mutant::ReadAnywhere) {
            request.answer(Ok(()));
        } else if self.lease_until().is_some_and(|until| self.now < until) {
            let index = self.node.raft.raft_log.committed;
            let read = Waiting { request, since: self.now };
            self.reads.confirmed.push_back((index, vec![read]));
        } else {
            self.reads.accept(request, self.now);
        }
    }

    /// Asks for linearizable reads that wait, when there is somebody to ask.
    pub(super) fn ask_for_reads(&mut self) {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader;
        let led_term = leads.then_some(raft.term);
        // A leader that has nothing committed in its term yet would not answer.
        let ready = !leads || self.applied.term == raft.term;
        if raft.leader_id != raft::INVALID_ID && ready {
            let wanted = leads && self.shared.is_lease_wanted();
            let question = self.reads.ask(self.now, led_term);
            let question =
                question.or_else(|| wanted.then(|| self.reads.renew(self.now, led_term)).flatten());
            if let Some(context) = question {
                self.node.read_index(context);
            }
        }
        self.reads.refuse_old(self.now);
    }

    /// Answers another member's question without asking anybody, if this one may.
    pub(super) fn answer_from_lease(&mut self, question: &Message) -> bool {
        self.shared.want_lease();
        let holds = self.lease_until().is_some_and(|until| self.now < until);
        if holds {
            let raft = &self.node.raft;
            let answer = Message {
                msg_type: MessageType::MsgReadIndexResp,
                to: question.from,
                from: raft.id,
                term: raft.term,
                index: raft.raft_log.committed,
                entries: question.entries.clone(),
                ..Message::default()
            };
            self.post_all(vec![answer]);
        }
        holds
    }

    /// Until when this member may answer reads by itself, if it may.
    pub(super) fn lease_until(&self) -> Option<Duration> {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader && self.applied.term == raft.term;
        self.reads.lease(raft.term).filter(|_| leads && !self.is_sole_voter())
    }

    /// From now on somebody else may lead at any moment of this term.
    pub(super) fn void_lease(&mut self) {
        let void = !mutant::planted(Mutant::LeaseInTransfer);
        self.reads.leaseless_term = if void { self.node.raft.term } else { 0 };
        self.shared.set_lease(Duration::ZERO);
    }

    /// Readers may use the lease without asking the driver. Not while something that is committed cannot be applied:
    /// the other members know of it already.
    pub(super) fn publish_lease(&self) {
        let until = self.lease_until().filter(|_| self.unwritten.is_none());
        self.shared.set_lease(until.unwrap_or_default());
    }

    /// Whether a vote may break a lease that was given before this member was restarted.
    pub(super) fn must_not_vote(&self, message: &Message) -> bool {
        let is_vote =
            matches!(message.msg_type, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        let timeout = TICK * u32::try_from(ELECTION_TICKS).expect("a few");
        let forgets = mutant::planted(Mutant::LeaseForgotten);
        is_vote
            && !forgets
            && message.context != TRANSFER
            && self.now < self.opened_at.unwrap_or(self.now) + timeout
    }
}
