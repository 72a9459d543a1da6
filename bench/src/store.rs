//! The replicated store alone, beside etcd on the same disk in the same run: durable writes, linearizable reads,
//! memory, restart and failover. Both are asked through the same client with the same calls.

mod channel;
mod cluster;
mod endurance;
mod failover;
mod hpack;
mod http2;
mod kv;
mod load;
pub(crate) mod member;
mod service;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;

use self::cluster::{Cluster, Kind};
use self::failover::Failover;
use self::load::{Ask, Outcome, Window};
use crate::bench::Bench;
use crate::figure::{Figure, Unit};

const ETCD: &str = "etcd";

/// How long each load counts, after the same again to warm up, but no longer than this.
const LOAD: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients that write at a time, with the goal for the ratio to etcd.
const WRITERS: [(usize, f64); 5] = [(1, 1.2), (16, 1.2), (64, 2.0), (256, 2.0), (1000, 2.0)];
const READERS: usize = 64;
const READ_GOAL: f64 = 4.0;
/// What memory and restart are measured with.
const OBJECTS: u64 = 100_000;
const OBJECT: [u8; 1024] = [b'o'; 1024];

/// Arguments of `store`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The binary of etcd to measure beside; without one, only our side is measured
    #[arg(long, value_name = "FILE", env = "ISOPOD_BENCH_ETCD")]
    etcd: Option<PathBuf>,
    /// How many leaders to kill, and how many times to hand leadership over
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: usize,
    /// Only clusters of this many members [default: 1, then 3]
    #[arg(long, value_name = "N")]
    members: Option<usize>,
    /// Instead of all that, write to one member for so many minutes, and print what it takes after each
    #[arg(long, value_name = "N", conflicts_with_all = ["etcd", "kills", "members"])]
    minutes: Option<u64>,
}

/// What was measured of one kind of cluster.
struct Side {
    puts: Vec<Load>,
    gets: Load,
    /// With more than one member.
    failover: Option<Failover>,
    /// With one member.
    size: Option<Size>,
}

/// What a load came to, and what it took.
struct Load {
    outcome: Outcome,
    /// Processor time of all members together for one call.
    cpu_micros: f64,
}

/// What many objects take.
struct Size {
    memory_mib: f64,
    restart: Duration,
}

/// Measures one member, then three.
pub(crate) async fn run(bench: &Bench, args: &Args) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if let Some(minutes) = args.minutes {
        endurance::run(bench, minutes).await?;
        return Ok(figures);
    }
    for size in args.members.map_or(vec![1, 3], |size| vec![size]) {
        let ours = side(&Kind::Isopod, bench, size, args.kills).await?;
        let theirs = match &args.etcd {
            Some(binary) => Some(side(&Kind::Etcd(binary.clone()), bench, size, args.kills).await?),
            None => None,
        };
        figures.extend(compare(size, &ours, theirs.as_ref()));
    }
    Ok(figures)
}

