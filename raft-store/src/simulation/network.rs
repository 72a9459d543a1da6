//! The network between members: every message may be lost, late, doubled, out of order or damaged, and links may be
//! cut in one direction.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::Micros;

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) lost: f64,
    pub(super) doubled: f64,
    pub(super) damaged: f64,
    /// Much later than the others.
    pub(super) late: f64,
    pub(super) delay: (Micros, Micros),
}

impl Weather {
    pub(super) const FAIR: Self =
        Self { lost: 0.0, doubled: 0.0, damaged: 0.0, late: 0.0, delay: (100, 400) };

    /// Anything from fair to hardly usable.
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let mut odds =
            |worst: f64| if random.random_bool(0.5) { 0.0 } else { random.random_range(0.0..worst) };
        let (lost, doubled, damaged, late) = (odds(0.2), odds(0.2), odds(0.02), odds(0.05));
        let least = random.random_range(50..2_000);
        Self { lost, doubled, damaged, late, delay: (least, least + random.random_range(100..10_000)) }
    }
}

pub(super) struct Network {
    pub(super) weather: Weather,
    /// From, to.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather, cut: BTreeSet::new() }
    }

    /// Cuts exactly these links.
    pub(super) fn cut(&mut self, links: impl IntoIterator<Item = (u64, u64)>) {
        self.cut = links.into_iter().collect();
    }

    /// How long each copy of a message takes, and what arrives.
    pub(super) fn carry(
        &self,
        from: u64,
        to: u64,
        bytes: &Bytes,
        random: &mut StdRng,
    ) -> Vec<(Micros, Bytes)> {
        let Weather { lost, doubled, damaged, late, delay } = self.weather;
        if self.cut.contains(&(from, to)) || random.random_bool(lost) {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.random_bool(doubled));
        let copy = |_| {
            let mut takes = random.random_range(delay.0..delay.1);
            if random.random_bool(late) {
                takes += random.random_range(0..500_000);
            }
            let mut bytes = bytes.clone();
            if random.random_bool(damaged) {
                let mut copy = bytes.to_vec();
                let at = random.random_range(0..copy.len());
                copy[at] ^= 1 << random.random_range(0..8);
                bytes = copy.into();
            }
            (takes, bytes)
        };
        (0..copies).map(copy).collect()
    }
}
