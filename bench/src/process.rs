//! Processes under test: started with a folder of their own, watched through `/proc`, ended by their id.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::bench::Bench;

/// How long a process may take until it says that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The program of util-linux that pins a process to cores.
const TASKSET: &str = "taskset";

/// Where a process may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// On all of them.
    All,
    /// On the first only, so that what asks it has the others.
    First,
}

/// What `isopod dev` and `isopod server` print when they are ready.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Banner {
    /// Milliseconds from the start of its work to readiness.
    pub(crate) ready_ms: u64,
    pub(crate) kubeconfig: std::path::PathBuf,
    /// URL of the ingress address; a member without a node has none.
    pub(crate) ingress: Option<String>,
}

/// A running cluster or member. Its process ends with this, and its folder is removed.
pub(crate) struct Server {
    child: Child,
    pub(crate) banner: Banner,
    /// When the process was started.
    pub(crate) started: Instant,
    _folder: TempDir,
}

impl Server {
    /// `isopod dev` on free ports.
    pub(crate) async fn dev(bench: &Bench, cores: Cores) -> anyhow::Result<Server> {
        let own_ranges = ["--pod-cidr", "127.24.0.0/16", "--service-cidr", "127.25.0.0/16"];
        let ports = ["dev", "-o", "json", "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0"];
        Server::start(bench, cores, &[&ports[..], &own_ranges[..]].concat()).await
    }

    /// `isopod server` on a free port: a member of the control plane without a node.
    pub(crate) async fn member(bench: &Bench) -> anyhow::Result<Server> {
        Server::start(
            bench,
            Cores::All,
            &["server", "--init", "-o", "json", "--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"],
        )
        .await
    }

    async fn start(bench: &Bench, cores: Cores, args: &[&str]) -> anyhow::Result<Server> {
        let folder = folder(&bench.dir)?;
        let stderr = folder.path().join("stderr");
        let mut command = command(&bench.isopod, cores);
        command.args(args).arg("--data-dir").arg(folder.path().join("data")).stdin(Stdio::null());
        let started = Instant::now();
        let mut child = command.stderr(File::create(&stderr)?).spawn().context("cannot start isopod")?;
        let said = first_line(&mut child).await.and_then(|line| Ok(serde_json::from_str(&line)?));
        let banner = said.with_context(|| {
            let stderr = std::fs::read_to_string(&stderr).unwrap_or_default();
            format!("isopod {} did not become ready; it said: {}", args[0], stderr.trim())
        })?;
        Ok(Server { child, banner, started, _folder: folder })
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        resident_mib(self.id()?)
    }

    /// Time that its threads have run so far.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(self.id()?)
    }

    /// Ends the process and waits until it is gone.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot end isopod")
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("isopod has ended")
    }
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Time that the threads of a process have run so far.
pub(crate) fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let ticks = cpu_ticks(&stat).context("/proc/PID/stat is not as proc(5) says")?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// A folder that is removed when it is dropped.
pub(crate) fn folder(dir: &Path) -> anyhow::Result<TempDir> {
    let made = tempfile::Builder::new().prefix("isopod-bench-").tempdir_in(dir);
    made.with_context(|| format!("cannot make a folder in {}", dir.display()))
}

/// A command whose process is killed when its [`Child`] is dropped.
pub(crate) fn command(program: &Path, cores: Cores) -> Command {
    let mut command = match cores {
        Cores::First if can_pin() => {
            let mut command = Command::new(TASKSET);
            command.args(["--cpu-list", "0"]).arg(program);
            command
        }
        _ => Command::new(program),
    };
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Whether servers can be kept off the cores of those who ask them.
pub(crate) fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut probe = std::process::Command::new(TASKSET);
    let probe = probe.args(["--cpu-list", "0", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    cores > 1 && probe.status().is_ok_and(|status| status.success())
}

/// The first line that a process prints.
pub(crate) async fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let stdout: ChildStdout = child.stdout.take().context("standard output is not piped")?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    let read = tokio::time::timeout(START_TIMEOUT, reader.read_line(&mut line)).await;
    match read {
        Ok(Ok(0)) => bail!("it ended without a word"),
        Ok(read) => read.map(|_| line).context("its standard output cannot be read"),
        Err(_) => bail!("it said nothing for {} s", START_TIMEOUT.as_secs()),
    }
}

/// User and system time of `/proc/PID/stat`, in clock ticks. The name before them may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn cpu_time_is_found_behind_odd_names() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1000 0 0 0 120 30 0 0 20 0 9 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("42"), None);
    }
}
