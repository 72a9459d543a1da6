//! Who takes part and who leads: what the leader decides, and what every member applies.

use std::time::Duration;

use raft::eraftpb::Entry;
use raft::{ProgressState, StateRole};

use super::{Member, raft_failed};
use crate::error::DriverError;
use crate::membership::{MemberId, Members, MembershipChange, Progress};
use crate::transport::letter::{self, Note, Origin, Reply, Request};
use crate::wire::Reader;

/// A learner may be promoted when it lacks no more than what comes in during a few round trips.
const BEHIND_MAX: u64 = 1_000;

/// A member of which nothing came for this long is not counted on: many heartbeats, and the longest that an election takes.
const SILENT_AFTER: Duration = Duration::from_millis(600);

/// What the entry of a change says: who asked for it, and the change. The data of the entry is for Raft and is not read
/// back.
fn context_of(origin: Origin, change: MembershipChange) -> Vec<u8> {
    let mut context = Vec::new();
    origin.put(&mut context);
    letter::put_change(&mut context, change);
    context
}

/// The change that an entry of the log is about.
pub(crate) fn change_of(entry: &Entry) -> Option<MembershipChange> {
    let mut reader = Reader::new(&entry.context);
    Origin::read(&mut reader)?;
    let change = letter::change(&mut reader)?;
    reader.is_empty().then_some(change)
}

impl Member {
    /// What the leader does about a request; `None` when it is in the log and must be waited for.
    pub(super) fn decide(&mut self, origin: Origin, request: &Request) -> Option<Reply> {
        match request {
            Request::Change(change) => self.decide_change(origin, *change),
            Request::Transfer(to) => Some(self.decide_transfer(*to)),
            // Transactions take another way.
            Request::Write(_) => Some(Reply::NotNow),
        }
    }

    fn decide_change(&mut self, origin: Origin, change: MembershipChange) -> Option<Reply> {
        let raft = &self.node.raft;
        let settled = self.applied.term == raft.term && !raft.has_pending_conf();
        if !settled || raft.lead_transferee.is_some() {
            return Some(Reply::NotNow);
        }
        if let Some(reply) = self.object_to(change) {
            return Some(reply);
        }
        if change == MembershipChange::Remove(self.id()) {
            // The next leader is asked again.
            return Some(match self.decide_transfer(None) {
                Reply::Moving(_) => Reply::NotNow,
                _ => Reply::QuorumAtRisk,
            });
        }
        self.enter_change(origin, change)
    }

