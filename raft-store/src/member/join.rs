//! How an empty member is let in. It may have been another before: one that lost its disk has forgotten how it voted and
//! what it acknowledged, and would break the promises that Raft relies on. So it is mute, and takes nothing in, until the
//! leader lets it in as a learner: a voter is made one first, by an entry that the *others* commit. It begins in the
//! leader's term, as one that has voted for that leader.

use std::time::Duration;

use raft::StateRole;

use super::Member;
use crate::error::DriverError;
use crate::membership::{MemberId, MembershipChange};
use crate::mutant::{self, Mutant};
use crate::transport::letter::Note;
use crate::worker::Job;

/// In the folder from before there is anything else in it until the member is let in.
pub(crate) const JOINING_FILE: &str = "joining";

/// How often it asks.
const KNOCK_EVERY: Duration = Duration::from_millis(100);

/// Where a member is on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// It takes part, or has taken part.
    Joined,
    /// It is mute, and asked at this time.
    Knocking(Duration),
    /// It was let in; the folder still says otherwise.
    LetIn,
}

impl Member {
    pub(super) fn is_mute(&self) -> bool {
        matches!(self.joining, Joining::Knocking(_)) && !mutant::planted(Mutant::EmptyMemberSpeaks)
    }

    /// Tells this time that it asks to be let in from others.
    fn joins_as(&self) -> u64 {
        self.run.wrapping_add(self.begun_anew)
    }

    /// Whoever speaks to this member may be the leader.
    pub(super) fn knock(&mut self, at: MemberId) {
        if let Joining::Knocking(asked_at) = self.joining
            && self.now >= asked_at
        {
            self.joining = Joining::Knocking(self.now + KNOCK_EVERY);
            self.post(at, Note::Joining { run: self.joins_as() });
        }
    }

    /// An empty member asks to be let in.
    pub(super) fn knocked(&mut self, member: MemberId, run: u64) {
        let raft = &self.node.raft;
        let settled = self.applied.term == raft.term && !raft.has_pending_conf();
        if raft.state != StateRole::Leader || !settled || member == self.id() {
            return;
        }
        let is_late = self.let_in.get(&member) == Some(&run);
        match self.role_of(member) {
            // What it said before it was let in has come late.
            (true, _) if is_late => {}
            (true, _) => {
                let change = MembershipChange::AddLearner(member);
                if self.risk_of(change).is_none() {
                    tracing::warn!(%member, "a voter comes back without its data: it votes no longer until it is promoted");
                    let origin = self.forwards.next_origin();
                    self.enter_change(origin, change);
                }
            }
            (_, true) => self.let_in(member, run),
            _ => {}
        }
    }

    fn let_in(&mut self, member: MemberId, run: u64) {
        self.forget_sending(member);
        if let Some(progress) = self.node.raft.mut_prs().get_mut(member.0) {
            // It has nothing, whatever it had.
            progress.matched = 0;
            progress.become_probe();
            progress.next_idx = 1;
        }
        self.let_in.insert(member, run);
        self.post(member, Note::Admitted { run, term: self.node.raft.term });
    }

    /// The leader was told that this member has more than it has. A learner, and one that was just let in as one, asks it to
    /// count anew: nobody relies on what it has. A voter has forgotten what others rely on.
    pub(super) fn begin_anew(&mut self) -> Result<bool, DriverError> {
        let (is_voter, _) = self.role_of(self.id());
        if is_voter && !self.was_let_in {
            return Err(DriverError::Forgot { dir: self.shared.dir.clone() });
        }
        self.ahead_since = None;
        // Not to be taken for a late copy of the first time: the leader may have promoted it since.
        self.begun_anew += 1;
        self.joining = Joining::Knocking(self.now);
        Ok(true)
    }

    /// The leader lets this member in.
    pub(super) fn admitted(&mut self, leader: MemberId, run: u64, term: u64) {
        if self.is_mute() && run == self.joins_as() && term >= self.node.raft.term {
            tracing::info!(%leader, term, "let in as a learner");
            self.node.raft.become_follower(term, leader.0);
            // Whoever asks for its vote in this term or before comes too late.
            self.node.raft.vote = leader.0;
            self.was_let_in = true;
            self.joining = if self.is_marked { Joining::LetIn } else { Joining::Joined };
        }
    }

    /// When its term and vote are on the disk, the folder is as that of any member.
    pub(super) fn finish_joining(&mut self) {
        let written = self.node.store().unsynced().is_none() && self.unwritten.is_none();
        if self.joining == Joining::LetIn && written {
            self.joining = Joining::Joined;
            self.is_marked = false;
            self.upkeep.add(Job::Remove { names: vec![JOINING_FILE.to_owned()] });
        }
    }
}
