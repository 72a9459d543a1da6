//! What other members ask of the leader. A question that comes twice must not happen twice: the leader remembers the
//! numbers of its term. A question names the term, and nobody leads a term again after losing it, so what it
//! remembers may be forgotten with the term.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft::StateRole;

use super::Member;
use crate::command::{Txn, codec};
use crate::membership::MemberId;
use crate::mutant::{self, Mutant};
use crate::transport::letter::{Note, Origin, Reply, Request};

/// Questions under way from one run of a member; it keeps to this.
pub(super) const WINDOW: u64 = 1_024;

/// Runs of members heard of in one term. Those that come after are not listened to.
const RUNS_MAX: usize = 1_024;

/// Transactions that wait to be proposed. More are dropped; they are asked for again.
const QUEUE_BYTES: usize = 64 << 20;

/// The leader's memory of what it was asked.
#[derive(Default)]
pub(super) struct Asks {
    term: u64,
    runs: BTreeMap<(MemberId, u64), Run>,
    queue: VecDeque<Asked>,
    queued_bytes: usize,
}

/// Transactions that another member wants in the log.
pub(super) struct Asked {
    pub(super) origin: Origin,
    pub(super) txns: Vec<Txn>,
    pub(super) data: Bytes,
}

/// The questions of one run of a member.
#[derive(Default)]
struct Run {
    /// Those below were answered long ago.
    floor: u64,
    /// Those that came, with the reply if it is one that has to be told.
    seen: BTreeMap<u64, Option<Reply>>,
}

/// Whether a question is new.
#[derive(Debug, PartialEq, Eq)]
enum Sight {
    New,
    /// It came before; this was the reply.
    Again(Option<Reply>),
    /// It is so late, or so early, that it cannot be told.
    Ignored,
}

impl Asks {
    fn see(&mut self, term: u64, origin: Origin, answered: u64) -> Sight {
        if self.term != term {
            (self.term, self.runs) = (term, BTreeMap::new());
        }
        let key = (origin.member, origin.run);
        if self.runs.len() >= RUNS_MAX && !self.runs.contains_key(&key) {
            return Sight::Ignored;
        }
        let run = self.runs.entry(key).or_default();
        if answered > run.floor {
            run.floor = answered;
            run.seen = run.seen.split_off(&answered);
        }
        if origin.number < run.floor || origin.number >= run.floor + 2 * WINDOW {
            return Sight::Ignored;
        }
        match run.seen.get(&origin.number) {
            Some(_) if mutant::planted(Mutant::ForwardedTwice) => Sight::New,
            Some(reply) => Sight::Again(*reply),
            None => {
                run.seen.insert(origin.number, None);
                Sight::New
            }
        }
    }

    /// What to say to a question when its term is over. Nothing, when it may be in the log.
    fn recall(&self, term: u64, origin: Origin) -> Option<Reply> {
        if mutant::planted(Mutant::DeposedLeaderDenies) {
            return Some(Reply::NotNow);
        }
        if self.term != term {
            return None;
        }
        match self.runs.get(&(origin.member, origin.run)) {
            Some(run) if origin.number < run.floor => None,
            Some(run) => run.seen.get(&origin.number).copied().unwrap_or(Some(Reply::NotNow)),
            None => Some(Reply::NotNow),
        }
    }

    /// Remembers what was replied.
    fn replied(&mut self, origin: Origin, reply: Reply) {
        let run = self.runs.get_mut(&(origin.member, origin.run));
        if let Some(known) = run.and_then(|run| run.seen.get_mut(&origin.number)) {
            *known = Some(reply);
        }
    }

    fn forget(&mut self, origin: Origin) {
        if let Some(run) = self.runs.get_mut(&(origin.member, origin.run)) {
            run.seen.remove(&origin.number);
        }
    }

    fn push(&mut self, asked: Asked) {
        self.queued_bytes += asked.data.len();
        self.queue.push_back(asked);
    }