    /// Puts a change into the log.
    pub(super) fn enter_change(&mut self, origin: Origin, change: MembershipChange) -> Option<Reply> {
        match self.has_room(0) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Some(Reply::NotNow),
        }
        let proposed = self.node.propose_conf_change(context_of(origin, change), change.to_raft());
        proposed.is_err().then_some(Reply::NotNow)
    }

    /// What speaks against a change.
    fn object_to(&self, change: MembershipChange) -> Option<Reply> {
        let member = change.member();
        let (is_voter, is_learner) = self.role_of(member);
        match change {
            MembershipChange::AddLearner(_) if is_voter => Some(Reply::IsAVoter),
            MembershipChange::AddLearner(_) if is_learner => Some(Reply::Done),
            MembershipChange::Promote(_) if is_voter => Some(Reply::Done),
            MembershipChange::Promote(_) if !is_learner => Some(Reply::NotAMember),
            MembershipChange::Promote(_) => {
                let behind = self.behind(member);
                if behind > BEHIND_MAX || !self.has_answered(member) {
                    return Some(Reply::Behind(behind));
                }
                self.risk_of(change)
            }
            MembershipChange::Remove(_) if !is_voter && !is_learner => Some(Reply::NotAMember),
            MembershipChange::Remove(_) if is_voter && self.conf_state.voters.len() == 1 => {
                Some(Reply::LastVoter)
            }
            MembershipChange::Remove(_) if is_voter => self.risk_of(change),
            MembershipChange::AddLearner(_) | MembershipChange::Remove(_) => None,
        }
    }

    /// Whether it is a voter, and whether it is a learner.
    pub(super) fn role_of(&self, member: MemberId) -> (bool, bool) {
        (self.conf_state.voters.contains(&member.0), self.conf_state.learners.contains(&member.0))
    }

    /// Whether those of the voters after the change who answered lately are a majority.
    pub(super) fn risk_of(&self, change: MembershipChange) -> Option<Reply> {
        let mut after = self.conf_state.clone();
        change.apply_to(&mut after);
        let answering = after.voters.iter().filter(|id| self.is_active(**id)).count();
        (answering <= after.voters.len() / 2).then_some(Reply::QuorumAtRisk)
    }

    /// Remembers that something came from a member; strangers are not counted.
    pub(super) fn note_heard(&mut self, from: MemberId) {
        let (is_voter, is_learner) = self.role_of(from);
        if is_voter || is_learner {
            self.heard_at.insert(from, self.now);
        }
    }

    /// Whether it was heard of lately. Raft's own mark of that is taken away once in an election timeout, until the next
    /// heartbeat is answered.
    fn is_active(&self, member: u64) -> bool {
        let heard = self.heard_at.get(&MemberId(member));
        member == self.node.raft.id || heard.is_some_and(|at| self.now <= *at + SILENT_AFTER)
    }

    /// Whether it is known to have the log up to some place, and is not being sent a snapshot.
    fn has_answered(&self, member: MemberId) -> bool {
        let progress = self.node.raft.prs().get(member.0);
        progress.is_some_and(|known| known.matched > 0 && known.state != ProgressState::Snapshot)
    }

    fn behind(&self, member: MemberId) -> u64 {
        let matched = self.node.raft.prs().get(member.0).map_or(0, |progress| progress.matched);
        self.node.raft.raft_log.last_index().saturating_sub(matched)
    }

    /// Begins to hand leadership over.
    pub(super) fn decide_transfer(&mut self, to: Option<MemberId>) -> Reply {
        let me = self.id();
        let Some(to) = to.or_else(|| self.most_advanced()) else { return Reply::NoOtherVoter };
        if to == me {
            return Reply::Moving(me);
        }
        if !self.role_of(to).0 {
            return Reply::NotAVoter;
        }
        self.void_lease();
        self.node.transfer_leader(to.0);
        Reply::Moving(to)
    }

    /// The other voter that answers and has most of the log.
    fn most_advanced(&self) -> Option<MemberId> {
        let raft = &self.node.raft;
        let others = self.conf_state.voters.iter().filter(|id| **id != raft.id);
        let answering = others.filter_map(|id| {
            let progress = raft.prs().get(*id)?;
            self.is_active(*id).then_some((progress.matched, *id))
        });
        answering.max().map(|(_, id)| MemberId(id))
    }

    /// Applies a committed change of members.
    pub(super) fn apply_change(&mut self, entry: &Entry) -> Result<(), DriverError> {
        let change = change_of(entry).ok_or(DriverError::UnknownEntry { index: entry.index })?;
        self.conf_state = self.node.apply_conf_change(&change.to_raft()).map_err(raft_failed)?;
        tracing::info!(?change, voters = ?self.conf_state.voters, learners = ?self.conf_state.learners, "members changed");
        self.members_changed();
        if let Some(task) = self.forwards.take_task(entry) {
            task.answer(Ok(Reply::Done));
        }
        if let MembershipChange::Remove(member) = change {
            if member == self.id() {
                return Err(DriverError::Removed { member });
            }
            self.post(member, Note::NotAMember { index: entry.index });
        }
        Ok(())
    }

    /// Tells those who want to know. What one voter alone may do, two may not: at once. The other way round it waits until
    /// this member leads.
    pub(super) fn members_changed(&mut self) {
        if !self.is_sole_voter() {
            self.shared.set_sole_voter(false);
        }
        self.told_progress_at = None;
        let members = Members::of(&self.conf_state);
        self.shared.members.send_if_modified(|before| {
            let changed = *before != members;
            *before = members;
            changed
        });
    }

    /// What the leader knows of every member; nothing when this one does not lead.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        let last = raft.raft_log.last_index();
        let ids = self.conf_state.voters.iter().chain(&self.conf_state.learners);
        let mut all: Vec<Progress> = ids
            .filter_map(|id| {
                let known = raft.prs().get(*id)?;
                Some(Progress {
                    member: MemberId(*id),
                    is_voter: self.conf_state.voters.contains(id),
                    matched: known.matched,
                    behind: last.saturating_sub(known.matched),
                    is_active: self.is_active(*id),
                    is_receiving_snapshot: known.state == ProgressState::Snapshot,
                })
            })
            .collect();
        all.sort_unstable_by_key(|progress| progress.member);
        all
    }
}
