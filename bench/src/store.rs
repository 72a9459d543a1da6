//! The replicated store alone, beside etcd on the same disk in the same run: durable writes, linearizable reads,
//! memory, restart and failover. Both are asked through the same client with the same calls.

mod channel;
mod cluster;
mod kv;
pub(crate) mod member;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use self::channel::Channel;
use self::cluster::{Cluster, Kind};
use crate::bench::Bench;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;

const ETCD: &str = "etcd";

/// How long each load runs, after the same again to warm up, but no longer than this.
const LOAD: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients that write at a time, with the goal for the ratio to etcd.
const WRITERS: [(usize, f64); 5] = [(1, 1.2), (16, 1.2), (64, 2.0), (256, 2.0), (1000, 2.0)];
const READERS: usize = 64;
const READ_GOAL: f64 = 4.0;
/// Clients share this many connections at most, so that it is the stores that are measured.
const CONNECTIONS: usize = 32;
const VALUE: [u8; 256] = [b'v'; 256];
/// Keys that are written over and over.
const KEYS: u64 = 10_000;
/// What memory and restart are measured with.
const OBJECTS: u64 = 100_000;
const OBJECT: [u8; 1024] = [b'o'; 1024];
/// After a kill, a new write is tried this often.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// And given up after this long.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(30);
/// Writes under way at a time while there may be no leader.
const TRIES_MAX: usize = 16;

/// Arguments of `store`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The binary of etcd to measure beside; without one, only our side is measured
    #[arg(long, value_name = "FILE", env = "ISOPOD_BENCH_ETCD")]
    etcd: Option<PathBuf>,
    /// How many leaders to kill
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: usize,
}

/// What was measured of one kind of cluster.
struct Side {
    puts: Vec<Outcome>,
    gets: Outcome,
    /// With more than one member.
    failover: Option<Failover>,
    /// With one member.
    size: Option<Size>,
}

/// What many objects take.
struct Size {
    memory_mib: f64,
    restart: Duration,
}

struct Failover {
    kills: Latencies,
    transfers: Latencies,
}

/// What a load came to.
struct Outcome {
    per_second: f64,
    latencies: Latencies,
}

/// Measures one member, then three.
pub(crate) async fn run(bench: &Bench, args: &Args) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for size in [1, 3] {
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
        let (rate, slowest) = (format!("durable puts at {clients}"), format!("  p99 at {clients}"));
        figures.push(figure(rate, Unit::PerSecond, Some(goal), &|side| side.puts[index].per_second));
        figures.push(figure(slowest, Unit::Milliseconds, Some(0.7), &|side| {
            side.puts[index].latencies.p99_ms()
        }));
    }
    let reads = format!("linearizable gets at {READERS}");
    figures.push(figure(reads, Unit::PerSecond, Some(READ_GOAL), &|side| side.gets.per_second));
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
        let transfer = "planned transfer to next acknowledged put, p50";
        figures.push(figure(transfer.to_owned(), Unit::Milliseconds, None, &|side| {
            of(side, |failover| failover.transfers.p50_ms())
        }));
    }
    figures
}

async fn side(kind: &Kind, bench: &Bench, size: usize, kills: usize) -> anyhow::Result<Side> {
    let mut cluster = Cluster::start(kind, &bench.dir, size).await?;
    let leader = cluster.addresses()[cluster.leader().await?];
    let mut puts = Vec::new();
    for (clients, _) in WRITERS {
        eprintln!("  {size} members of {}, {clients} writers …", kind.name());
        puts.push(load(leader, clients, put_any).await?);
    }
    let gets = load(leader, READERS, get_any).await?;
    if size > 1 {
        let failover = Some(failover(&mut cluster, kills).await?);
        return Ok(Side { puts, gets, failover, size: None });
    }
    drop(cluster);
    Ok(Side { puts, gets, failover: None, size: Some(many_objects(kind, bench).await?) })
}

fn put_any() -> (&'static str, Bytes) {
    let key = format!("/bench/{:08}", rand::random_range(0..KEYS));
    (kv::PUT, kv::put(key.as_bytes(), &VALUE))
}

fn get_any() -> (&'static str, Bytes) {
    let key = format!("/bench/{:08}", rand::random_range(0..KEYS));
    (kv::RANGE, kv::range(key.as_bytes()))
}

