//! Seeds that must hold.

use super::*;

/// Seeds of all tests together, unless `ISOPOD_SEEDS` says how many: as many as a developer waits for, and those of
/// `tests/run`, which builds for speed.
const SEEDS: u64 = if cfg!(debug_assertions) { 200 } else { 1_000 };

/// The seeds are dealt to so many tests, which may run at once.
const PARTS: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, and is {text}")))
}

/// Runs every seed of a part; all that failed are told at once.
fn run_part(part: u64) {
    let seeds = number("ISOPOD_SEEDS").unwrap_or(SEEDS);
    let failed: Vec<String> =
        (part..seeds).step_by(PARTS as usize).filter_map(|seed| run(seed, false).err()).collect();
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_cluster_keeps_its_promises_in_the_first_part_of_the_seeds() {
    run_part(0);
}

#[test]
fn a_cluster_keeps_its_promises_in_the_second_part_of_the_seeds() {
    run_part(1);
}

#[test]
fn a_cluster_keeps_its_promises_in_the_third_part_of_the_seeds() {
    run_part(2);
}

#[test]
fn a_cluster_keeps_its_promises_in_the_fourth_part_of_the_seeds() {
    run_part(3);
}

/// Also the way to replay one: `ISOPOD_SEED=17` prints what happens.
#[test]
fn the_same_seed_gives_the_same_run() {
    let (seeds, print) = match number("ISOPOD_SEED") {
        Some(seed) => (vec![seed], true),
        None => ((0..10).collect(), false),
    };
    let mut hashes = Vec::new();
    for seed in seeds {
        let first = run(seed, print).expect("it holds");
        let second = run(seed, false).expect("it holds");
        assert_eq!(first.hash, second.hash, "seed {seed}");
        if print {
            println!("trace {:016x}, {:?}", first.hash, first.statistics);
        }
        hashes.push(first.hash);
    }
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count, "seeds give different runs");
}

#[test]
fn every_kind_of_fault_happens_and_clients_get_something_done() {
    let mut sums = std::collections::BTreeMap::new();
    for seed in 0..80 {
        let report = run(seed, false).expect("it holds");
        for (name, count) in report.statistics.by_name() {
            *sums.entry(name).or_insert(0) += count;
        }
    }
    println!("{sums:?}");
    assert!(sums.values().all(|count| *count > 0), "{sums:?}");
    assert!(sums["done"] > 10 * sums["unknown"], "{sums:?}");
}
