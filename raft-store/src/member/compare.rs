//! Members compare their states: the leader names an index and its sum there, each says its own, and whoever differs from
//! most voters stops, so that it serves nothing wrong and its data is fetched again from the others.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft::StateRole;

use super::Member;
use crate::error::DriverError;
use crate::membership::MemberId;
use crate::transport::letter::Note;
use crate::worker::Job;

const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// How often everything in memory is counted anew.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Entries of which the sum is remembered: far more than members are apart that are not sent a snapshot.
const SUMS_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct Sums {
    /// The sums after the last entries, by index.
    known: VecDeque<(u64, u64)>,
    /// The leader's question that this member has not come to yet.
    awaited: Option<(MemberId, u64)>,
    /// The leader's last question, and the answers.
    asked: Option<(u64, BTreeMap<MemberId, u64>)>,
    compare_at: Duration,
    count_at: Duration,
}

impl Sums {
    fn at(&self, index: u64) -> Option<u64> {
        let first = self.known.front()?.0;
        let place = usize::try_from(index.checked_sub(first)?).ok()?;
        self.known.get(place).map(|(_, sum)| *sum)
    }

    /// The state after `index` has this sum.
    pub(super) fn note(&mut self, index: u64, sum: u64) {
        if self.known.back().is_some_and(|(last, _)| last + 1 != index) {
            self.known.clear();
        }
        if self.known.len() == SUMS_MAX {
            self.known.pop_front();
        }
        self.known.push_back((index, sum));
    }
}

/// The sum that more than half of the voters have, if so many are known to have one.
fn majority(sums: &BTreeMap<MemberId, u64>, voters: &[u64]) -> Option<u64> {
    let of_voters = || sums.iter().filter(|(member, _)| voters.contains(&member.0)).map(|(_, sum)| *sum);
    of_voters().find(|sum| of_voters().filter(|other| other == sum).count() > voters.len() / 2)
}

impl Member {
    /// Asks the others, and has the memory counted, once in a while.
    pub(super) fn tend_sums(&mut self) {
        if self.now >= self.sums.count_at + COUNT_EVERY {
            self.sums.count_at = self.now;
            self.upkeep.add(Job::Count { machine: Box::new(self.machine.clone()) });
        }
        let due = self.now >= self.sums.compare_at + COMPARE_EVERY && self.needs_ticks();
        if !due || self.node.raft.state != StateRole::Leader {
            return;
        }
        self.sums.compare_at = self.now;
        let (index, sum, me) = (self.applied.index, self.machine.sum(), self.id());
        self.sums.asked = Some((index, BTreeMap::from([(me, sum)])));
        let others = self.conf_state.voters.iter().chain(&self.conf_state.learners);
        let others: Vec<MemberId> = others.map(|id| MemberId(*id)).filter(|id| *id != me).collect();
        others.into_iter().for_each(|to| self.post(to, Note::Compare { index, sum }));
    }

    /// The leader wants to know this member's sum.
    pub(super) fn asked_for_sum(&mut self, leader: MemberId, index: u64) {
        if index > self.applied.index {
            self.sums.awaited = Some((leader, index));
        } else if let Some(sum) = self.sums.at(index) {
            self.post(leader, Note::Compared { index, sum });
        }
    }

    /// An entry was applied.
    pub(super) fn note_sum(&mut self) {
        let index = self.applied.index;
        self.sums.note(index, self.machine.sum());
        if let Some((leader, _)) = self.sums.awaited.take_if(|(_, awaited)| *awaited <= index) {
            self.asked_for_sum(leader, index);
        }
    }

    /// A member says its sum.
    pub(super) fn compared(&mut self, from: MemberId, index: u64, sum: u64) -> Result<(), DriverError> {
        let me = self.id();
        let Some((asked, sums)) = self.sums.asked.as_mut().filter(|(asked, _)| *asked == index) else {
            return Ok(());
        };
        let asked = *asked;
        sums.insert(from, sum);
        let sums = sums.clone();
        if sums.values().all(|other| *other == sum) {
            return Ok(());
        }
        tracing::error!(index = asked, ?sums, "members have different states");
        let Some(right) = majority(&sums, &self.conf_state.voters) else { return Ok(()) };
        for (member, _) in sums.iter().filter(|(member, sum)| **sum != right && **member != me) {
            self.post(*member, Note::Differs { index });
        }
        if sums.get(&me) == Some(&right) { Ok(()) } else { Err(self.diverged(index)) }
    }

    /// The leader found that this member is the odd one.
    pub(super) fn differs(&self, from: MemberId, index: u64) -> Result<(), DriverError> {
        if from.0 == self.node.raft.leader_id { Err(self.diverged(index)) } else { Ok(()) }
    }

    fn diverged(&self, index: u64) -> DriverError {
        DriverError::Diverged { dir: self.shared.dir.clone(), index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_found_by_index_and_forgotten_in_order() {
        let mut sums = Sums::default();
        (5..5_000).for_each(|index| sums.note(index, index * 10));
        assert_eq!(sums.at(4_999), Some(49_990));
        assert_eq!(sums.at(5_000 - SUMS_MAX as u64), Some((5_000 - SUMS_MAX as u64) * 10));
        assert_eq!((sums.at(5), sums.at(5_000)), (None, None));
        sums.note(9_000, 1);
        assert_eq!((sums.at(9_000), sums.at(4_999)), (Some(1), None), "a jump begins anew");
    }

    #[test]
    fn only_more_than_half_of_all_voters_are_right() {
        let case = |sums: &[(u64, u64)], voters: &[u64]| {
            let sums = sums.iter().map(|(member, sum)| (MemberId(*member), *sum)).collect();
            majority(&sums, voters)
        };
        assert_eq!(case(&[(1, 7), (2, 7), (3, 8)], &[1, 2, 3]), Some(7));
        assert_eq!(case(&[(1, 8), (2, 7), (3, 7)], &[1, 2, 3]), Some(7));
        assert_eq!(case(&[(1, 7), (3, 8)], &[1, 2, 3]), None, "the third decides");
        assert_eq!(case(&[(1, 7), (2, 8)], &[1, 2]), None);
        assert_eq!(case(&[(1, 7), (4, 8), (5, 8)], &[1]), Some(7), "learners have no voice");
    }
}
