//! Leadership that this member gives away: because it is to stop, or because it cannot write.

use std::time::Duration;

use raft::StateRole;

use super::Member;
use crate::mutant::{self, Mutant};

/// How long a member that is to stop waits for another one to take over.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// A leader with a full disk tries so seldom to let another one lead.
const MOVE_AGAIN: Duration = Duration::from_secs(5);

impl Member {
    /// It is to stop.
    pub(super) fn leave(&mut self) {
        self.leave_by = Some(self.now + LEAVE_WITHIN);
    }

    /// Whether it was asked to stop, and everything that could be finished is: another one leads, and what was handed in
    /// is answered.
    pub(crate) fn is_stopping(&self) -> bool {
        self.leave_by.is_some_and(|leave_by| {
            let raft = &self.node.raft;
            let has_others = self.conf_state.voters.iter().any(|voter| *voter != raft.id);
            let leads_others = raft.state == StateRole::Leader && has_others;
            let pending = has_others && (self.proposals.are_pending() || self.forwards.are_pending());
            self.now >= leave_by || !(leads_others || pending)
        })
    }

    /// A leader that is to stop lets another one lead, when all that it was given is in the log.
    pub(super) fn hand_over(&mut self) {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader && raft.lead_transferee.is_none();
        let given = self.proposals.are_waiting() || self.asks.are_waiting();
        let hands_over = self.leave_by.is_some() && !mutant::planted(Mutant::NoHandOver);
        if hands_over && leads && !given && !self.is_sole_voter() {
            self.decide_transfer(None);
        }
    }

    /// A leader that cannot write lets another one lead, which perhaps can.
    pub(super) fn move_to_where_space_is(&mut self) {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader && raft.lead_transferee.is_none();
        let due = self.now >= self.moved_at + MOVE_AGAIN || self.moved_at == Duration::ZERO;
        if self.full_until.is_some() && leads && due && !self.is_sole_voter() {
            self.moved_at = self.now;
            self.decide_transfer(None);
        }
    }
}