fn compare(size: usize, ours: &Side, theirs: Option<&Side>) -> Vec<Figure> {
    let of = if size == 1 { "1 member".to_owned() } else { format!("{size} members") };
    let figure = |what: String, unit, goal: Option<f64>, value: &dyn Fn(&Side) -> f64| {
        let figure = Figure::new(format!("{of}, {what}"), value(ours), unit);
        let Some(other) = theirs.map(value) else { return figure };
        let figure = figure.beside(ETCD, other);
        goal.map_or(figure.clone(), |times| figure.goal(other * times))
    };
    let mut figures = Vec::new();
    for (index, (clients, goal)) in WRITERS.into_iter().enumerate() {
        let rate = format!("durable puts at {clients}");
        let of = |side: &Side| side.puts[index].outcome.per_second;
        figures.push(figure(rate, Unit::PerSecond, Some(goal), &of));
        let of = |side: &Side| side.puts[index].outcome.latencies.p50_ms();
        figures.push(figure(format!("  p50 at {clients}"), Unit::Milliseconds, None, &of));
        let of = |side: &Side| side.puts[index].outcome.latencies.p99_ms();
        figures.push(figure(format!("  p99 at {clients}"), Unit::Milliseconds, Some(0.7), &of));
        let of = |side: &Side| side.puts[index].cpu_micros;
        figures.push(figure(
            format!("  processor time of a put at {clients}"),
            Unit::Microseconds,
            None,
            &of,
        ));
    }
    let reads = format!("linearizable gets at {READERS}");
    figures.push(figure(reads, Unit::PerSecond, Some(READ_GOAL), &|side| side.gets.outcome.per_second));
    let reads = "  processor time of a get".to_owned();
    figures.push(figure(reads, Unit::Microseconds, None, &|side| side.gets.cpu_micros));
    if ours.size.is_some() {
        let of = |side: &Side, value: fn(&Size) -> f64| side.size.as_ref().map_or(f64::NAN, value);
        let memory = format!("resident with {OBJECTS} × 1 KiB");
        figures.push(figure(memory, Unit::Mebibytes, Some(1.0), &|side| of(side, |size| size.memory_mib)));
        let restart = format!("exec to first read with {OBJECTS} × 1 KiB");
        figures.push(figure(restart, Unit::Milliseconds, None, &|side| {
            of(side, |size| size.restart.as_secs_f64() * 1000.0)
        }));
    }
    if ours.failover.is_some() {
        let of = |side: &Side, value: fn(&Failover) -> f64| side.failover.as_ref().map_or(f64::NAN, value);
        let kill = "leader SIGKILL to next acknowledged put";
        figures.push(figure(format!("{kill}, p50"), Unit::Milliseconds, None, &|side| {
            of(side, |failover| failover.kills.p50_ms())
        }));
        figures.push(figure(format!("{kill}, p99"), Unit::Milliseconds, None, &|side| {
            of(side, |failover| failover.kills.p99_ms())
        }));
        let transfer = "planned transfer, longest wait of a writer, p50";
        figures.push(figure(transfer.to_owned(), Unit::Milliseconds, None, &|side| {
            of(side, |failover| failover.transfers.p50_ms())
        }));
    }
    figures
}

async fn side(kind: &Kind, bench: &Bench, size: usize, kills: usize) -> anyhow::Result<Side> {
    let mut cluster = Cluster::start(kind, &bench.dir, size).await?;
    let mut puts = Vec::new();
    for (clients, _) in WRITERS {
        eprintln!("  {size} members of {}, {clients} writers …", kind.name());
        puts.push(measure(&cluster, clients, Ask::Put).await?);
    }
    let gets = measure(&cluster, READERS, Ask::Get).await?;
    if size > 1 {
        eprintln!("  {size} members of {}, {kills} kills and transfers …", kind.name());
        let failover = Some(failover::run(&mut cluster, kills).await?);
        return Ok(Side { puts, gets, failover, size: None });
    }
    drop(cluster);
    Ok(Side { puts, gets, failover: None, size: Some(many_objects(kind, bench).await?) })
}

/// So many clients of the leader.
async fn measure(cluster: &Cluster, clients: usize, ask: Ask) -> anyhow::Result<Load> {
    let leader = cluster.addresses()[cluster.leader().await?];
    let begin = Instant::now() + WARM_UP;
    let before = cluster.cpu_time()?;
    let outcome = load::run(leader, clients, ask, Window { begin, end: begin + LOAD }).await?;
    let took = cluster.cpu_time()?.saturating_sub(before);
    let cpu_micros = took.as_secs_f64() * 1e6 / outcome.answered as f64;
    Ok(Load { outcome, cpu_micros })
}

/// One member with many objects: what it takes, and how soon it is back after SIGKILL.
async fn many_objects(kind: &Kind, bench: &Bench) -> anyhow::Result<Size> {
    let mut cluster = Cluster::start(kind, &bench.dir, 1).await?;
    let address = cluster.addresses()[0];
    load::fill(address, READERS, OBJECTS, Bytes::from_static(&OBJECT)).await?;
    let memory_mib = cluster.resident_mib()?;
    cluster.kill(0).await?;
    let started = Instant::now();
    cluster.restart(0).await?;
    let answer = channel::call(address, kv::RANGE, kv::range(b"/objects/0")).await?;
    ensure!(kv::read_count(&answer) == 1, "an object is gone after the restart");
    Ok(Size { memory_mib, restart: started.elapsed() })
}

#[cfg(test)]
mod tests;
