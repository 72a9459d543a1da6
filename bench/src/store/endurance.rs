//! Hours of writes: what the log takes in memory and on disk must not grow with them.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::cluster::{Cluster, Kind};
use super::load::{self, Ask, Window};
use crate::bench::Bench;
use crate::figure::number;

const WRITERS: usize = 64;
const MINUTE: Duration = Duration::from_secs(60);

/// Writes to one member for so many minutes, and prints after each what it takes.
pub(super) async fn run(bench: &Bench, minutes: u64) -> anyhow::Result<()> {
    let cluster = Cluster::start(&Kind::Isopod, &bench.dir, 1).await?;
    let begin = Instant::now();
    crate::say("minute  puts/s  resident  folder")?;
    for minute in 1..=minutes {
        let length = u32::try_from(minute).context("that is too long")?;
        let window = Window { begin: Instant::now(), end: begin + MINUTE * length };
        let outcome = load::run(cluster.addresses()[0], WRITERS, Ask::Put, window).await?;
        let (resident, folder) = (number(cluster.resident_mib()?), number(cluster.data_mib()?));
        crate::say(&format!(
            "{minute:>6}  {:>6}  {resident:>4} MiB  {folder} MiB",
            number(outcome.per_second)
        ))?;
    }
    Ok(())
}
