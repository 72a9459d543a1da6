//! What goes wrong, when, and how it ends.

use rand::RngExt;

use super::Micros;
use super::network::Weather;
use super::oracle::Check;
use super::world::{Event, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another loss and delay of messages.
    Weather,
    /// Links are cut: one member off, both ways or one; two halves; a bridge; single links.
    Partition,
    /// One link is cut in one direction.
    Link,
    /// A process is killed, and the power may fail.
    Crash,
    /// A process is killed and is back at once.
    Restart,
    /// A process is killed half-way through what it does to its disk.
    CrashInside,
    /// A process is killed, and again while it catches up.
    Relapse,
    /// A process is asked to stop.
    Stop,
    /// Power fails everywhere.
    Blackout,
    /// A process does not run for a while.
    Pause,
    /// A disk is full for a while.
    DiskFull,
    /// A sync fails, once.
    SyncError,
    /// An operator adds, promotes or removes a member, or moves leadership.
    Operator,
    /// An operator moves leadership.
    Transfer,
    /// A leader is cut off just when those who may elect another one are told to, or forget that there is one.
    Ambush,
    /// A bit of a file changes while the process is down.
    Damage,
    /// A bit changes in the memory of a process.
    Flip,
    /// A folder is removed while the process is down.
    Wipe,
}

impl Kind {
    /// After these a member has to be sent everything again, or to be opened again.
    pub(super) const LOSSES: [Self; 3] = [Self::Damage, Self::Flip, Self::Wipe];

    pub(super) const ALL: [Self; 18] = [
        Self::Weather,
        Self::Partition,
        Self::Link,
        Self::Crash,
        Self::Restart,
        Self::CrashInside,
        Self::Relapse,
        Self::Stop,
        Self::Blackout,
        Self::Pause,
        Self::DiskFull,
        Self::SyncError,
        Self::Operator,
        Self::Transfer,
        Self::Ambush,
        Self::Damage,
        Self::Flip,
        Self::Wipe,
    ];
}

/// The second part of a fault.
#[derive(Debug, Clone, Copy)]
pub(super) enum Follow {
    /// A process is killed inside.
    Kill { at: usize },
    /// A member and the leader hear nothing of each other any more.
    Part { leader: usize, other: usize },
    /// The leader is cut off, and those who follow it are restarted, but for `other`.
    Forget { leader: usize, other: usize },
}

/// The end of a fault.
#[derive(Debug)]
pub(super) enum Relief {
    /// Only the newest cut is healed.
    Heal {
        cut: u64,
    },
    Resume {
        at: usize,
        life: u64,
    },
    FreeSpace {
        at: usize,
    },
}

impl World {
    /// Something goes wrong.
    pub(super) fn strike(&mut self) -> Check {
        let kind = self.profile.faults[self.random.random_range(0..self.profile.faults.len())];
        let at = self.random.random_range(0..self.nodes.len());
        let long = self.random.random_range(20_000..1_500_000);
        self.trace
            .note(self.now, &[1, kind as u64, at as u64], || format!("fault: {kind:?} at member {}", at + 1));
        match kind {
            Kind::Weather => self.network.weather = Weather::draw(&mut self.random),
            Kind::Partition => {
                let kind = self.random.random_range(0..6);
                self.partition(kind, long);
            }
            Kind::Link => self.partition(5, long),
            Kind::Crash => {
                let power = self.random.random_bool(0.5);
                self.crash(at, power, long);
            }
            Kind::Restart => {
                let down = self.random.random_range(1_000..20_000);
                self.crash(at, false, down);
            }
            Kind::CrashInside => self.crash_inside(at),
            Kind::Relapse => {
                let power = self.random.random_bool(0.5);
                let down = long / 3;
                self.crash(at, power, down);
                let then = self.now + down + self.random.random_range(500..40_000);
                self.at(then, Event::Follow(Follow::Kill { at }));
            }
            Kind::Stop => {
                self.nodes[at].stop();
                self.wake(at, self.now);
            }
            Kind::Blackout => {
                for at in 0..self.nodes.len() {
                    let long = self.random.random_range(1_000..300_000);
                    self.crash(at, true, long);
                }
            }
            Kind::Pause => self.pause(at, long),
            Kind::DiskFull => self.fill_disk(at, long),
            Kind::SyncError => self.fail_sync(at),
            Kind::Operator => self.operate(at, 0..8),
            Kind::Transfer => self.operate(at, 6..8),
            Kind::Ambush => self.ambush(),
            Kind::Damage => self.damage(at, long),
            Kind::Flip => self.flip(at),
            Kind::Wipe => self.wipe(at, long),
        }
        Ok(())
    }

