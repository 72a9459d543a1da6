//! What happened, as a hash, and in words for those who replay a seed.

use super::Micros;

/// The same seed must give the same of everything noted here.
pub(super) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, print }
    }

    /// Notes the numbers; the words are for people only.
    pub(super) fn note(&mut self, now: Micros, numbers: &[u64], words: impl FnOnce() -> String) {
        for number in [&now].into_iter().chain(numbers) {
            self.hash = mix(self.hash, *number);
        }
        if self.print {
            println!("{:>9.3} ms  {}", now as f64 / 1e3, words());
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }
}

/// One step of a hash that is the same in every process.
pub(super) fn mix(hash: u64, number: u64) -> u64 {
    let mixed = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Hash of bytes, the same in every process.
pub(super) fn digest(hash: u64, bytes: &[u8]) -> u64 {
    mix(mix(hash, bytes.len() as u64), crc32c::crc32c(bytes).into())
}
