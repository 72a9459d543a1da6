//! From nothing to an answer, and what a cluster takes that has nothing to do.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::bench::Bench;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::process::{Cores, Server, command, folder};
use crate::reference;

/// How often each start is measured.
const RUNS: usize = 5;
/// One demo at most.
const DEMO_TIMEOUT: Duration = Duration::from_secs(120);
/// What `demo` prints with its first answer.
const FIRST_ANSWER: &str = "from start to the first answer";
/// A cluster may still be busy with its start for so long.
const SETTLE: Duration = Duration::from_secs(5);
/// How long an idle cluster is looked at.
const IDLE: Duration = Duration::from_secs(10);

/// Measures starts, then idleness.
pub(crate) async fn run(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut fresh = Vec::new();
    let mut again = Vec::new();
    for _ in 0..RUNS {
        let folder = folder(&bench.dir)?;
        fresh.push(demo(bench, folder.path()).await?);
        again.push(demo(bench, folder.path()).await?);
    }
    let mut ready = Vec::new();
    for _ in 0..RUNS - 1 {
        let server = Server::dev(bench, Cores::All).await?;
        ready.push(Duration::from_millis(server.banner.ready_ms));
        server.stop().await?;
    }
    let server = Server::dev(bench, Cores::All).await?;
    ready.push(Duration::from_millis(server.banner.ready_ms));
    let (memory, cpu) = idle(&server).await?;
    server.stop().await?;
    Ok(vec![
        Figure::new(
            "demo, exec to first answer, new folder",
            Latencies::new(fresh).p50_ms(),
            Unit::Milliseconds,
        )
        .goal(2000.0),
        Figure::new(
            "demo, exec to first answer, same folder",
            Latencies::new(again).p50_ms(),
            Unit::Milliseconds,
        ),
        Figure::new("dev, start to ready", Latencies::new(ready).p50_ms(), Unit::Milliseconds),
        Figure::new("dev, idle, resident memory", memory, Unit::Mebibytes)
            .beside(reference::KUBERNETES, reference::IDLE_MIB)
            .goal(80.0),
        Figure::new("dev, idle, of one core", cpu, Unit::PercentOfCore).goal(1.0),
    ])
}

/// Time from exec to the line that says that the first answer is there; the demo must end with status 0.
async fn demo(bench: &Bench, folder: &Path) -> anyhow::Result<Duration> {
    let mut command = command(&bench.isopod, Cores::All);
    command.args(["demo", "--exit", "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0"]);
    command
        .args(["--pod-cidr", "127.24.0.0/16", "--service-cidr", "127.25.0.0/16", "--data-dir"])
        .arg(folder.join("data"));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().context("cannot start isopod")?;
    let mut lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
    let mut stderr = child.stderr.take().context("standard error is piped")?;
    let to_the_end = async {
        let (mut answered, mut printed) = (None, String::new());
        while let Some(line) = lines.next_line().await? {
            if line.contains(FIRST_ANSWER) {
                answered.get_or_insert(started.elapsed());
            }
            printed = printed + &line + "\n";
        }
        stderr.read_to_string(&mut printed).await?;
        let status = child.wait().await?;
        ensure!(status.success(), "demo ended with {status}:\n{printed}");
        answered.with_context(|| format!("demo did not say {FIRST_ANSWER:?}:\n{printed}"))
    };
    tokio::time::timeout(DEMO_TIMEOUT, to_the_end).await.context("demo did not end")?
}

/// Resident memory in MiB, and CPU in percent of a core.
async fn idle(server: &Server) -> anyhow::Result<(f64, f64)> {
    tokio::time::sleep(SETTLE).await;
    let (before, started) = (server.cpu_time()?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let used = server.cpu_time()?.saturating_sub(before).as_secs_f64();
    Ok((server.resident_mib()?, 100.0 * used / started.elapsed().as_secs_f64()))
}
