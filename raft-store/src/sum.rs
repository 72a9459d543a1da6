//! A number that tells two states apart: the sum of a hash of every entry. It is kept up to date with every change, in
//! time that only depends on the change, and two members that applied the same have the same.
//!
//! What an entry adds when it is written it must take away, computed anew, when it is replaced: bytes that changed in
//! memory meanwhile make the sum wrong for good. A full count finds those of entries that nobody touches.
//!
//! It is no cryptographic hash: it finds accidents, not forgers, who are kept out by other means.

use bytes::Bytes;

use crate::state::Entry;

/// Odd, with as many ones as zeros, and otherwise of no meaning.
const KEYS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3];

/// What one entry adds.
pub(crate) fn of_entry(key: &Bytes, entry: &Entry) -> u64 {
    let start = mix(entry.created.0 ^ KEYS[0], entry.modified.0 ^ KEYS[1]);
    hash(hash(start, key), &entry.value)
}

/// What all of them add together.
pub(crate) fn of_all<'a>(entries: impl Iterator<Item = (&'a Bytes, &'a Entry)>) -> u64 {
    entries.fold(0, |sum: u64, (key, entry)| sum.wrapping_add(of_entry(key, entry)))
}

fn mix(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    // Both halves depend on all bits of both factors.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a product are what is wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

fn hash(start: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(16);
    let mut state = start ^ KEYS[2];
    for chunk in &mut chunks {
        state = mix(word(&chunk[..8]) ^ KEYS[0], word(&chunk[8..]) ^ state);
    }
    let mut tail = [0; 16];
    tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    state = mix(word(&tail[..8]) ^ KEYS[1], word(&tail[8..]) ^ state);
    // The length tells apart what the zeros of the tail make equal.
    mix(state ^ KEYS[3], bytes.len() as u64 ^ KEYS[2])
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("it is half a chunk"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::state::Revision;

    fn sum(key: &[u8], value: &[u8], created: u64, modified: u64) -> u64 {
        let entry = Entry {
            value: Bytes::copy_from_slice(value),
            created: Revision(created),
            modified: Revision(modified),
        };
        of_entry(&Bytes::copy_from_slice(key), &entry)
    }

    #[test]
    fn every_flipped_bit_of_an_entry_gives_another_sum() {
        let value: Vec<u8> = (0..200).collect();
        let mut seen = HashSet::from([sum(b"/a/key", &value, 3, 4)]);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(sum(b"/a/key", &flipped, 3, 4)), "bit {bit}");
        }
        for bit in 0..64 {
            assert!(seen.insert(sum(b"/a/key", &value, 3 ^ (1 << bit), 4)), "bit {bit} of created");
            assert!(seen.insert(sum(b"/a/key", &value, 3, 4 ^ (1 << bit))), "bit {bit} of modified");
        }
    }

    #[test]
    fn lengths_and_the_border_between_key_and_value_count() {
        let mut seen = HashSet::new();
        for length in 0..100 {
            assert!(seen.insert(sum(b"k", &vec![0; length], 1, 1)), "{length} zeros");
        }
        assert_ne!(sum(b"ab", b"c", 1, 1), sum(b"a", b"bc", 1, 1));
    }
}
