//! How a seed's run is set up. Not every run has every fault: what is rare among all of them together is common with
//! a few.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

use super::Micros;
use super::faults::Kind;
use super::network::Weather;

#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) members: u64,
    /// Members that may join later.
    pub(super) newcomers: u64,
    pub(super) clients: usize,
    pub(super) watchers: usize,
    pub(super) keys: usize,
    /// Length of values, at most.
    pub(super) padding: usize,
    /// Between two calls of a client, at most.
    pub(super) think: Micros,
    /// How long faults happen.
    pub(super) chaos: Micros,
    /// Between two faults, about.
    pub(super) between: Micros,
    pub(super) faults: Vec<Kind>,
    pub(super) weather: Weather,
    /// Of a sync.
    pub(super) sync: (Micros, Micros),
    /// Clocks differ by so much, in parts of a million.
    pub(super) drift: u64,
    pub(super) history_events_max: usize,
    pub(super) history_window: Duration,
    pub(super) snapshot_after_bytes: u64,
    /// Calls of a hundred that read.
    pub(super) reads: u32,
    pub(super) ending: Ending,
}

/// What happens when the faults are over, but for healing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Nothing,
    /// Leaders are asked to stop.
    Stopped,
    /// Instead of healing, one member begins a new cluster.
    Recovered,
    /// A new cluster begins with a backup.
    Restored,
}

impl Profile {
    pub(super) fn draw(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed ^ 0x5eed);
        let mut faults: Vec<Kind> = Kind::ALL.into_iter().filter(|_| random.random_bool(0.5)).collect();
        if faults.is_empty() {
            faults.push(Kind::Crash);
        }
        // Until a member that lost something is fed again, taking another one away could leave no quorum.
        if faults.contains(&Kind::Operator) {
            faults.retain(|kind| !Kind::LOSSES.contains(kind));
        }
        let members = [1, 3, 3, 3, 3, 3, 5][random.random_range(0..7)];
        let sync = random.random_range(50..5_000);
        let general = Self {
            members,
            newcomers: if faults.contains(&Kind::Operator) { random.random_range(0..3) } else { 0 },
            clients: random.random_range(2..=6),
            watchers: random.random_range(1..=3),
            keys: random.random_range(1..=5),
            padding: [0, 100, 1_200, 3_000][random.random_range(0..4)],
            think: [2_000, 20_000, 60_000][random.random_range(0..3)],
            chaos: random.random_range(1_500_000..6_000_000),
            between: random.random_range(100_000..800_000),
            faults,
            weather: Weather::draw(random),
            sync: (sync, sync * random.random_range(2..6)),
            drift: [0, 1_000, 50_000][random.random_range(0..3)],
            history_events_max: [50, 200, 200_000][random.random_range(0..3)],
            history_window: Duration::from_millis([500, 300_000][random.random_range(0..2)]),
            reads: 30,
            snapshot_after_bytes: [1_000, 30_000, 1 << 40][random.random_range(0..3)],
            ending: Ending::draw(random),
        };
        match random.random_range(0..100) {
            0..8 => general.about_leases(random),
            8..18 => general.about_ambushes(random),
            18..28 => general.about_tails(random),
            28..45 => general.about_losses(random),
            _ => general,
        }
    }

    /// Many reads while leadership moves and those who vote forget: what a lease must survive.
    fn about_leases(self, random: &mut StdRng) -> Self {
        Self {
            members: 3,
            newcomers: 0,
            clients: 6,
            padding: 0,
            think: 2_000,
            between: random.random_range(30_000..150_000),
            faults: vec![Kind::Link, Kind::Restart, Kind::Transfer, Kind::Pause],
            weather: Weather { lost: random.random_range(0.0..0.2), ..Weather::FAIR },
            sync: (50, 200),
            drift: 0,
            reads: 60,
            ..self
        }
    }
    /// Few things go wrong, each at the moment that is worst for a lease.
    fn about_ambushes(self, random: &mut StdRng) -> Self {
        Self {
            between: random.random_range(700_000..1_200_000),
            chaos: 5_000_000,
            faults: vec![Kind::Ambush],
            weather: Weather::FAIR,
            ..self.about_leases(random)
        }
    }

    /// Large writes, slow syncs, members that have much to catch up with and are killed while they do: what a crash
    /// leaves at the end of a log.
    fn about_tails(self, random: &mut StdRng) -> Self {
        let sync = random.random_range(500..4_000);
        Self {
            members: [1, 3, 3][random.random_range(0..3)],
            newcomers: 0,
            clients: 6,
            padding: 3_000,
            think: 2_000,
            between: random.random_range(50_000..200_000),
            faults: vec![Kind::Crash, Kind::CrashInside, Kind::Relapse, Kind::Relapse, Kind::Link],
            weather: Weather { lost: random.random_range(0.0..0.1), ..Weather::FAIR },
            sync: (sync, sync * 3),
            snapshot_after_bytes: [30_000, 1 << 40][random.random_range(0..2)],
            reads: 10,
            ..self
        }
    }

    /// Members that lose what they had, now and then while others are away.
    fn about_losses(self, random: &mut StdRng) -> Self {
        Self {
            members: [3, 3, 5][random.random_range(0..3)],
            newcomers: 0,
            chaos: 6_000_000,
            between: random.random_range(200_000..600_000),
            faults: vec![Kind::Damage, Kind::Flip, Kind::Flip, Kind::Wipe, Kind::Restart, Kind::Partition],
            ..self
        }
    }
}

impl Ending {
    fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..15 => Self::Stopped,
            15..25 => Self::Recovered,
            25..35 => Self::Restored,
            _ => Self::Nothing,
        }
    }
}
