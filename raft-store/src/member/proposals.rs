//! Transactions on their way into the log: all that wait go into as few entries as they fit in, on the leader's own
//! account or, through [`super::forwards`], by the leader.

use std::collections::VecDeque;
use std::time::Duration;

use raft::StateRole;

use super::asks::Asked;
use super::{Member, raft_failed};
use crate::command::{Txn, TxnResponse, codec};
use crate::error::{DriverError, ProposeError};
use crate::log::frame::Position;
use crate::shared::Proposal;
use crate::transport::letter::Reply;

/// Transactions are put into one entry up to this size, about, or an eighth of a segment; and entries into one sync up
/// to four times that. More would only delay the first answers.
const ENTRY_BYTES: usize = 1 << 20;
const ROUND_ENTRIES: usize = 4;

/// How long a proposal waits for a leader to be known. An election takes a fraction of it.
pub(super) const LEADER_WAIT: Duration = Duration::from_secs(5);

/// How long a proposal in the log may wait for its fate before its owner is told that it is unknown.
pub(super) const FATE_WAIT: Duration = Duration::from_secs(10);

/// What was accepted and not answered.
pub(super) struct Proposals {
    entry_bytes: usize,
    /// Not proposed yet.
    waiting: VecDeque<Waiting>,
    /// Proposed by this member as the leader, in the order of the log.
    pending: VecDeque<(Position, Batch)>,
}

/// Somebody here waits for it.
pub(super) struct Waiting {
    pub(super) proposal: Proposal,
    pub(super) since: Duration,
}

/// The transactions of one entry.
pub(super) enum Batch {
    /// They were proposed here.
    Own(Vec<Waiting>),
    /// They came from another member, or nobody waits for them any more.
    Foreign(Vec<Txn>),
}

impl Proposals {
    pub(super) fn new(segment_bytes: u64) -> Self {
        let eighth = usize::try_from(segment_bytes / 8).unwrap_or(usize::MAX);
        let entry_bytes = ENTRY_BYTES.min(eighth);
        Self { entry_bytes, waiting: VecDeque::new(), pending: VecDeque::new() }
    }

    pub(super) fn accept(&mut self, proposal: Proposal, since: Duration) {
        self.waiting.push_back(Waiting { proposal, since });
    }

    /// Takes back what certainly did not happen, to be proposed once more.
    pub(super) fn take_back(&mut self, batch: Vec<Waiting>) {
        batch.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn are_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Answers everything that was not proposed yet.
    pub(super) fn refuse(&mut self, reason: impl Fn() -> ProposeError) {
        self.waiting.drain(..).for_each(|waiting| waiting.proposal.answer(Err(reason())));
    }

    /// Answers what waits for longer than it should: for a leader, or for its fate.
    pub(super) fn refuse_old(&mut self, now: Duration) {
        while self.waiting.front().is_some_and(|oldest| now > oldest.since + LEADER_WAIT) {
            let oldest = self.waiting.pop_front();
            oldest.into_iter().for_each(|oldest| oldest.proposal.answer(Err(ProposeError::NoLeader)));
        }
        let old = |batch: &Batch| match batch {
            Batch::Own(batch) => batch.first().is_some_and(|oldest| now > oldest.since + FATE_WAIT),
            Batch::Foreign(_) => false,
        };
        for (_, batch) in self.pending.iter_mut().filter(|(_, batch)| old(batch)) {
            batch.give_up();
        }
    }

    /// The next entry's transactions, and the length of its data.
    pub(super) fn next_batch(&mut self) -> Option<(Vec<Waiting>, usize)> {
        let (mut batch, mut bytes) = (Vec::new(), codec::ENVELOPE_BYTES);
        while let Some(next) = self.waiting.front() {
            let more = codec::encoded_len(&next.proposal.txn);
            if !batch.is_empty() && bytes + more > self.entry_bytes {
                break;
            }
            bytes += more;
            batch.extend(self.waiting.pop_front());
        }
        (!batch.is_empty()).then_some((batch, bytes))
    }

    /// Bytes that are proposed before the disk is waited for.
    pub(super) fn round_bytes(&self) -> usize {
        ROUND_ENTRIES * self.entry_bytes
    }

    /// The batch of the entry at `position`, when this member proposed it. Batches whose entry was replaced by another
    /// leader's did not happen, and wait again.
    pub(super) fn take(&mut self, position: Position) -> Option<Batch> {
        let mut replaced = Vec::new();
        let mut found = None;
        while self.pending.front().is_some_and(|(at, _)| at.index <= position.index) {
            let Some((at, batch)) = self.pending.pop_front() else { break };
            if at == position {
                found = Some(batch);
            } else if let Batch::Own(batch) = batch {
                replaced.extend(batch);
            }
        }
        self.take_back(replaced);
        found
    }

    /// The state jumped to `index`: of what was to be in the log before, nobody knows what became of it.
    pub(super) fn jumped(&mut self, index: u64) {
        while self.pending.front().is_some_and(|(at, _)| at.index <= index) {
            self.pending.pop_front().into_iter().for_each(|(_, mut batch)| batch.give_up());
        }
    }

    /// Encodes a batch as the data of an entry.
    pub(super) fn encode(batch: &[Waiting], bytes: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(bytes);
        codec::encode(batch.iter().map(|waiting| &waiting.proposal.txn), &mut data);
        data
    }
}

impl Batch {
    /// The transactions, and who waits for them.
    pub(super) fn into_parts(self) -> (Vec<Txn>, Vec<Waiting>) {
        match self {
            Self::Own(mut batch) => {
                let txns = batch.iter_mut().map(|waiting| waiting.proposal.take_txn()).collect();
                (txns, batch)
            }
            Self::Foreign(txns) => (txns, Vec::new()),
        }
    }

