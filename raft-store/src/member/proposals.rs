//! Transactions on their way into the log: all that wait go into as few entries as they fit in.

use std::collections::VecDeque;
use std::time::Duration;

use raft::StateRole;

use super::{Member, raft_failed};
use crate::command::{TxnResponse, codec};
use crate::error::{DriverError, ProposeError};
use crate::log::frame::Position;
use crate::membership::MemberId;
use crate::shared::Proposal;

/// Transactions are put into one entry up to this size, about, or an eighth of a segment; and entries into one sync up
/// to four times that. More would only delay the first answers.
const ENTRY_BYTES: usize = 1 << 20;
const ROUND_ENTRIES: usize = 4;

/// How long a proposal waits for a leader to be known. An election takes a fraction of it.
const LEADER_WAIT: Duration = Duration::from_secs(5);

/// What was accepted and not answered.
pub(super) struct Proposals {
    entry_bytes: usize,
    /// Not proposed yet, with the time it came.
    waiting: VecDeque<(Proposal, Duration)>,
    /// Proposed, in the order of the log.
    pending: VecDeque<Batch>,
}

/// The transactions of one entry.
pub(super) struct Batch {
    position: Position,
    pub(super) proposals: Vec<Proposal>,
}

impl Proposals {
    pub(super) fn new(segment_bytes: u64) -> Self {
        let eighth = usize::try_from(segment_bytes / 8).unwrap_or(usize::MAX);
        let entry_bytes = ENTRY_BYTES.min(eighth);
        Self { entry_bytes, waiting: VecDeque::new(), pending: VecDeque::new() }
    }

    pub(super) fn accept(&mut self, proposal: Proposal, now: Duration) {
        self.waiting.push_back((proposal, now));
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Answers everything that was not proposed yet.
    pub(super) fn refuse(&mut self, reason: impl Fn() -> ProposeError) {
        self.waiting.drain(..).for_each(|(proposal, _)| proposal.answer(Err(reason())));
    }

    /// Answers what waits for longer than it should.
    fn refuse_old(&mut self, now: Duration) {
        while self.waiting.front().is_some_and(|(_, since)| now > *since + LEADER_WAIT) {
            let oldest = self.waiting.pop_front();
            oldest.into_iter().for_each(|(proposal, _)| {
                proposal.answer(Err(ProposeError::NotLeader { leader: None }));
            });
        }
    }

    /// The next entry's transactions, and the length of its data.
    fn next_batch(&mut self) -> Option<(Vec<Proposal>, usize)> {
        let (mut batch, mut bytes) = (Vec::new(), codec::ENVELOPE_BYTES);
        while let Some((next, _)) = self.waiting.front() {
            let more = codec::encoded_len(&next.txn);
            if !batch.is_empty() && bytes + more > self.entry_bytes {
                break;
            }
            bytes += more;
            batch.extend(self.waiting.pop_front().map(|(proposal, _)| proposal));
        }
        (!batch.is_empty()).then_some((batch, bytes))
    }

    /// The batch of the entry at `position`, when it is one of ours. Batches whose entry was replaced by another leader's
    /// did not happen and are told so.
    pub(super) fn take(&mut self, position: Position) -> Option<Batch> {
        while self.pending.front()?.position.index <= position.index {
            let batch = self.pending.pop_front()?;
            if batch.position == position {
                return Some(batch);
            }
            for proposal in batch.proposals {
                proposal.answer(Err(ProposeError::Superseded));
            }
        }
        None
    }
}

impl Batch {
    /// The proposals with what became of them.
    pub(super) fn answered(
        self,
        responses: Vec<TxnResponse>,
    ) -> impl Iterator<Item = (Proposal, TxnResponse)> {
        self.proposals.into_iter().zip(responses)
    }
}

impl Member {
    /// Proposes what waits, when this member leads; refuses it when another one does.
    pub(super) fn propose(&mut self) -> Result<(), DriverError> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            if raft.leader_id != raft::INVALID_ID {
                let leader = Some(MemberId(raft.leader_id));
                self.proposals.refuse(|| ProposeError::NotLeader { leader });
            }
            self.refuse_when_full();
            self.proposals.refuse_old(self.now);
            return Ok(());
        }
        let mut round = 0;
        while round < ROUND_ENTRIES * self.proposals.entry_bytes {
            let Some((batch, bytes)) = self.proposals.next_batch() else { break };
            if !self.has_room(round + bytes)? {
                let dir = &self.shared.dir;
                batch.into_iter().for_each(|proposal| {
                    proposal.answer(Err(ProposeError::DiskFull { dir: dir.clone() }));
                });
                self.refuse_when_full();
                break;
            }
            round += bytes;
            self.propose_batch(batch, bytes)?;
        }
        Ok(())
    }

    fn propose_batch(&mut self, proposals: Vec<Proposal>, bytes: usize) -> Result<(), DriverError> {
        let mut data = Vec::with_capacity(bytes);
        codec::encode(proposals.iter().map(|proposal| &proposal.txn), &mut data);
        match self.node.propose(Vec::new(), data) {
            Ok(()) => {
                let raft = &self.node.raft;
                let position = Position { index: raft.raft_log.last_index(), term: raft.term };
                self.proposals.pending.push_back(Batch { position, proposals });
                Ok(())
            }
            // Leadership is being handed over.
            Err(raft::Error::ProposalDropped) => {
                proposals.into_iter().for_each(|proposal| {
                    proposal.answer(Err(ProposeError::NotLeader { leader: None }));
                });
                Ok(())
            }
            Err(error) => Err(raft_failed(error)),
        }
    }

    pub(super) fn refuse_when_full(&mut self) {
        if self.full_until.is_some() {
            let dir = self.shared.dir.clone();
            self.proposals.refuse(|| ProposeError::DiskFull { dir: dir.clone() });
        }
    }
}