    pub(super) fn next(&mut self) -> Option<Asked> {
        let next = self.queue.pop_front()?;
        self.queued_bytes -= next.data.len();
        Some(next)
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl Member {
    /// Takes in a question of another member.
    pub(super) fn asked(&mut self, term: u64, origin: Origin, answered: u64, request: Request) {
        let raft = &self.node.raft;
        if term > raft.term {
            return;
        }
        if raft.state != StateRole::Leader || raft.term != term {
            // This member leads that term no longer, and never will again: what was not taken then never will be.
            if let Some(reply) = self.asks.recall(term, origin) {
                self.post(origin.member, Note::Tell { origin, reply });
            }
            return;
        }
        match self.asks.see(term, origin, answered) {
            Sight::New => match request {
                Request::Write(data) => self.asked_to_write(origin, data),
                request => {
                    if let Some(reply) = self.decide(origin, &request) {
                        self.tell(origin, reply);
                    }
                }
            },
            Sight::Again(Some(reply)) => self.post(origin.member, Note::Tell { origin, reply }),
            // It is in the log, where its owner finds it.
            Sight::Again(None) | Sight::Ignored => {}
        }
    }

    fn asked_to_write(&mut self, origin: Origin, data: Bytes) {
        if self.asks.queued_bytes + data.len() > QUEUE_BYTES {
            self.asks.forget(origin);
            return;
        }
        // What cannot be read here could be applied nowhere.
        match codec::decode(&data) {
            Some(txns) => self.asks.push(Asked { origin, txns, data }),
            None => tracing::error!(from = %origin.member, "transactions of another member cannot be read"),
        }
    }

    /// Replies to a question, and remembers it.
    pub(super) fn tell(&mut self, origin: Origin, reply: Reply) {
        self.asks.replied(origin, reply);
        self.post(origin.member, Note::Tell { origin, reply });
    }

    /// What waits for a leader that this member is no longer was never proposed.
    pub(super) fn turn_away_asks(&mut self) {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader || raft.term != self.asks.term {
            while let Some(Asked { origin, .. }) = self.asks.next() {
                self.tell(origin, Reply::NotNow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(run: u64, number: u64) -> Origin {
        Origin { member: MemberId(2), run, number }
    }

    #[test]
    fn a_question_is_new_once_in_a_term() {
        let mut asks = Asks::default();
        assert_eq!(asks.see(1, origin(1, 1), 1), Sight::New);
        assert_eq!(asks.see(1, origin(1, 1), 1), Sight::Again(None));
        asks.replied(origin(1, 1), Reply::DiskFull);
        assert_eq!(asks.see(1, origin(1, 1), 1), Sight::Again(Some(Reply::DiskFull)));
        assert_eq!(asks.see(1, origin(1, 3), 1), Sight::New, "they may overtake each other");
        assert_eq!(asks.see(1, origin(1, 2), 1), Sight::New);
        assert_eq!(asks.see(1, origin(2, 1), 1), Sight::New, "another run counts for itself");
        assert_eq!(asks.see(1, origin(1, 3), 1), Sight::Again(None), "and the first is not forgotten");
    }

    #[test]
    fn when_the_term_is_over_only_what_was_not_taken_is_turned_away() {
        let mut asks = Asks::default();
        assert_eq!(asks.see(1, origin(1, 5), 5), Sight::New);
        assert_eq!(asks.recall(1, origin(1, 5)), None, "it may be in the log");
        assert_eq!(asks.recall(1, origin(1, 4)), None, "so may one that was forgotten");
        assert_eq!(asks.recall(1, origin(1, 6)), Some(Reply::NotNow));
        assert_eq!(asks.recall(1, origin(2, 1)), Some(Reply::NotNow));
        assert_eq!(asks.recall(0, origin(1, 6)), None, "of other terms nothing is known");
        asks.replied(origin(1, 5), Reply::DiskFull);
        assert_eq!(asks.recall(1, origin(1, 5)), Some(Reply::DiskFull));
    }

    #[test]
    fn what_was_answered_is_forgotten_and_never_new_again() {
        let mut asks = Asks::default();
        for number in 1..=10 * WINDOW {
            assert_eq!(asks.see(1, origin(1, number), number.saturating_sub(5)), Sight::New);
        }
        assert!(asks.runs[&(MemberId(2), 1)].seen.len() <= 6);
        assert_eq!(asks.see(1, origin(1, 7), 1), Sight::Ignored);
        assert_eq!(asks.see(1, origin(1, 100 * WINDOW), 1), Sight::Ignored, "too far ahead to be remembered");
    }

    #[test]
    fn the_memory_is_bounded_however_many_runs_there_are() {
        let mut asks = Asks::default();
        for run in 0..2 * RUNS_MAX as u64 {
            let sight = asks.see(1, origin(run, 1), 1);
            assert_eq!(sight == Sight::New, run < RUNS_MAX as u64);
        }
        assert_eq!(asks.runs.len(), RUNS_MAX);
        assert_eq!(asks.see(1, origin(0, 1), 1), Sight::Again(None), "what is known stays known");
        assert_eq!(asks.see(2, origin(9_999, 1), 1), Sight::New, "a new term begins anew");
    }
}
