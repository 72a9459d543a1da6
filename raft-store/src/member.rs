//! One participant in Raft, without threads and without a clock: it is told what came in and what time it is, and
//! says what must be synced and done. The driver's thread runs it; so can a simulation.
//!
//! Invariants: `snapshot <= applied <= committed <= durable` (as indexes); a proposal is answered only when the
//! entry that carries it was applied, and an entry is applied only when it is durable on a quorum.

mod apply;
mod asks;
mod changes;
mod compare;
mod fetch;
mod forwards;
#[cfg(test)]
pub(crate) mod inspect;
mod join;
mod leaving;
mod letters;
mod observe;
mod proposals;
mod reads;
mod snapshots;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{ConfState, Message};
use raft::{RawNode, Ready, StateRole};

use crate::config::Config;
use crate::disk::DiskError;
use crate::error::{DriverError, ProposeError, ReadError};
use crate::log::frame::Position;
use crate::log::{Log, Unsynced};
use crate::machine::Machine;
use crate::membership::{ClusterId, MemberId};
use crate::mutant::{self, Mutant};
use crate::raft_logger;
use crate::shared::{Input, Shared};
use crate::snapshot_file::Meta;
use crate::transport::Letter;
use asks::Asks;
use compare::Sums;
use fetch::Incoming;
use forwards::Forwards;
use join::Joining;
use proposals::Proposals;
use reads::Reads;
use snapshots::Outgoing;
use upkeep::Upkeep;

pub(crate) use changes::change_of;
pub(crate) use join::JOINING_FILE;

/// Raft's clock: a heartbeat is sent every two of these; for ten after one, nobody votes for another leader.
pub(crate) const TICK: Duration = Duration::from_millis(20);
const ELECTION_TICKS: usize = 10;
/// An election begins after so many without a leader: later than the others may vote, also those whose clock began
/// between two ticks, because a vote that is refused costs another such time.
const CAMPAIGN_TICKS: Range<usize> = ELECTION_TICKS + 2..2 * ELECTION_TICKS;
const HEARTBEAT_TICKS: usize = 2;

/// Size of one message with entries, about; larger ones would delay heartbeats behind them.
const MESSAGE_BYTES: u64 = 256 << 10;

/// Messages under way to a member that has not answered: together less than a transport queues.
const INFLIGHT_MESSAGES: usize = 64;

/// Committed entries handed out at a time.
const APPLY_BYTES: u64 = 16 << 20;

/// What [`crate::open`] found in the folder.
pub(crate) struct Parts {
    pub(crate) machine: Machine,
    pub(crate) log: Log,
    /// Of the newest snapshot.
    pub(crate) meta: Meta,
    pub(crate) applied: Position,
    /// After the last applied entry.
    pub(crate) conf_state: ConfState,
    /// Tells this run of the member from its others.
    pub(crate) run: u64,
    /// The folder says that it has not been let in.
    pub(crate) is_joining: bool,
}

pub(crate) struct Member {
    node: RawNode<Log>,
    machine: Machine,
    shared: Arc<Shared>,
    cluster: ClusterId,
    conf_state: ConfState,
    applied: Position,
    proposals: Proposals,
    forwards: Forwards,
    asks: Asks,
    reads: Reads,
    upkeep: Upkeep,
    run: u64,
    joining: Joining,
    /// The folder says that this member has not been let in.
    is_marked: bool,
    /// It was let in since it was started.
    was_let_in: bool,
    /// How often it asked to be let in again since then.
    begun_anew: u64,
    /// When something last came from each member.
    heard_at: BTreeMap<MemberId, Duration>,
    /// Empty members that this one let in as the leader, and which run of them.
    let_in: BTreeMap<MemberId, u64>,
    sums: Sums,
    incoming: Option<Incoming>,
    outgoing_snapshots: Outgoing,
    /// Raft waits for news of these, and nothing could be offered to them.
    refused_snapshots: Vec<MemberId>,
    outgoing: Vec<Letter>,
    /// When `progress` was last told, unless it is to be told at once.
    told_progress_at: Option<Duration>,
    /// The disk was full; it is asked again at this time.
    full_until: Option<Duration>,
    /// What Raft wants written, while there is no space for it.
    unwritten: Option<Ready>,
    /// Written and not known to be durable, in the order of the log.
    unsynced: VecDeque<Written>,
    /// Asked to stop: then it hands over what it leads, until this time at the latest.
    leave_by: Option<Duration>,
    /// When it last let another one lead because of a full disk.
    moved_at: Duration,
    /// Since when the leader believes that this member has more than it has.
    ahead_since: Option<Duration>,
    /// When it was first run.
    opened_at: Option<Duration>,
    now: Duration,
}

