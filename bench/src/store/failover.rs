//! How long nobody can write when a leader is killed, or hands over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::channel::{self, Channel};
use super::cluster::Cluster;
use super::kv;
use crate::latency::Latencies;

/// After a kill, a new write is tried this often on each member that is left.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// A try is given up after this long, as clients with a deadline do: a member that does not know yet that its leader
/// is gone may sit on a write for seconds.
const TRY_TIMEOUT: Duration = Duration::from_millis(100);
/// All are given up after this long.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Times without an acknowledged write.
pub(super) struct Failover {
    pub(super) kills: Latencies,
    pub(super) transfers: Latencies,
}

/// Kills leaders and moves leadership, each time under a writer that keeps trying.
pub(super) async fn run(cluster: &mut Cluster, kills: usize) -> anyhow::Result<Failover> {
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
        moved.push(transfer(cluster).await?);
    }
    Ok(Failover { kills: Latencies::new(killed), transfers: Latencies::new(moved) })
}

/// How long from now until a write is acknowledged that was begun from now on, tried on all `addresses` at a time.
async fn next_put(addresses: &[SocketAddr]) -> anyhow::Result<Duration> {
    let (started, done) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for address in addresses.iter().copied() {
        let done = Arc::clone(&done);
        tasks.spawn_blocking(move || try_until_done(address, started, &done));
    }
    let mut outcome = Ok(None);
    while let Some(ended) = tasks.join_next().await {
        match (ended?, &outcome) {
            (Ok(Some(took)), Ok(Some(shortest))) if took >= *shortest => {}
            (Ok(Some(took)), _) => outcome = Ok(Some(took)),
            (Err(error), Ok(None)) => outcome = Err(error),
            _ => {}
        }
    }
    outcome?.with_context(|| format!("no write was acknowledged within {} s", FAILOVER_TIMEOUT.as_secs()))
}

/// Writes through one member until a write is acknowledged, here (then how long it took) or elsewhere.
fn try_until_done(
    address: SocketAddr,
    started: Instant,
    done: &AtomicBool,
) -> anyhow::Result<Option<Duration>> {
    let (mut channel, mut answers) = (Channel::open(address)?, Vec::new());
    channel.set_patience(TRY_EVERY)?;
    let put = kv::put(b"/bench/next", b"again");
    let mut next = started;
    while !done.load(Ordering::Relaxed) && started.elapsed() < FAILOVER_TIMEOUT {
        let now = Instant::now();
        if now >= next {
            channel.ask(kv::PUT, &put);
            next = now + TRY_EVERY;
        }
        channel.cancel(now.checked_sub(TRY_TIMEOUT).context("the clock has just begun")?);
        channel.wait(&mut answers)?;
        if answers.drain(..).any(|answer| answer.result.is_ok()) {
            done.store(true, Ordering::Relaxed);
            return Ok(Some(started.elapsed()));
        }
    }
    Ok(None)
}

/// Hands leadership to the next member under a writer that asks that one: the longest time between two of its writes.
async fn transfer(cluster: &Cluster) -> anyhow::Result<Duration> {
    let (leader, addresses) = (cluster.leader().await?, cluster.addresses());
    let next = (leader + 1) % addresses.len();
    let order = kv::move_leader(cluster.id(next).await?);
    let (moved, writing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::task::spawn_blocking({
        let (moved, writing, address) = (Arc::clone(&moved), Arc::clone(&writing), addresses[next]);
        move || longest_pause(address, &writing, &moved)
    });
    while !writing.load(Ordering::Relaxed) && !writer.is_finished() {
        tokio::time::sleep(TRY_EVERY).await;
    }
    let ordered = channel::call(addresses[leader], kv::MOVE_LEADER, order).await;
    while ordered.is_ok() && cluster.leader().await? != next {}
    moved.store(true, Ordering::Relaxed);
    let pause = writer.await??;
    ordered?;
    Ok(pause)
}

/// Writes one after the other until leadership has moved, and once more.
fn longest_pause(address: SocketAddr, writing: &AtomicBool, moved: &AtomicBool) -> anyhow::Result<Duration> {
    let (mut channel, mut answers) = (Channel::open(address)?, Vec::new());
    channel.set_patience(TRY_EVERY)?;
    let put = kv::put(b"/bench/next", b"again");
    let (begun, mut last, mut longest) = (Instant::now(), None::<Instant>, Duration::ZERO);
    while begun.elapsed() < FAILOVER_TIMEOUT {
        if channel.under_way() == 0 {
            channel.ask(kv::PUT, &put);
        }
        channel.cancel(Instant::now().checked_sub(TRY_TIMEOUT).context("the clock has just begun")?);
        channel.wait(&mut answers)?;
        if answers.drain(..).any(|answer| answer.result.is_ok()) {
            let now = Instant::now();
            longest = last.map_or(longest, |last| longest.max(now - last));
            last = Some(now);
            writing.store(true, Ordering::Relaxed);
            if moved.load(Ordering::Relaxed) {
                return Ok(longest);
            }
        }
    }
    bail!("no write was acknowledged within {} s", FAILOVER_TIMEOUT.as_secs())
}
