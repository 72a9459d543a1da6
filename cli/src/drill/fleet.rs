//! The processes of a drill: members and nodes of this binary, each with a folder of its own, ended by their ids.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use isopod_control::membership::protocol::{MEMBERS, MemberList, MemberRole, MemberState};
use isopod_control::membership::token::Role;
use kube::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::client::Connection;
use crate::{member, token};

/// How long a process may take until it says that it is ready, and the cluster until all is well.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Life of the tokens, of which each is used at once.
const TOKEN_TTL: Duration = Duration::from_secs(300);

/// All processes; they end with it.
pub(super) struct Fleet {
    dir: PathBuf,
    pub(super) members: Vec<Member>,
    pub(super) nodes: Vec<Process>,
    /// Clients of the members that vote, for those who use the API.
    clients: watch::Sender<Vec<Client>>,
    /// Members that there were ever.
    named: usize,
}

/// A member and the way to its API.
pub(super) struct Member {
    pub(super) process: Process,
    /// Its number in the cluster.
    pub(super) number: u64,
    pub(super) client: Client,
    kubeconfig: PathBuf,
}

/// One process, which can be started again as it was.
pub(super) struct Process {
    pub(super) name: String,
    /// What it is started with.
    args: Vec<String>,
    child: Option<Child>,
}

impl Fleet {
    /// Founds a cluster of one member.
    pub(super) async fn found(dir: &Path, service_cidr: &str) -> anyhow::Result<Fleet> {
        let (dir, clients) = (dir.to_owned(), watch::Sender::new(Vec::new()));
        let mut fleet = Fleet { dir, members: Vec::new(), nodes: Vec::new(), clients, named: 0 };
        fleet.add_member(&["--init", "--service-cidr", service_cidr]).await?;
        fleet.tell();
        Ok(fleet)
    }

    /// Lets one more member join, and waits until all vote.
    pub(super) async fn grow(&mut self) -> anyhow::Result<()> {
        let made = token::create(&self.connection(), Role::Server, TOKEN_TTL).await?;
        self.add_member(&["--join", &made.server, "--token", &made.token.to_string()]).await?;
        self.all_well().await?;
        self.tell();
        Ok(())
    }

    /// A member that was removed: its process ends by itself.
    pub(super) async fn forget(&mut self, place: usize) -> anyhow::Result<()> {
        let mut gone = self.members.remove(place);
        self.tell();
        gone.process.ended().await
    }

    /// Clients of all members, as they change.
    pub(super) fn clients(&self) -> watch::Receiver<Vec<Client>> {
        self.clients.subscribe()
    }

    fn tell(&self) {
        self.clients.send_replace(self.members.iter().map(|member| member.client.clone()).collect());
    }

    /// A client of a member that runs.
    pub(super) fn client(&self) -> Client {
        let running = self.members.iter().find(|member| member.process.is_running());
        running.unwrap_or(&self.members[0]).client.clone()
    }

    async fn add_member(&mut self, beginning: &[&str]) -> anyhow::Result<()> {
        self.named += 1;
        let name = format!("member-{}", self.named);
        let mut args = vec!["server".to_owned(), "--data-dir".to_owned(), self.folder(&name)];
        args.extend(["--name", &name, "-o", "json"].map(str::to_owned));
        let mut first = args.clone();
        first.extend(beginning.iter().map(|word| (*word).to_owned()));
        first.extend(["--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"].map(str::to_owned));
        let mut process = Process { name, args: first, child: None };
        let facts = process.start(&self.dir).await?;
        let text = |key: &str| facts[key].as_str().context("the banner lacks a fact").map(str::to_owned);
        let api = text("api")?.trim_start_matches("https://").to_owned();
        args.extend(["--listen".to_owned(), api, "--peer-listen".to_owned(), text("peers")?]);
        process.args = args;
        let kubeconfig = PathBuf::from(text("kubeconfig")?);
        let client = Connection::at(&kubeconfig).client().await?;
        let number = facts["member"].as_u64().context("the banner lacks the member's number")?;
        self.members.push(Member { process, number, client, kubeconfig });
        Ok(())
    }

