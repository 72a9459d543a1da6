//! How processes end, and what is owed to those who talk to them then.

use rand::RngExt;

use super::Micros;
use super::clients::{Ended, Request};
use super::node::End;
use super::oracle::{Check, violation};
use super::world::{Event, World};
use crate::error::DriverError;

/// A process that is asked to stop does so within this time.
const STOPS_WITHIN: Micros = 1_500_000;

/// Another one leads so long after a leader has stopped: sooner than anybody would have missed it.
const LEADS_WITHIN: Micros = 150_000;

impl World {
    /// A process ended by itself, or was killed inside.
    pub(super) fn ended(&mut self, at: usize, end: &End) -> Check {
        self.trace.note(self.now, &[13, at as u64], || format!("member {} ends: {end:?}", at + 1));
        let (power, down) = match end {
            End::Killed => (self.random.random_bool(0.5), self.random.random_range(1_000..500_000)),
            End::Stopped => {
                self.statistics.stopped += 1;
                self.nodes[at].close();
                self.poll_all(at)?;
                (self.random.random_bool(0.3), self.random.random_range(1_000..500_000))
            }
            End::Failed(DriverError::Unsound | DriverError::Diverged { .. }) if self.nodes[at].flipped => {
                self.statistics.stepped_aside += 1;
                self.nodes[at].close();
                (false, self.random.random_range(1_000..500_000))
            }
            End::Failed(DriverError::Forgot { .. }) if self.lost == Some(at) => (false, 1_000),
            End::Failed(DriverError::Disk(error)) if !error.is_full() => {
                self.nodes[at].close();
                self.poll_all(at)?;
                (true, self.random.random_range(100_000..500_000))
            }
            End::Failed(DriverError::Removed { .. })
                if self.operator.removing.contains(&self.nodes[at].id) =>
            {
                self.statistics.removed += 1;
                self.nodes[at].close();
                self.poll_all(at)?;
                self.nodes[at].removed = true;
                (false, 0)
            }
            End::Failed(error) => violation!("member {} gave up: {error:?}", at + 1),
        };
        self.nodes[at].faults.sync_fails_at = None;
        self.crash(at, power, down);
        // What is on the disk may be as wrong as what was in memory.
        if matches!(end, End::Failed(DriverError::Diverged { .. } | DriverError::Forgot { .. })) {
            self.reseed(at);
        }
        Ok(())
    }

    /// Calls under way on a member that is gone.
    pub(super) fn disconnect(&mut self, at: usize) {
        for number in 0..self.clients.len() {
            let client = &mut self.clients[number];
            if client.at == at && !client.is_idle() {
                client.lost(&mut self.histories);
                client.at = self.random.random_range(0..self.nodes.len());
                let pause = self.random.random_range(1_000..50_000);
                self.at(self.now + pause, Event::Call { client: number });
            }
        }
        self.disconnect_operator(at);
        self.watchers.iter_mut().filter(|watcher| watcher.at == at).for_each(|watcher| watcher.leave(at));
    }

    /// All is well, and one leader after the other is asked to stop: it answers what it was given and lets another one
    /// lead, so that nobody has to miss it first.
    pub(super) fn stop_in_turn(&mut self) -> Check {
        for _ in 0..3 {
            // Of two, one alone elects nobody.
            if self.members().voters.len() < 3 {
                return Ok(());
            }
            let Some(leader) = self.leader() else { violation!("nobody leads, and all is well") };
            let request = Request::put(&self.keys[0], &mut self.histories);
            self.clients[0].at = leader;
            self.begin(0, request)?;
            self.nodes[leader].stop();
            self.wake(leader, self.now);
            let life = self.nodes[leader].life;
            let gone =
                |world: &Self| world.nodes[leader].running.is_none() || world.nodes[leader].life != life;
            self.run_until(self.now + STOPS_WITHIN, gone)?;
            if !gone(self) {
                violation!("member {} was asked to stop and did not", leader + 1);
            }
            if !matches!(self.clients[0].last, Some(Ended::Done | Ended::Refused)) {
                violation!("member {} stopped and owed an answer", leader + 1);
            }
            self.run_until(self.now + LEADS_WITHIN, |world| world.leader().is_some_and(|at| at != leader))?;
            if self.leader().is_none_or(|at| at == leader) {
                violation!("member {} stopped and let nobody else lead", leader + 1);
            }
            self.agree_again()?;
        }
        Ok(())
    }
}
