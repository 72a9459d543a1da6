//! What must always hold, checked after every step of every member.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use raft::Storage;
use raft::eraftpb::{Message, MessageType};

use super::node::{Node, Running};
use super::trace::{digest, mix};
use crate::command::{Op, Txn};
use crate::history::{Cursor, Read};
use crate::machine::Machine;
use crate::member::inspect::View;
use crate::membership::Members;
use crate::snapshot_file::Meta;
use crate::state::{KeyRange, Revision, Snapshot};
use crate::watch::{Event, WatchEnd};

/// What should not have happened.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String);

pub(super) type Check = Result<(), Violation>;

/// Returns a violation, in words.
macro_rules! violation {
    ($($words:tt)*) => { return Err($crate::simulation::oracle::Violation(format!($($words)*))) };
}
pub(super) use violation;

/// An entry of the log: its term and a digest of its content.
type Slot = (u64, u64);

/// Everything that was ever seen, of all members together.
#[derive(Default)]
pub(super) struct Oracle {
    /// Term → who led it.
    leaders: BTreeMap<u64, u64>,
    /// Member and term → whom it voted for.
    votes: BTreeMap<(u64, u64), u64>,
    /// Member → the newest term it told others.
    terms: BTreeMap<u64, u64>,
    /// Index and term → digest of the entry, and the term before it.
    entries: HashMap<(u64, u64), (u64, u64)>,
    /// Index of the entry before all those that this looks at.
    base: u64,
    /// Entries known to be committed, from the one after `base` on.
    committed: Vec<Slot>,
    /// Index → revision and digest of the state after it.
    states: BTreeMap<u64, (Revision, u64)>,
    /// Revision → what changed.
    pub(super) events: BTreeMap<Revision, Vec<Arc<Event>>>,
    /// Revision → what was acknowledged to have been put at it.
    acknowledged: BTreeMap<Revision, Vec<Op>>,
    /// Number in a value → the revision that wrote it.
    pub(super) written: HashMap<u64, Revision>,
    /// The greatest revision that was acknowledged or read.
    pub(super) floor: Revision,
    mirrors: BTreeMap<u64, Mirror>,
}

/// What one process showed last.
struct Mirror {
    life: u64,
    view: View,
    revision: Revision,
    /// Index of the entry before the first, and the entries.
    base: u64,
    slots: Vec<Slot>,
    audit: Cursor,
}