/// A ready of which everything is written.
struct Written {
    /// Of the last frame.
    sequence: u64,
    number: u64,
    /// To be sent when it is durable.
    messages: Vec<Message>,
}

impl Member {
    pub(crate) fn new(config: &Config, shared: Arc<Shared>, parts: Parts) -> Result<Self, raft::Error> {
        let Parts { machine, log, meta, applied, conf_state, run, is_joining } = parts;
        let options = raft::Config {
            id: config.member.0,
            election_tick: ELECTION_TICKS,
            min_election_tick: CAMPAIGN_TICKS.start,
            max_election_tick: CAMPAIGN_TICKS.end,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: applied.index,
            max_size_per_msg: MESSAGE_BYTES,
            max_inflight_msgs: INFLIGHT_MESSAGES,
            max_committed_size_per_ready: APPLY_BYTES,
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        let proposals = Proposals::new(log.segment_bytes());
        let node = RawNode::new(&options, log, &raft_logger::logger())?;
        let member = Self {
            node,
            machine,
            shared,
            cluster: meta.cluster,
            conf_state,
            applied,
            proposals,
            forwards: Forwards::new(config.member, run),
            asks: Asks::default(),
            reads: Reads::new(run),
            upkeep: Upkeep::new(meta.position.index, config.snapshot_after_bytes),
            run,
            joining: if is_joining { Joining::Knocking(Duration::ZERO) } else { Joining::Joined },
            heard_at: BTreeMap::new(),
            is_marked: is_joining,
            was_let_in: false,
            begun_anew: 0,
            let_in: BTreeMap::new(),
            sums: Sums::default(),
            incoming: None,
            outgoing_snapshots: Outgoing::default(),
            refused_snapshots: Vec::new(),
            outgoing: Vec::new(),
            told_progress_at: None,
            full_until: None,
            unwritten: None,
            unsynced: VecDeque::new(),
            leave_by: None,
            moved_at: Duration::ZERO,
            ahead_since: None,
            opened_at: None,
            now: Duration::ZERO,
        };
        member.count();
        Ok(member)
    }

    /// Takes in what came, at time `now` (since a fixed moment). Returns what must be synced before the rest of it can go
    /// on; the caller syncs it and calls [`synced`](Self::synced).
    pub(crate) fn step(
        &mut self,
        inputs: impl Iterator<Item = Input>,
        now: Duration,
    ) -> Result<Option<Unsynced>, DriverError> {
        self.now = now;
        self.opened_at.get_or_insert(now);
        self.check_membership()?;
        for input in inputs {
            match input {
                Input::Propose(proposal) if self.leave_by.is_some() => {
                    proposal.answer(Err(ProposeError::Closed));
                }
                Input::Propose(proposal) => self.proposals.accept(proposal, now),
                Input::Read(request) => self.read(request),
                Input::Copy(reply) => self.copy_out(reply),
                Input::Task(task) => self.forwards.accept(task, now),
                Input::Letter { letter, bytes } => {
                    self.shared.letter_taken(bytes);
                    self.receive(letter)?;
                }
                Input::Done(outcome) => self.job_done(outcome)?,
                Input::Shutdown => self.leave(),
            }
        }
        if self.unwritten.is_none() {
            if self.is_sole_voter() && self.node.raft.state != StateRole::Leader {
                self.campaign()?;
            }
            self.tend_outgoing();
            self.tend_incoming();
            self.turn_away_asks();
            self.propose()?;
            self.forward();
            self.ask_for_reads();
            self.hand_over();
            self.move_to_where_space_is();
        } else {
            self.refuse_when_full();
        }
        self.advance()
    }

    /// Raft's clock has moved one [`TICK`]. Not needed while there is nobody to talk to.
    pub(crate) fn tick(&mut self) {
        // Raft must not be touched while it waits for something to be written.
        if self.unwritten.is_none() {
            self.node.tick();
        }
    }

    /// What an earlier call wanted synced is on the disk.
    pub(crate) fn synced(&mut self, unsynced: &Unsynced) -> Result<Option<Unsynced>, DriverError> {
        self.node.mut_store().synced(unsynced.sequence);
        while self.unsynced.front().is_some_and(|written| written.sequence <= unsynced.sequence) {
            let written = self.unsynced.pop_front().expect("checked to be there");
            self.node.on_persist_ready(written.number);
            self.post_all(written.messages);
        }
        self.advance()
    }

    /// Messages for other members, to be sent before the caller waits for the disk: those of a leader may overtake its
    /// own write, and those that must not are not among them yet.
    pub(crate) fn take_messages(&mut self) -> Vec<Letter> {
        letters::leave_out_repeated(&mut self.outgoing);
        std::mem::take(&mut self.outgoing)
    }

    /// Whether there is anybody to talk to.
    pub(crate) fn needs_ticks(&self) -> bool {
        !self.is_sole_voter() || !self.conf_state.learners.is_empty()
    }

    /// Whether there is more to do at once.
    pub(crate) fn wants_more(&self) -> bool {
        let raft = &self.node.raft;
        if self.full_until.is_some() || self.unwritten.is_some() {
            return false;
        }
        if raft.state == StateRole::Leader {
            let waiting = self.proposals.are_waiting() || self.asks.are_waiting();
            return waiting && raft.lead_transferee.is_none();
        }
        raft.leader_id != raft::INVALID_ID && self.proposals.are_waiting() && !self.forwards.is_full()
    }

    /// When it wants to be called though nothing came in.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let task_at = self.forwards.next_task_at().map(|at| at.max(self.now + TICK));
        self.full_until.into_iter().chain(task_at).min()
    }

