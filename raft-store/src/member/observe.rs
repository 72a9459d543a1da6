//! What others get to see of a member.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::StateRole;
use tokio::sync::oneshot;

use super::Member;
use crate::machine::Machine;
use crate::membership::{Leadership, MemberId};
use crate::snapshot_file::Meta;

/// How often it is told how far the members are.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

impl Member {
    /// Hands the state out. Nobody may be waiting any more.
    pub(super) fn copy_out(&self, reply: oneshot::Sender<(Meta, Machine)>) {
        let meta =
            Meta { cluster: self.cluster, position: self.applied, conf_state: self.conf_state.clone() };
        reply.send((meta, self.machine.clone())).ok();
    }

    /// Tells who leads.
    pub(super) fn observe_leadership(&mut self) {
        let raft = &self.node.raft;
        let leader = (raft.leader_id != raft::INVALID_ID).then_some(MemberId(raft.leader_id));
        // The first entry of its own term is applied, so everything committed before is too (Raft §8).
        let is_leader = raft.state == StateRole::Leader && self.applied.term == raft.term;
        if is_leader && self.is_sole_voter() {
            self.shared.set_sole_voter(true);
        }
        let now = Leadership { term: raft.term, leader, is_leader };
        let changed = self.shared.leadership.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                tracing::info!(term = now.term, leader = raft.leader_id, is_leader, "leadership changed");
            }
            *before = now;
            changed
        });
        self.told_progress_at.take_if(|_| changed);
    }

    pub(super) fn count(&self) {
        let (counters, log) = (&self.shared.counters, self.node.store().sizes());
        counters.applied_index.store(self.applied.index, Ordering::Relaxed);
        counters.snapshot_index.store(self.upkeep.snapshot_index(), Ordering::Relaxed);
        counters.data_bytes.store(self.machine.data_bytes(), Ordering::Relaxed);
        counters.log_bytes.store(log.bytes, Ordering::Relaxed);
        counters.log_segments.store(log.segments as u64, Ordering::Relaxed);
    }

    /// Tells how far the members are, once in a while.
    pub(super) fn tell_progress(&mut self) {
        if self.told_progress_at.is_none_or(|at| self.now >= at + PROGRESS_EVERY) {
            self.told_progress_at = Some(self.now);
            self.shared.progress.store(Arc::new(self.progress()));
        }
    }
}
