//! What a simulation looks at inside a member, and the one thing in it that draws lots.

use bytes::Bytes;
use raft::StateRole;

use super::{CAMPAIGN_TICKS, Member};
use crate::log::Log;
use crate::log::frame::Position;

/// Raft's state as it is between two steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) committed: u64,
    pub(crate) applied: Position,
    /// What Raft knows already waits for space on the disk: the log lags behind it.
    pub(crate) waits_for_space: bool,
}

impl Member {
    pub(crate) fn view(&self) -> View {
        let raft = &self.node.raft;
        View {
            term: raft.term,
            leads: raft.state == StateRole::Leader,
            committed: raft.raft_log.committed,
            applied: self.applied,
            waits_for_space: self.unwritten.is_some(),
        }
    }

    pub(crate) fn log(&self) -> &Log {
        self.node.store()
    }

    /// A bit of a value flips in memory; `false` when there is no such key.
    pub(crate) fn flip(&mut self, key: &Bytes) -> bool {
        let is_there = self.machine.entries().any(|(known, _)| known == key);
        if is_there {
            self.machine.flip(key);
        }
        is_there
    }

    /// Whether memory is as it was written.
    pub(crate) fn is_sound(&self) -> bool {
        self.machine.is_sound()
    }

    /// Raft draws the ticks until it campaigns from a generator of its own whenever it begins to count them anew; this puts
    /// `draw` in its place. To be called before each tick.
    pub(crate) fn draw_election_timeout(
        &mut self,
        kept: &mut usize,
        draw: impl FnOnce(std::ops::Range<usize>) -> usize,
    ) {
        let raft = &mut self.node.raft;
        if raft.election_elapsed == 0 || *kept == 0 {
            *kept = draw(CAMPAIGN_TICKS);
        }
        raft.set_randomized_election_timeout(*kept);
    }
}
