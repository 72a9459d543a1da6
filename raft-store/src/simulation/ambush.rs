//! Faults in two steps, each a moment at which a lease must not be trusted any more: leadership is handed over by a leader
//! that will not hear of it, and a vote is asked of one who has just forgotten what it promised. Drawn one by one, the
//! steps hardly ever fall together.

use rand::RngExt;

use super::Micros;
use super::faults::{Follow, Relief};
use super::oracle::Check;
use super::world::{Event, World};

/// Clients only read for so long before the leader is cut off from one member: that has everything then, so that the
/// others would elect it.
const LULL: Micros = 60_000;

impl World {
    pub(super) fn ambush(&mut self) {
        let Some(leader) = self.leader().filter(|at| self.nodes[*at].is_serving()) else { return };
        let count = self.nodes.len();
        if count < 3 {
            return;
        }
        let other = (leader + self.random.random_range(1..count)) % count;
        if self.random.random_bool(0.5) {
            let links = (0..count).map(|at| (at, leader)).collect();
            self.cut_for(links, 300_000);
            self.transfer_to(leader, other);
        } else {
            self.lull = true;
            self.at(self.now + LULL, Event::Follow(Follow::Part { leader, other }));
        }
    }

    pub(super) fn follow(&mut self, follow: Follow) -> Check {
        if !self.stormy {
            return Ok(());
        }
        self.trace.note(self.now, &[6], || format!("then: {follow:?}"));
        match follow {
            Follow::Kill { at } => self.crash_inside(at),
            Follow::Part { leader, other } => {
                self.cut_for(vec![(leader, other), (other, leader)], 2_000_000);
                // About when `other` asks to be elected.
                let then = self.now + self.random.random_range(220_000..480_000);
                self.at(then, Event::Follow(Follow::Forget { leader, other }));
            }
            Follow::Forget { leader, other } => {
                let all = 0..self.nodes.len();
                let links = all.clone().flat_map(|at| [(leader, at), (at, leader)]).collect();
                self.cut_for(links, 300_000);
                for at in all.filter(|at| *at != leader && *at != other) {
                    let down = self.random.random_range(500..3_000);
                    self.crash(at, false, down);
                }
                self.lull = false;
            }
        }
        Ok(())
    }

    /// Cuts links, given as places of the members, and no others.
    fn cut_for(&mut self, links: Vec<(usize, usize)>, long: Micros) {
        self.statistics.partitions += 1;
        self.cuts += 1;
        self.trace.note(self.now, &[3, links.len() as u64], || format!("links cut, by place: {links:?}"));
        self.network.cut(links.into_iter().map(|(from, to)| (from as u64 + 1, to as u64 + 1)));
        self.at(self.now + long, Event::Relief(Relief::Heal { cut: self.cuts }));
    }
}