    /// Refuses what was not proposed yet. What was, stays without an answer: it may be in the log.
    pub(crate) fn close(&mut self) {
        self.proposals.refuse(|| ProposeError::Closed);
        self.reads.refuse(&ReadError::Closed);
        self.forwards.close();
    }

    fn id(&self) -> MemberId {
        MemberId(self.node.raft.id)
    }

    fn is_sole_voter(&self) -> bool {
        let ConfState { voters, voters_outgoing, .. } = &self.conf_state;
        voters[..] == [self.node.raft.id] && voters_outgoing.is_empty()
    }

    /// The only voter need not wait for the clock.
    fn campaign(&mut self) -> Result<(), DriverError> {
        if self.has_room(0)? {
            self.node.campaign().map_err(raft_failed)?;
        }
        Ok(())
    }

    /// Carries out what Raft wants, in the order it asks for (the comments of `raft::RawNode`): messages of a leader go
    /// out before the disk has the entries (Raft thesis §10.2.1), those of a follower after; entries are written and then
    /// synced by the caller; committed entries are applied.
    fn advance(&mut self) -> Result<Option<Unsynced>, DriverError> {
        let again = self.unwritten.is_some();
        while let Some(ready) = self.next_ready() {
            if let Err(error) = self.write(&ready) {
                // Raft has the entries already, so there is no way back: they wait for space. Where blocks are allocated
                // ahead it does not come to this, because `has_room` was asked.
                self.unwritten = Some(ready);
                self.note_full(error)?;
                break;
            }
            if again {
                self.note_space();
            }
            self.finish(ready)?;
        }
        self.reads.answer(self.applied.index);
        self.observe_leadership();
        self.publish_lease();
        self.finish_joining();
        self.tend_sums();
        self.tell_progress();
        self.plan_jobs();
        self.count();
        Ok(self.node.store().unsynced())
    }

    fn write(&mut self, ready: &Ready) -> Result<(), DiskError> {
        if !ready.snapshot().is_empty() && self.applied.index < ready.snapshot().get_metadata().index {
            self.install(ready.snapshot(), ready.hs())?;
        }
        self.node.mut_store().append(ready.entries(), ready.hs())
    }

    fn next_ready(&mut self) -> Option<Ready> {
        if self.unwritten.is_some() {
            let again = self.full_until.is_none_or(|until| self.now >= until);
            return self.unwritten.take_if(|_| again);
        }
        self.node.has_ready().then(|| {
            let mut ready = self.node.ready();
            self.post_all(ready.take_messages());
            ready
        })
    }

    /// The rest of a ready whose entries are written.
    fn finish(&mut self, mut ready: Ready) -> Result<(), DriverError> {
        let messages = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        for state in ready.take_read_states() {
            self.reads.confirm(&state.request_ctx, state.index);
        }
        let (number, jumped) = (ready.number(), !ready.snapshot().is_empty());
        self.node.advance_append_async(ready);
        if jumped {
            return self.finish_jump(number, messages);
        }
        match self.node.store().unsynced().filter(|_| !mutant::planted(Mutant::AckBeforeSync)) {
            Some(Unsynced { sequence, .. }) => {
                self.unsynced.push_back(Written { sequence, number, messages });
            }
            None => {
                self.node.on_persist_ready(number);
                self.post_all(messages);
            }
        }
        self.apply(committed)
    }

    /// The rest of a ready with a snapshot: Raft may go on only when all of it is on the disk.
    fn finish_jump(&mut self, number: u64, messages: Vec<Message>) -> Result<(), DriverError> {
        self.node.mut_store().sync_now()?;
        self.node.on_persist_ready(number);
        for written in std::mem::take(&mut self.unsynced) {
            self.post_all(written.messages);
        }
        self.post_all(messages);
        self.node.advance_apply_to(self.applied.index);
        Ok(())
    }
}

fn raft_failed(error: raft::Error) -> DriverError {
    DriverError::Raft { source: Box::new(error) }
}

#[cfg(test)]
mod tests;
