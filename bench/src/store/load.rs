//! Clients that ask again as soon as they are answered: a closed loop, as etcd's own benchmark runs it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::channel::{Answer, Channel};
use super::kv;
use crate::latency::Latencies;

/// So many clients share a connection, as in the benchmarks that etcd publishes.
const CLIENTS_A_CONNECTION: usize = 10;
/// And there are so many connections at most, so that it is the stores that are measured.
const CONNECTIONS_MAX: usize = 32;

const VALUE: [u8; 256] = [b'v'; 256];
/// Keys that are written over and over.
const KEYS: u64 = 10_000;

/// What clients ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    /// A key is written.
    Put,
    /// A key is read, linearizably.
    Get,
}

impl Ask {
    fn next(self) -> (&'static str, Bytes) {
        let key = format!("/bench/{:08}", rand::random_range(0..KEYS));
        match self {
            Ask::Put => (kv::PUT, kv::put(key.as_bytes(), &VALUE)),
            Ask::Get => (kv::RANGE, kv::range(key.as_bytes())),
        }
    }
}

/// When what happens counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// What a load came to.
pub(super) struct Outcome {
    pub(super) per_second: f64,
    pub(super) latencies: Latencies,
    /// Everything that was answered, also outside the window.
    pub(super) answered: u64,
}

/// So many clients until the end of the window.
pub(super) async fn run(
    address: SocketAddr,
    clients: usize,
    ask: Ask,
    window: Window,
) -> anyhow::Result<Outcome> {
    let connections = clients.div_ceil(CLIENTS_A_CONNECTION).min(CONNECTIONS_MAX);
    let mut tasks = JoinSet::new();
    for connection in 0..connections {
        let share = clients / connections + usize::from(connection < clients % connections);
        tasks.spawn_blocking(move || drive(address, share, ask, window));
    }
    let (mut durations, mut answered) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (more, all) = ended??;
        durations.extend(more);
        answered += all;
    }
    let per_second = durations.len() as f64 / (window.end - window.begin).as_secs_f64();
    Ok(Outcome { per_second, latencies: Latencies::new(durations), answered })
}

/// The clients of one connection: how long each call took that was answered in the window, and how many there were.
fn drive(
    address: SocketAddr,
    clients: usize,
    ask: Ask,
    window: Window,
) -> anyhow::Result<(Vec<Duration>, u64)> {
    let mut channel = Channel::open(address)?;
    let (mut durations, mut answered) = (Vec::new(), 0);
    let mut answers: Vec<Answer> = Vec::new();
    loop {
        let now = Instant::now();
        if now < window.end {
            while channel.under_way() < clients {
                let (path, message) = ask.next();
                if !channel.takes(&message) {
                    break;
                }
                channel.ask(path, &message);
            }
        } else if channel.under_way() == 0 {
            return Ok((durations, answered));
        }
        channel.wait(&mut answers)?;
        let now = Instant::now();
        for answer in answers.drain(..) {
            answered += 1;
            if (window.begin..window.end).contains(&now) {
                durations.push(now - answer.asked);
            }
            answer.message()?;
        }
    }
}

/// Writes `/objects/0` and so on, each once.
pub(super) async fn fill(
    address: SocketAddr,
    clients: usize,
    objects: u64,
    value: Bytes,
) -> anyhow::Result<()> {
    let next = std::sync::Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients.div_ceil(CLIENTS_A_CONNECTION) {
        let (next, value) = (std::sync::Arc::clone(&next), value.clone());
        tasks.spawn_blocking(move || {
            let (mut channel, mut answers) = (Channel::open(address)?, Vec::new());
            loop {
                while channel.under_way() < CLIENTS_A_CONNECTION {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= objects {
                        break;
                    }
                    channel.ask(kv::PUT, &kv::put(format!("/objects/{number}").as_bytes(), &value));
                }
                if channel.under_way() == 0 {
                    return anyhow::Ok(());
                }
                channel.wait(&mut answers)?;
                answers.drain(..).try_for_each(|answer| answer.message().map(drop))?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?.context("an object could not be written")?;
    }
    Ok(())
}