/// So many clients, each asking again when it was answered.
async fn load(
    address: SocketAddr,
    clients: usize,
    request: fn() -> (&'static str, Bytes),
) -> anyhow::Result<Outcome> {
    let mut channels = Vec::new();
    for _ in 0..clients.min(CONNECTIONS) {
        channels.push(Channel::open(address).await?);
    }
    let begin = Instant::now() + WARM_UP;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let mut channel = channels[client % channels.len()].clone();
        tasks.spawn(async move {
            let mut durations = Vec::new();
            while begin.elapsed() < LOAD {
                let (path, message) = request();
                let sent = Instant::now();
                channel.call(path, message).await?;
                if sent >= begin {
                    durations.push(sent.elapsed());
                }
            }
            anyhow::Ok(durations)
        });
    }
    let mut durations = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        durations.extend(ended??);
    }
    let per_second = durations.len() as f64 / begin.elapsed().as_secs_f64();
    Ok(Outcome { per_second, latencies: Latencies::new(durations) })
}

/// Kills leaders and moves leadership, each time under a writer that keeps trying.
async fn failover(cluster: &mut Cluster, kills: usize) -> anyhow::Result<Failover> {
    let (mut killed, mut moved) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        let leader = cluster.leader().await?;
        cluster.kill(leader).await?;
        let mut others = cluster.addresses();
        others.remove(leader);
        killed.push(next_put(&others).await?);
        cluster.restart(leader).await?;
    }
    for _ in 0..kills {
        let (leader, addresses) = (cluster.leader().await?, cluster.addresses());
        let next = (leader + 1) % addresses.len();
        let order = kv::move_leader(cluster.id(next).await?);
        let mut channel = Channel::open(addresses[leader]).await?;
        let (put, ordered) =
            tokio::join!(next_put(&addresses[next..=next]), channel.call(kv::MOVE_LEADER, order));
        ordered?;
        moved.push(put?);
    }
    Ok(Failover { kills: Latencies::new(killed), transfers: Latencies::new(moved) })
}

/// How long from now until a write is acknowledged that was begun from now on, tried on all `addresses` in turn.
async fn next_put(addresses: &[SocketAddr]) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut channels = Vec::new();
    for address in addresses {
        channels.push(Channel::open(*address).await?);
    }
    let mut tries = JoinSet::new();
    let mut turn = tokio::time::interval(TRY_EVERY);
    let mut next = channels.iter().cycle();
    while started.elapsed() < FAILOVER_TIMEOUT {
        // Cancel-safe: the tries go on, and the interval keeps its ticks.
        tokio::select! {
            Some(tried) = tries.join_next() => if let Ok(Ok(_)) = tried { return Ok(started.elapsed()) },
            _ = turn.tick(), if tries.len() < TRIES_MAX => {
                let mut channel = next.next().context("there is no address to try")?.clone();
                tries.spawn(async move { channel.call(kv::PUT, kv::put(b"/bench/next", b"again")).await });
            }
        }
    }
    bail!("no write was acknowledged within {} s", FAILOVER_TIMEOUT.as_secs())
}

/// One member with many objects: what it takes, and how soon it is back after SIGKILL.
async fn many_objects(kind: &Kind, bench: &Bench) -> anyhow::Result<Size> {
    let mut cluster = Cluster::start(kind, &bench.dir, 1).await?;
    let address = cluster.addresses()[0];
    fill(address).await?;
    let memory_mib = cluster.resident_mib()?;
    cluster.kill(0).await?;
    let started = Instant::now();
    cluster.restart(0).await?;
    let answer = Channel::open(address).await?.call(kv::RANGE, kv::range(b"/objects/0")).await?;
    ensure!(kv::read_count(&answer) == 1, "an object is gone after the restart");
    Ok(Size { memory_mib, restart: started.elapsed() })
}

async fn fill(address: SocketAddr) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..READERS {
        let (mut channel, next) = (Channel::open(address).await?, Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= OBJECTS {
                    return anyhow::Ok(());
                }
                channel.call(kv::PUT, kv::put(format!("/objects/{number}").as_bytes(), &OBJECT)).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