    /// Tells those who wait that nobody knows.
    fn give_up(&mut self) {
        let (txns, waiting) = std::mem::replace(self, Self::Foreign(Vec::new())).into_parts();
        waiting.into_iter().for_each(|waiting| waiting.proposal.answer(Err(ProposeError::Unknown)));
        *self = Self::Foreign(txns);
    }
}

/// Those who waited, with what became of it.
pub(super) fn answered(
    waiting: Vec<Waiting>,
    responses: Vec<TxnResponse>,
) -> impl Iterator<Item = (Proposal, TxnResponse)> {
    waiting.into_iter().map(|waiting| waiting.proposal).zip(responses)
}

impl Member {
    /// Proposes what waits, when this member leads; else it is forwarded.
    pub(super) fn propose(&mut self) -> Result<(), DriverError> {
        if self.node.raft.state != StateRole::Leader {
            self.refuse_when_full();
        } else {
            self.propose_round()?;
        }
        if !self.is_sole_voter() {
            self.proposals.refuse_old(self.now);
        }
        Ok(())
    }

    /// Own and foreign batches in turn, as many as one sync should cover.
    fn propose_round(&mut self) -> Result<(), DriverError> {
        let mut round = 0;
        while round < self.proposals.round_bytes() {
            let own = self.propose_own(round)?;
            let foreign = self.propose_asked(round + own)?;
            if own + foreign == 0 {
                break;
            }
            round += own + foreign;
        }
        Ok(())
    }

    /// Proposes the next batch of this member; returns its size.
    fn propose_own(&mut self, round: usize) -> Result<usize, DriverError> {
        // While leadership is being handed over, it is for the next leader.
        if self.node.raft.lead_transferee.is_some() {
            return Ok(0);
        }
        let Some((batch, bytes)) = self.proposals.next_batch() else { return Ok(0) };
        if !self.has_room(round + bytes)? {
            self.proposals.take_back(batch);
            self.refuse_when_full();
            return Ok(0);
        }
        let data = Proposals::encode(&batch, bytes);
        match self.append(Vec::new(), data)? {
            Some(position) => self.proposals.pending.push_back((position, Batch::Own(batch))),
            None => {
                self.proposals.take_back(batch);
                return Ok(0);
            }
        }
        Ok(bytes)
    }

    /// Proposes the next batch that another member asked for; returns its size.
    fn propose_asked(&mut self, round: usize) -> Result<usize, DriverError> {
        let Some(Asked { origin, txns, data }) = self.asks.next() else { return Ok(0) };
        let bytes = data.len();
        if !self.has_room(round + bytes)? {
            self.tell(origin, Reply::DiskFull);
            return Ok(0);
        }
        let mut context = Vec::new();
        origin.put(&mut context);
        match self.append(context, data.into())? {
            Some(position) => self.proposals.pending.push_back((position, Batch::Foreign(txns))),
            None => self.tell(origin, Reply::NotNow),
        }
        Ok(bytes)
    }

    /// Hands an entry to Raft; `None` when it takes none while leadership is being handed over.
    fn append(&mut self, context: Vec<u8>, data: Vec<u8>) -> Result<Option<Position>, DriverError> {
        match self.node.propose(context, data) {
            Ok(()) => {
                let raft = &self.node.raft;
                Ok(Some(Position { index: raft.raft_log.last_index(), term: raft.term }))
            }
            Err(raft::Error::ProposalDropped) => Ok(None),
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