/// The number that every value begins with.
pub(super) fn number_of(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Oracle {
    /// For a cluster that begins after an entry.
    pub(super) fn after(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// A member lost what it had: it may not know what it promised. Those who rely on it must not.
    pub(super) fn forget(&mut self, id: u64) {
        self.votes.retain(|(member, _), _| *member != id);
        self.terms.remove(&id);
        self.mirrors.remove(&id);
    }

    /// Index of the last entry that is known to be committed.
    pub(super) fn last_committed(&self) -> u64 {
        self.base + self.committed.len() as u64
    }

    /// How many terms had a leader.
    pub(super) fn terms_led(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Looks at a member after it did something.
    pub(super) fn observe(&mut self, node: &Node) -> Check {
        let Some(running) = &node.running else { return Ok(()) };
        let view = running.member.view();
        let mut mirror = match self.mirrors.remove(&node.id) {
            Some(mirror) if mirror.life == node.life => mirror,
            _ => self.first_look(node, running, view)?,
        };
        self.check_roles(node.id, &view, &mirror.view)?;
        self.check_log(node.id, running, &mut mirror)?;
        let committed = self.check_commit(node.id, running, &view, &mirror)?;
        if !node.flipped {
            self.check_state(node.id, running, &view, &mut mirror)?;
        }
        mirror.view = View { committed, ..view };
        self.mirrors.insert(node.id, mirror);
        Ok(())
    }

    /// A process that was just started.
    fn first_look(&self, node: &Node, running: &Running, view: View) -> Result<Mirror, Violation> {
        let floor = running.shared.history.sizes().floor;
        let audit = subscribe(running, floor)?;
        // What was committed before it came back is looked at again.
        let view = View { committed: running.member.log().first_index().expect("it has one") - 1, ..view };
        Ok(Mirror { life: node.life, view, revision: floor, base: 0, slots: Vec::new(), audit })
    }

    /// Election safety, and that nothing goes back.
    fn check_roles(&mut self, id: u64, view: &View, before: &View) -> Check {
        if view.term < before.term
            || view.committed < before.committed
            || view.applied.index < before.applied.index
        {
            violation!("member {id} went back from {before:?} to {view:?}");
        }
        if view.applied.index > view.committed {
            violation!("member {id} applied what is not committed: {view:?}");
        }
        if view.leads {
            let leader = *self.leaders.entry(view.term).or_insert(id);
            if leader != id {
                violation!("members {leader} and {id} both lead term {}", view.term);
            }
        }
        Ok(())
    }

    /// Looks at a message that leaves a member: what it promises must outlive the process.
    pub(super) fn sent(&mut self, message: &Message) -> Check {
        let Message { from, to, term, reject, .. } = *message;
        match message.msg_type {
            MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse => return Ok(()),
            MessageType::MsgRequestVote => self.vote(from, term, from)?,
            MessageType::MsgRequestVoteResponse if !reject => self.vote(from, term, to)?,
            _ => {}
        }
        let newest = self.terms.entry(from).or_insert(term);
        // Questions that a member passes on have no term.
        if term != 0 && term < *newest {
            violation!("member {from} went back from term {newest} to {term}");
        }
        *newest = term.max(*newest);
        Ok(())
    }

    fn vote(&mut self, id: u64, term: u64, candidate: u64) -> Check {
        let voted = *self.votes.entry((id, term)).or_insert(candidate);
        if voted != candidate {
            violation!("member {id} voted for {voted} and for {candidate} in term {term}");
        }
        Ok(())
    }

    /// Log matching: the same index and term mean the same entry after the same entry.
    fn check_log(&mut self, id: u64, running: &Running, mirror: &mut Mirror) -> Check {
        let log = running.member.log();
        let (base, last) = (log.first_index().expect("it has one") - 1, log.last().index);
        if mirror.base < base {
            let gone = ((base - mirror.base) as usize).min(mirror.slots.len());
            mirror.slots.drain(..gone);
            mirror.base = base;
        }
        mirror.slots.truncate((last - base) as usize);
        let term = |index| log.term(index).expect("it is in the log");
        let mut known = mirror.slots.len();
        while known > 0 && mirror.slots[known - 1].0 != term(base + known as u64) {
            known -= 1;
        }
        mirror.slots.truncate(known);
        for index in base + known as u64 + 1..=last {
            let found = log.read_entries(index, index + 1, u64::MAX);
            let entry = found.ok().and_then(|mut entries| entries.pop());
            let Some(entry) = entry else { violation!("member {id} cannot read entry {index}") };
            let slot = (entry.term, digest(entry.entry_type as u64, &entry.data));
            let (content, before) = (slot.1, term(index - 1));
            let seen = *self.entries.entry((index, entry.term)).or_insert((content, before));
            if seen != (content, before) {
                violation!("member {id} has another entry {index} of term {}", entry.term);
            }
            mirror.slots.push(slot);
        }
        Ok(())
    }

    /// State machine safety and leader completeness.
    fn check_commit(
        &mut self,
        id: u64,
        running: &Running,
        view: &View,
        mirror: &Mirror,
    ) -> Result<u64, Violation> {
        let committed = if view.waits_for_space { mirror.view.committed } else { view.committed };
        for index in mirror.view.committed.max(mirror.base).max(self.base) + 1..=committed {
            let slot = &mirror.slots[(index - mirror.base - 1) as usize];
            match self.committed.get((index - self.base - 1) as usize) {
                Some(known) if known == slot => {}
                Some(_) => violation!("member {id} committed another entry {index} of term {}", slot.0),
                None if self.last_committed() + 1 == index => self.committed.push(*slot),
                None => violation!("member {id} committed entry {index} before the one ahead of it"),
            }
        }
        if view.leads && !mirror.view.leads {
            let last = running.member.log().last().index;
            if last < self.last_committed() {
                violation!(
                    "member {id} leads term {} without all that is committed: it ends at {last}",
                    view.term
                );
            }
            for index in mirror.base.max(self.base) + 1..=self.last_committed() {
                let known = self.committed[(index - self.base - 1) as usize];
                if mirror.slots[(index - mirror.base - 1) as usize] != known {
                    violation!("member {id} leads term {} without the committed entry {index}", view.term);
                }
            }
        }
        Ok(committed)
    }

    /// The same state after the same entry, and the same changes at the same revision, each once and in order.
    fn check_state(&mut self, id: u64, running: &Running, view: &View, mirror: &mut Mirror) -> Check {
        let state = running.shared.state.load();
        if state.revision < mirror.revision {
            violation!("member {id} went back from revision {} to {}", mirror.revision, state.revision);
        }
        if state.revision > mirror.revision || view.applied != mirror.view.applied {
            let digest = state_of(&state, &running.shared.members.borrow());
            let known = *self.states.entry(view.applied.index).or_insert(digest);
            if known != digest {
                violation!(
                    "member {id} has another state after entry {}: revision {}, where others have {}",
                    view.applied.index,
                    digest.0,
                    known.0
                );
            }
        }
        loop {
            match running.shared.history.read(&mut mirror.audit) {
                Read::Batch(batch) => self.audit(id, &batch, &mut mirror.revision)?,
                Read::Again => {}
                Read::Nothing => break,
                Read::End(WatchEnd::Closed) => return Ok(()),
                // More was applied at once than the history keeps.
                Read::End(_) => {
                    let floor = running.shared.history.sizes().floor;
                    if floor <= mirror.revision {
                        violation!(
                            "member {id} ends a watch from {}, and remembers all since {floor}",
                            mirror.revision
                        );
                    }
                    running.shared.history.unsubscribe(&mirror.audit);
                    mirror.audit = subscribe(running, floor)?;
                    mirror.revision = floor;
                }
            }
        }
        if mirror.revision != state.revision {
            violation!(
                "member {id} has revision {} and no changes after {}",
                state.revision,
                mirror.revision
            );
        }
        Ok(())
    }

    /// A backup is the state that the members had after the entry that it says.
    pub(super) fn check_saved(&self, meta: &Meta, machine: &Machine) -> Check {
        let saved = state_of(&machine.snapshot(), &Members::of(&meta.conf_state));
        match self.states.get(&meta.position.index) {
            Some(known) if *known != saved => {
                violation!("a backup after entry {} is not what the members had then", meta.position.index)
            }
            _ => Ok(()),
        }
    }

    fn audit(&mut self, id: u64, batch: &[Arc<Event>], seen: &mut Revision) -> Check {
        for group in batch.chunk_by(|a, b| a.revision == b.revision) {
            let revision = group[0].revision;
            if revision != seen.next() {
                violation!("member {id} shows changes of revision {revision} after those of {seen}");
            }
            *seen = revision;
            match self.events.get(&revision) {
                Some(known) if known[..] == group[..] => continue,
                Some(_) => violation!("member {id} shows other changes at revision {revision}"),
                None => {}
            }
            self.check_acknowledged(revision, group)?;
            self.events.insert(revision, group.to_vec());
            for entry in group.iter().filter_map(|event| event.entry.as_ref()) {
                let first = *self.written.entry(number_of(&entry.value)).or_insert(revision);
                if first != revision {
                    violation!("one write happened twice, at revisions {first} and {revision}");
                }
            }
        }
        Ok(())
    }

    /// A transaction was acknowledged with this revision; it was its own if the transaction puts something.
    pub(super) fn acknowledge(&mut self, txn: &Txn, revision: Revision) -> Check {
        self.floor = self.floor.max(revision);
        let puts = txn.ops.iter().filter(|op| matches!(op, Op::Put(..))).cloned().collect::<Vec<_>>();
        if !puts.is_empty()
            && let Some(other) = self.acknowledged.insert(revision, puts)
        {
            violation!("two writes were acknowledged at revision {revision}: {other:?} and {:?}", txn.ops);
        }
        self.events.get(&revision).map_or(Ok(()), |events| self.check_acknowledged(revision, events))
    }

    /// What was acknowledged at this revision happened at it.
    fn check_acknowledged(&self, revision: Revision, events: &[Arc<Event>]) -> Check {
        let happened = |op: &Op| {
            let event = events.iter().find(|event| event.key == op.key());
            let entry = event.and_then(|event| event.entry.as_ref());
            matches!((op, entry), (Op::Put(_, value), Some(entry)) if entry.value == value)
        };
        match self.acknowledged.get(&revision) {
            Some(puts) if !puts.iter().all(happened) => {
                violation!("{puts:?} was acknowledged at revision {revision}, where {events:?} happened")
            }
            _ => Ok(()),
        }
    }

    /// Whether the changes of every revision so far were seen.
    pub(super) fn has_every_change(&self) -> bool {
        let newest = self.events.keys().last().copied().unwrap_or(Revision::FIRST);
        self.events.len() as u64 == newest.0 - Revision::FIRST.0
    }

    /// Changes of the range after `from` up to `to`; `None` when not all are known, because a member applied more at once
    /// than its history keeps.
    pub(super) fn changes<'a>(
        &'a self,
        range: &'a KeyRange,
        from: Revision,
        to: Revision,
    ) -> Option<impl Iterator<Item = &'a Arc<Event>>> {
        let known = self.events.range((Bound::Excluded(from), Bound::Excluded(from.max(to).next())));
        let known_all = known.clone().count() as u64 == to.0.saturating_sub(from.0);
        let events = known.flat_map(|(_, events)| events);
        known_all.then(|| events.filter(|event| range.contains(&event.key)))
    }
}

fn subscribe(running: &Running, floor: Revision) -> Result<Cursor, Violation> {
    let audit = running.shared.history.subscribe(KeyRange::all(), floor);
    audit.map_err(|end| Violation(format!("there is no watch from the floor {floor}: {end}")))
}

/// What members that have applied the same agree on.
fn state_of(state: &Snapshot, members: &Members) -> (Revision, u64) {
    (state.revision, digest(digest_of(state), format!("{members:?}").as_bytes()))
}

/// A digest of everything in a state.
pub(super) fn digest_of(state: &Snapshot) -> u64 {
    state.range(&KeyRange::all()).fold(state.revision.0, |hash, (key, entry)| {
        let hash = digest(digest(hash, key), &entry.value);
        mix(mix(hash, entry.created.0), entry.modified.0)
    })
}