    pub(super) fn relieve(&mut self, relief: Relief) -> Check {
        self.trace.note(self.now, &[2], || format!("relief: {relief:?}"));
        match relief {
            Relief::Heal { cut } if cut == self.cuts => self.network.cut([]),
            Relief::Heal { .. } => {}
            Relief::Resume { at, life } => {
                if self.nodes[at].life == life && self.nodes[at].paused {
                    self.nodes[at].paused = false;
                    // Readers may run before the driver does.
                    self.poll_all(at)?;
                    self.wake(at, self.now);
                }
            }
            Relief::FreeSpace { at } => {
                self.nodes[at].faults.capacity_bytes = None;
                self.nodes[at].faults.full_for_overwrites = false;
                self.nodes[at].apply_faults();
            }
        }
        Ok(())
    }

    fn partition(&mut self, kind: u64, long: Micros) {
        self.statistics.partitions += 1;
        self.cuts += 1;
        let count = self.nodes.len() as u64;
        let random = &mut self.random;
        let one = random.random_range(1..=count);
        let other = 1 + (one + random.random_range(0..count.max(2) - 1)) % count;
        let pairs = (1..=count).flat_map(|a| (1..=count).map(move |b| (a, b)));
        let links: Vec<(u64, u64)> = pairs
            .filter(|(a, b)| match kind {
                0 => *a == one || *b == one,
                1 => *a == one,
                2 => *b == one,
                // Two halves.
                3 => (*a <= count / 2) != (*b <= count / 2),
                // A bridge: only `one` sees everybody.
                4 => *a != one && *b != one,
                _ => (*a, *b) == (one, other),
            })
            .collect();
        self.trace.note(self.now, &[3, kind, one], || format!("links cut: {links:?}"));
        self.network.cut(links);
        self.at(self.now + long, Event::Relief(Relief::Heal { cut: self.cuts }));
    }

    /// Kills a process and starts it again after a while.
    pub(super) fn crash(&mut self, at: usize, power: bool, down: Micros) {
        if self.nodes[at].running.is_none() {
            return;
        }
        self.statistics.crashes += 1;
        if self.nodes[at].flipped {
            self.lost = None;
        }
        let seed = power.then(|| self.random.random());
        self.trace.note(self.now, &[4, at as u64, u64::from(power)], || {
            format!("member {} crashes{}", at + 1, if power { " with its power" } else { "" })
        });
        self.nodes[at].crash(seed);
        self.disconnect(at);
        self.at(self.now + down, Event::Start { at });
    }

    pub(super) fn crash_inside(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.running.is_some() {
            node.faults.killed_at = Some(node.disk.changes() + self.random.random_range(1..12));
            node.apply_faults();
        }
    }

    fn pause(&mut self, at: usize, long: Micros) {
        let node = &mut self.nodes[at];
        if node.is_serving() {
            self.statistics.pauses += 1;
            node.paused = true;
            let relief = Relief::Resume { at, life: node.life };
            self.at(self.now + long, Event::Relief(relief));
        }
    }

    fn fill_disk(&mut self, at: usize, long: Micros) {
        self.statistics.disk_full += 1;
        let node = &mut self.nodes[at];
        node.faults.capacity_bytes = Some(node.disk.used_bytes() + self.random.random_range(0..50_000));
        node.faults.full_for_overwrites = self.random.random_bool(0.3);
        node.apply_faults();
        self.at(self.now + long, Event::Relief(Relief::FreeSpace { at }));
    }

    fn fail_sync(&mut self, at: usize) {
        self.statistics.sync_errors += 1;
        let node = &mut self.nodes[at];
        node.faults.sync_fails_at = Some(node.disk.syncs() + self.random.random_range(1..4));
        node.apply_faults();
    }
}