    /// Lets one more node join, whose pods have addresses of this range.
    pub(super) async fn add_node(&mut self, pod_cidr: &str) -> anyhow::Result<()> {
        let made = token::create(&self.connection(), Role::Node, TOKEN_TTL).await?;
        let list = self.list().await.context("no member answers")?;
        let servers: Vec<String> = list.members.into_iter().map(|member| member.api_address).collect();
        let name = format!("node-{}", self.nodes.len() + 1);
        let args =
            ["node", "-o", "json", "--name", &name, "--server", &servers.join(","), "--pod-cidr", pod_cidr];
        let mut args = args.map(str::to_owned).to_vec();
        args.extend(["--data-dir".to_owned(), self.folder(&name)]);
        let mut first = args.clone();
        first.extend(["--token".to_owned(), made.token.to_string()]);
        let mut process = Process { name, args: first, child: None };
        process.start(&self.dir).await?;
        process.args = args;
        self.nodes.push(process);
        Ok(())
    }

    /// The way to the first of the members.
    pub(super) fn connection(&self) -> Connection {
        Connection::at(&self.members[0].kubeconfig)
    }

    /// The place of the member that leads, as most recently known by one that answers.
    pub(super) async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            let leader = self.list().await.and_then(|list| list.members.into_iter().find(|m| m.leader));
            let place = |id| self.members.iter().position(|member| member.number == id);
            if let Some(place) = leader.and_then(|leader| place(leader.id)) {
                return Ok(place);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("no member led within {} s", READY_TIMEOUT.as_secs())
    }

    /// Waits until every member votes and answers.
    pub(super) async fn all_well(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            let list = self.list().await.unwrap_or_default();
            let is_well = |state, role| state == MemberState::Healthy && role == MemberRole::Voter;
            let well = list.members.iter().filter(|member| is_well(member.state, member.role)).count();
            if (well, list.members.len()) == (self.members.len(), self.members.len()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        bail!("the members were not all well within {} s", READY_TIMEOUT.as_secs())
    }

    /// What the first member that runs says of all.
    async fn list(&self) -> Option<MemberList> {
        for member in self.members.iter().filter(|member| member.process.is_running()) {
            let asked = member::ask(&member.client, http::Method::GET, MEMBERS, Vec::new());
            if let Ok(Ok(list)) = tokio::time::timeout(Duration::from_secs(1), asked).await {
                return Some(list);
            }
        }
        None
    }

    /// Where processes write what they log.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn folder(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

impl Process {
    /// Starts it, and returns what it says when it is ready.
    pub(super) async fn start(&mut self, dir: &Path) -> anyhow::Result<Value> {
        let log = dir.join(format!("{}.log", self.name));
        let file = std::fs::File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let own = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(own);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        let mut said = BufReader::new(stdout);
        let read = tokio::time::timeout(READY_TIMEOUT, said.read_line(&mut line)).await;
        self.child = Some(child);
        match read {
            Ok(Ok(length)) if length > 0 => Ok(serde_json::from_str(&line)?),
            _ => bail!("{} did not become ready; its log is {}", self.name, log.display()),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL; returns when the process is gone.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Waits until it ends by itself.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        match tokio::time::timeout(READY_TIMEOUT, child.wait()).await {
            Ok(ended) => ended.map(drop).with_context(|| format!("cannot wait for {}", self.name)),
            Err(_) => bail!("{} was removed and did not end within {} s", self.name, READY_TIMEOUT.as_secs()),
        }
    }

    /// SIGSTOP.
    pub(super) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(super) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(id.cast_signed()));
        let id = id.with_context(|| format!("{} does not run", self.name))?;
        kill_process(id, signal).with_context(|| format!("cannot send a signal to {}", self.name))
    }
}
