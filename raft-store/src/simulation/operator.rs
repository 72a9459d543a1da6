//! Somebody who adds, promotes and removes members and moves leadership, one step at a time, whatever else goes on.

use std::collections::BTreeSet;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rand::RngExt;

use super::world::{Event, World};
use crate::error::{MembershipError, TransferError};
use crate::membership::{MemberId, Members, MembershipChange};
use crate::store::Store;

/// What the store answers.
#[derive(Debug)]
enum Answer {
    Changed(Result<(), MembershipError>),
    Moved(Result<MemberId, TransferError>),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Step {
    Change(MembershipChange),
    Transfer(Option<MemberId>),
}

#[derive(Default)]
pub(super) struct Operator {
    /// The member that is asked.
    at: usize,
    waiting: Option<Pin<Box<dyn Future<Output = Answer>>>>,
    /// Whose removal was asked for.
    pub(super) removing: BTreeSet<u64>,
}

impl World {
    /// Asks a member for the next step, unless the last one is still under way.
    pub(super) fn operate(&mut self, at: usize, steps: Range<u32>) {
        if let Some(running) = &self.nodes[at].running
            && self.operator.waiting.is_none()
        {
            let members = running.shared.members.borrow().clone();
            let step = self.draw_step(&members, steps);
            self.ask(at, step);
        }
    }

    /// Asks for a learner to vote.
    pub(super) fn promote(&mut self, at: usize, learner: MemberId) {
        self.ask(at, Step::Change(MembershipChange::Promote(learner)));
    }

    /// Asks for a new member.
    pub(super) fn add(&mut self, at: usize, newcomer: MemberId) {
        self.ask(at, Step::Change(MembershipChange::AddLearner(newcomer)));
    }

    /// Asks for another leader.
    pub(super) fn transfer_to(&mut self, at: usize, other: usize) {
        let to = MemberId(self.nodes[other].id);
        self.ask(at, Step::Transfer(Some(to)));
    }

    fn ask(&mut self, at: usize, step: Step) {
        let Some(running) = self.nodes[at].trusted().filter(|_| !self.nodes[at].paused) else { return };
        if self.operator.waiting.is_some() {
            return;
        }
        let store = running.store.clone();
        self.trace.note(self.now, &[20, at as u64], || format!("member {} is asked to {step:?}", at + 1));
        match step {
            Step::Change(MembershipChange::Remove(member)) => drop(self.operator.removing.insert(member.0)),
            Step::Change(MembershipChange::AddLearner(MemberId(member))) => {
                let newcomer = (member - 1) as usize;
                self.nodes[newcomer].joined = true;
                self.at(self.now, Event::Start { at: newcomer });
            }
            _ => {}
        }
        self.operator.at = at;
        self.operator.waiting = Some(Box::pin(ask(store, step)));
        self.poll_operator(at);
        self.wake(at, self.now);
    }

    /// Mostly what makes sense next. The last of `steps` move leadership.
    fn draw_step(&mut self, members: &Members, steps: Range<u32>) -> Step {
        let random = &mut self.random;
        let newcomer = self.nodes.iter().find(|node| !node.joined).map(|node| MemberId(node.id));
        let learner = members.learners.first().copied();
        let anyone = MemberId(random.random_range(1..=self.nodes.len() as u64));
        match random.random_range(steps) {
            0..4 if learner.is_some() => Step::Change(MembershipChange::Promote(learner.unwrap_or(anyone))),
            0..4 if newcomer.is_some() => {
                Step::Change(MembershipChange::AddLearner(newcomer.unwrap_or(anyone)))
            }
            // Whoever was removed must not come back under its number.
            4 | 5 => Step::Change(MembershipChange::Remove(anyone)),
            6 => Step::Transfer(Some(anyone)),
            _ => Step::Transfer(None),
        }
    }

    pub(super) fn poll_operator(&mut self, at: usize) {
        let Some(waiting) = self.operator.waiting.as_mut().filter(|_| self.operator.at == at) else { return };
        if let Poll::Ready(answer) = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            self.trace.note(self.now, &[21, at as u64], || format!("the operator is told {answer:?}"));
            let done = matches!(answer, Answer::Changed(Ok(())) | Answer::Moved(Ok(_)));
            self.statistics.operations += u64::from(done);
            self.operator.waiting = None;
        }
    }

    /// The member that was asked is gone.
    pub(super) fn disconnect_operator(&mut self, at: usize) {
        if self.operator.at == at {
            self.operator.waiting = None;
        }
    }

    /// Who takes part, as the member knows that has applied most.
    pub(super) fn members(&self) -> Members {
        let running = self.nodes.iter().filter_map(|node| node.running.as_ref());
        let newest = running.max_by_key(|running| running.member.view().applied.index);
        newest.map(|running| running.shared.members.borrow().clone()).unwrap_or_default()
    }
}

async fn ask(store: Store, step: Step) -> Answer {
    match step {
        Step::Change(change) => Answer::Changed(store.change_membership(change).await),
        Step::Transfer(to) => Answer::Moved(store.transfer_leadership(to).await),
    }
}
