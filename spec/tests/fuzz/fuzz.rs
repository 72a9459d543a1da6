//! The loop: a mutated input, the decoder, and what must hold after it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::memory::peak_of;
use super::mutate::Mutator;

/// Inputs of one target when nothing else is said.
const ROUNDS: u64 = 3_000;
const SEED: u64 = 1;

/// What a decoder may hold at once: so many times its input, and some for small ones.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) factor: usize,
    pub(crate) free: usize,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// Gives `decode` the corpus, and then mutations of it.
pub(crate) fn run(target: &str, corpus: &[Vec<u8>], bound: Bound, decode: impl Fn(&[u8])) {
    // Tables that are made once are not what an input costs.
    std::hint::black_box((isopod_spec::schema::built_in(), isopod_spec::registry::builtin()));
    let seed = number("ISOPOD_FUZZ_SEED").unwrap_or(SEED);
    let until = number("ISOPOD_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let goes_on = |round| until.map_or(round < ROUNDS, |until| Instant::now() < until);
    for input in corpus {
        check(target, input, bound, &decode);
    }
    let mut mutator = Mutator::new(seed, corpus);
    for round in 0.. {
        if !goes_on(round) {
            break;
        }
        check(target, &mutator.next(), bound, &decode);
    }
}

fn check(target: &str, input: &[u8], bound: Bound, decode: &impl Fn(&[u8])) {
    let mut peak = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| peak = peak_of(|| decode(input))));
    let shown = input.escape_ascii();
    assert!(outcome.is_ok(), "{target} panics on b\"{shown}\"");
    let allowed = input.len() * bound.factor + bound.free;
    assert!(peak <= allowed, "{target} holds {peak} bytes, more than {allowed}, for b\"{shown}\"");
}
