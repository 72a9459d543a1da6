//! Members that lose what they have: a folder is gone, a bit rots in a file or flips in memory. Whoever lost something is
//! sent it again by the others, and votes again when somebody sees to it. One at a time, so that the others are enough.

use rand::RngExt;

use super::Micros;
use super::faults::Kind;
use super::oracle::Check;
use super::world::{Event, World};
use crate::membership::{Founding, MemberId};

/// How often somebody looks after them.
const TEND_EVERY: Micros = 100_000;

impl World {
    /// Whether the others can do without this member.
    fn may_lose(&self, at: usize) -> bool {
        self.nodes.len() >= 3 && self.lost.is_none() && self.nodes[at].running.is_some()
    }

    /// A folder is removed.
    pub(super) fn wipe(&mut self, at: usize, down: Micros) {
        if self.may_lose(at) {
            self.crash(at, false, down);
            self.nodes[at].empty();
            self.statistics.wiped += 1;
            self.is_lost(at);
        }
    }

    /// A bit rots in a file.
    pub(super) fn damage(&mut self, at: usize, down: Micros) {
        if !self.may_lose(at) {
            return;
        }
        self.crash(at, false, down);
        self.lost = Some(at);
        let names = self.nodes[at].disk.names();
        let name = &names[self.random.random_range(0..names.len())];
        let content = self.nodes[at].disk.content(name);
        let length = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if length > 0 {
            let (place, bit) = (self.random.random_range(0..length), self.random.random_range(0..8));
            self.trace
                .note(self.now, &[5, place as u64], || format!("bit {bit} of byte {place} of {name} rots"));
            self.nodes[at].disk.tamper(name, |content| content[place] ^= 1 << bit);
        }
    }

    /// A bit flips in memory. Nobody can know before the member does, so clients do not ask it until then.
    pub(super) fn flip(&mut self, at: usize) {
        if !self.may_lose(at) {
            return;
        }
        let key = self.keys[self.random.random_range(0..self.keys.len())].clone();
        let running = self.nodes[at].running.as_mut().expect("one that runs may lose something");
        if running.member.flip(&key) {
            self.trace
                .note(self.now, &[7, at as u64], || format!("a bit of {key:?} flips at member {}", at + 1));
            self.statistics.flipped += 1;
            self.nodes[at].flipped = true;
            self.lost = Some(at);
            self.disconnect(at);
        }
    }

    /// Somebody starts a member so that it is sent everything again.
    pub(super) fn reseed(&mut self, at: usize) {
        self.trace.note(self.now, &[8, at as u64], || format!("member {} is to be re-seeded", at + 1));
        self.statistics.reseeded += 1;
        self.nodes[at].config.founding = Founding::Reseed;
        self.is_lost(at);
        let pause = self.random.random_range(1_000..300_000);
        self.at(self.now + pause, Event::Start { at });
    }

    fn is_lost(&mut self, at: usize) {
        self.lost = Some(at);
        self.nodes[at].returning = true;
        self.oracle.forget(self.nodes[at].id);
    }

    /// A folder could be opened.
    pub(super) fn opened(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.returning {
            // From now on its folder says what it waits for.
            node.config.founding = Founding::Join;
        } else if self.lost == Some(at) {
            // What rotted was of no use any more.
            self.lost = None;
        }
    }

    /// Promotes those who have learned everything again, and sees who is well.
    pub(super) fn tend(&mut self) -> Check {
        self.at(self.now + TEND_EVERY, Event::Tend);
        if let Some(at) = self.lost {
            self.see_if_well(at);
        }
        let learner = self.members().learners.first().copied();
        let serving: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].is_serving() && !self.nodes[*at].flipped)
            .collect();
        // While faults happen, the operator of the run promotes whom it added.
        let due = !self.stormy || !self.profile.faults.contains(&Kind::Operator);
        if let Some(learner) = learner.filter(|_| due && !serving.is_empty()) {
            let at = serving[self.random.random_range(0..serving.len())];
            self.promote(at, learner);
        }
        Ok(())
    }

    fn see_if_well(&mut self, at: usize) {
        let node = &self.nodes[at];
        let Some(running) = &node.running else { return };
        let member = MemberId(node.id);
        let votes = running.shared.members.borrow().voters.contains(&member);
        let knows_all = running.member.view().applied.index >= self.oracle.last_committed();
        if node.flipped && running.member.is_sound() {
            // The state of another member has taken the place of its own.
            let id = node.id;
            self.nodes[at].flipped = false;
            self.lost = None;
            self.oracle.forget(id);
        } else if node.returning && votes && knows_all && self.members().voters.contains(&member) {
            self.nodes[at].returning = false;
            self.lost = None;
        }
    }

    /// Nothing is lost, and everybody who takes part votes.
    pub(super) fn is_whole(&self) -> bool {
        self.lost.is_none() && self.members().learners.is_empty()
    }
}
