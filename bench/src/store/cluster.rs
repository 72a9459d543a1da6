//! Clusters under test: processes of etcd, or of this program's store members, that answer the same calls.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use isopod_control::security::CertificateAuthority;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{channel, kv};
use crate::process::{self, Cores, first_line, folder};

/// How long a cluster may take until it has a leader.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Whose cluster.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Store members of this program.
    Isopod,
    /// The binary of etcd.
    Etcd(PathBuf),
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Isopod => "isopod",
            Kind::Etcd(_) => "etcd",
        }
    }
}

/// A running cluster. Its processes end with it, and its folder is removed.
pub(super) struct Cluster {
    kind: Kind,
    members: Vec<Member>,
    folder: TempDir,
}

struct Member {
    process: Option<Child>,
    address: SocketAddr,
    peer: SocketAddr,
}

impl Cluster {
    /// Starts `size` members that agree on a leader.
    pub(super) async fn start(kind: &Kind, dir: &Path, size: usize) -> anyhow::Result<Cluster> {
        let folder = folder(dir)?;
        let mut ports = free_ports(2 * size)?.into_iter();
        let members = std::iter::from_fn(|| {
            Some(Member { process: None, address: ports.next()?, peer: ports.next()? })
        });
        let mut cluster = Cluster { kind: kind.clone(), members: members.collect(), folder };
        // Made here, before members that start at once all make one.
        CertificateAuthority::load_or_create(&cluster.authority())?;
        // The first of ours takes the others in, so it is ready last.
        for index in (0..size).rev() {
            cluster.begin(index)?;
        }
        for index in (0..size).rev() {
            cluster.ready(index).await?;
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    /// The place of the leader, as it says itself.
    pub(super) async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            for (index, member) in self.members.iter().enumerate().filter(|(_, m)| m.process.is_some()) {
                if matches!(status(member.address).await, Ok((id, leader)) if id == leader) {
                    return Ok(index);
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("there was no leader within {} s", START_TIMEOUT.as_secs())
    }

    /// The identity of a member, as `MoveLeader` wants it.
    pub(super) async fn id(&self, index: usize) -> anyhow::Result<u64> {
        status(self.members[index].address).await.map(|(id, _)| id)
    }

    /// SIGKILL; returns when the process is gone.
    pub(super) async fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let mut process = self.members[index].process.take().context("the member does not run")?;
        process.kill().await.context("cannot end a member")
    }

    /// Starts a member again on its data; it answers when this returns.
    pub(super) async fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.begin(index)?;
        self.ready(index).await
    }

    /// Resident memory of the member that has most, in MiB.
    pub(super) fn resident_mib(&self) -> anyhow::Result<f64> {
        let resident: anyhow::Result<Vec<f64>> = self.running().map(process::resident_mib).collect();
        Ok(resident?.into_iter().fold(0.0, f64::max))
    }

    /// Time that the threads of all members have run so far.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        self.running().map(process::cpu_time).sum()
    }

    /// What the files of the first member take, in MiB.
    pub(super) fn data_mib(&self) -> anyhow::Result<f64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.data(0))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes as f64 / f64::from(1 << 20))
    }

    fn running(&self) -> impl Iterator<Item = u32> {
        self.members.iter().filter_map(|member| member.process.as_ref()?.id())
    }

    fn begin(&mut self, index: usize) -> anyhow::Result<()> {
        let mut command = match &self.kind {
            Kind::Isopod => self.isopod(index)?,
            Kind::Etcd(binary) => self.etcd(binary, index),
        };
        let said = File::create(self.folder.path().join(format!("stderr-{index}")))?;
        let process = command.stdin(Stdio::piped()).stderr(said).spawn().context("cannot start a member")?;
        self.members[index].process = Some(process);
        Ok(())
    }

    /// Waits until a member answers.
    async fn ready(&mut self, index: usize) -> anyhow::Result<()> {
        let said = self.folder.path().join(format!("stderr-{index}"));
        let member = &mut self.members[index];
        let process = member.process.as_mut().context("the member was not started")?;
        let ended = |what: String| {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            anyhow::anyhow!("{what}; it said: {}", said.trim())
        };
        if matches!(self.kind, Kind::Isopod) {
            return first_line(process).await.map(|_| ()).map_err(|error| ended(format!("{error:#}")));
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = process.try_wait()? {
                return Err(ended(format!("etcd ended with {status}")));
            }
            if status(member.address).await.is_ok_and(|(_, leader)| leader != 0) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(ended(format!("etcd did not answer within {} s", START_TIMEOUT.as_secs())))
    }

    fn isopod(&self, index: usize) -> anyhow::Result<Command> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let peers: Vec<String> = self.members.iter().map(|member| member.peer.to_string()).collect();
        let mut command = process::command(&own, Cores::All);
        command.arg("store-member").args(["--id", &(index + 1).to_string(), "--peers", &peers.join(",")]);
        command.args(["--listen", &self.members[index].address.to_string()]);
        command.arg("--data-dir").arg(self.data(index));
        command.arg("--authority").arg(self.authority());
        Ok(command)
    }

    fn etcd(&self, binary: &Path, index: usize) -> Command {
        let member = &self.members[index];
        let name = |index: usize| format!("m{index}");
        let all: Vec<String> = (self.members.iter().enumerate())
            .map(|(index, member)| format!("{}=http://{}", name(index), member.peer))
            .collect();
        let (client, peer) = (format!("http://{}", member.address), format!("http://{}", member.peer));
        let mut command = process::command(binary, Cores::All);
        command.args(["--name", &name(index), "--log-level", "error"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
        command.arg("--data-dir").arg(self.data(index));
        command
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    fn data(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("data-{index}"))
    }
}

async fn status(address: SocketAddr) -> anyhow::Result<(u64, u64)> {
    let answer = channel::call(address, kv::STATUS, kv::empty()).await?;
    kv::read_status(&answer).context("the answer is no StatusResponse")
}

/// Ports that were free a moment ago: both kinds of member must know each other's before they start.
fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let held: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    held?.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}
