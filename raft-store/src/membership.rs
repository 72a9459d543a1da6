//! Who takes part, and who leads.

use std::fmt;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

/// A participant in Raft; unique in its cluster, never zero, never used again after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cluster, told from every other one by a number that was drawn when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who takes part, as far as this member has applied it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// They vote: a write needs a majority of them. In ascending order.
    pub voters: Vec<MemberId>,
    /// They get everything and do not vote. In ascending order.
    pub learners: Vec<MemberId>,
}

impl Members {
    /// What Raft calls a configuration, without what only Raft needs.
    pub(crate) fn of(conf_state: &ConfState) -> Self {
        let sorted = |ids: &[u64]| {
            let mut members: Vec<MemberId> = ids.iter().copied().map(MemberId).collect();
            members.sort_unstable();
            members
        };
        Self { voters: sorted(&conf_state.voters), learners: sorted(&conf_state.learners) }
    }

    /// Whether it takes part, in either role.
    pub fn contains(&self, member: MemberId) -> bool {
        self.voters.contains(&member) || self.learners.contains(&member)
    }
}

/// One step from one set of members to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member gets everything from now on; it does not vote.
    AddLearner(MemberId),
    /// A learner that has caught up votes from now on.
    Promote(MemberId),
    /// The member takes part no longer. Its number must not be used again.
    Remove(MemberId),
}

impl MembershipChange {
    /// Whom it is about.
    pub fn member(self) -> MemberId {
        match self {
            Self::AddLearner(member) | Self::Promote(member) | Self::Remove(member) => member,
        }
    }

    /// The change in Raft's words.
    pub(crate) fn to_raft(self) -> ConfChangeV2 {
        let change_type = match self {
            Self::AddLearner(_) => ConfChangeType::AddLearnerNode,
            Self::Promote(_) => ConfChangeType::AddNode,
            Self::Remove(_) => ConfChangeType::RemoveNode,
        };
        let change =
            ConfChangeSingle { change_type, node_id: self.member().0, ..ConfChangeSingle::default() };
        ConfChangeV2 { changes: vec![change].into(), ..ConfChangeV2::default() }
    }

    /// What it makes of a set of members: what Raft makes of it too.
    pub(crate) fn apply_to(self, conf_state: &mut ConfState) {
        let member = self.member().0;
        conf_state.voters.retain(|voter| *voter != member);
        conf_state.learners.retain(|learner| *learner != member);
        match self {
            Self::AddLearner(_) => conf_state.learners.push(member),
            Self::Promote(_) => conf_state.voters.push(member),
            Self::Remove(_) => {}
        }
    }
}

/// How a new folder begins. An old one goes on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Founding {
    /// As a new cluster of this one member.
    #[default]
    Alone,
    /// As a member that waits for the leader of an existing cluster to tell it everything: a new one, or one that was there
    /// before and lost its folder.
    Join,
    /// As [`Join`](Self::Join), also when the folder holds something: it is set aside, and fetched anew from the others.
    /// For a member whose data is damaged or differs from theirs; it goes on under the same number.
    Reseed,
}

/// How far the leader knows a member to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whom this is about.
    pub member: MemberId,
    /// Whether it votes.
    pub is_voter: bool,
    /// The last log entry that it is known to have on its disk.
    pub matched: u64,
    /// How many entries it lacks.
    pub behind: u64,
    /// Whether it answered lately.
    pub is_active: bool,
    /// Whether it is being sent the whole state.
    pub is_receiving_snapshot: bool,
}

/// Who leads, as this member knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The current Raft term.
    pub term: u64,
    /// The leader of the term, when known.
    pub leader: Option<MemberId>,
    /// Whether this member leads *and* has applied everything committed before its term: only then may it act as the
    /// leader.
    pub is_leader: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_moves_one_member_and_no_other() {
        let mut conf_state = ConfState { voters: vec![2, 1], learners: vec![3], ..ConfState::default() };
        let mut after = |change: MembershipChange| {
            change.apply_to(&mut conf_state);
            let Members { voters, learners } = Members::of(&conf_state);
            let numbers =
                |members: Vec<MemberId>| members.into_iter().map(|member| member.0).collect::<Vec<_>>();
            (numbers(voters), numbers(learners))
        };
        assert_eq!(after(MembershipChange::AddLearner(MemberId(4))), (vec![1, 2], vec![3, 4]));
        assert_eq!(after(MembershipChange::Promote(MemberId(3))), (vec![1, 2, 3], vec![4]));
        assert_eq!(after(MembershipChange::Remove(MemberId(1))), (vec![2, 3], vec![4]));
        assert_eq!(after(MembershipChange::AddLearner(MemberId(2))), (vec![3], vec![2, 4]));
    }
}
