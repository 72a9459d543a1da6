//! A whole cluster in one thread, everything from one seed: the store's own code for members, logs, snapshots, answers
//! and watches, under a clock, a network and disks that the simulation makes and breaks.
//!
//! `world` runs it: a queue of events in the order of simulated time. After every step of a member the [`oracle`] checks
//! what must always hold; when the faults are over the cluster must heal; in the end the clients' histories must be
//! linearizable. `docs/simulation.md` tells how to run and to replay it.

mod ambush;
mod clients;
mod endings;
mod faults;
mod healing;
mod linearizability;
mod losses;
mod network;
mod node;
mod operator;
mod oracle;
mod profile;
mod second_life;
mod trace;
mod watchers;
mod world;

mod mutants;
mod tests;

use profile::Profile;
use world::World;

/// Simulated time since the beginning.
type Micros = u64;

/// Declares counters that can be listed by name.
macro_rules! counters {
    ($($name:ident)*) => {
        /// What happened in a run, to see that the faults were not all asleep.
        #[derive(Debug, Default, Clone, Copy)]
        struct Statistics { $($name: u64),* }

        impl Statistics {
            fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    events done unknown crashes partitions pauses disk_full sync_errors damaged resumed compacted watched terms snapshots received
    operations removed wiped flipped stepped_aside reseeded stopped saved second_lives
}

/// A run in which everything held.
#[derive(Debug)]
struct Report {
    hash: u64,
    statistics: Statistics,
}

/// Runs one seed; the error says what did not hold.
fn run(seed: u64, print: bool) -> Result<Report, String> {
    let run = || {
        let mut world = World::new(seed, Profile::draw(seed), print);
        world.run().map_err(|violation| format!("seed {seed}: {}", violation.0))?;
        Ok(world.report())
    };
    // A broken invariant that the store itself notices is as good as one that the oracle finds.
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(format!("seed {seed}: panicked: {words}"))
    })
}
