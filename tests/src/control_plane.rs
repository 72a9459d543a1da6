//! A control plane of several `isopod server` processes on this machine.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Outcome, isopod, run, tool};
use crate::wait::eventually;

/// One `isopod server`. Dropping it ends the process.
pub struct Server {
    child: Child,
    data_dir: PathBuf,
    /// What it prints when it is ready.
    banner: Value,
}

/// How a server begins that is started for the first time.
#[derive(Debug, Clone)]
pub enum Begin {
    /// With a new cluster.
    Init,
    /// With a new cluster, and more arguments.
    Found(Vec<String>),
    /// In the cluster of which a member's API is at this address, with this token.
    Join(String, String),
    /// As the folder says, with more arguments.
    Again(Vec<String>),
}

impl Server {
    /// Starts a server on free ports; what it prints when it does not start is the error.
    pub fn start(data_dir: &Path, begin: &Begin) -> Result<Server, String> {
        Server::run(Command::new(isopod()), data_dir, begin, ["127.0.0.1:0", "127.0.0.1:0"])
    }

    /// As [`start`](Self::start), with a variable in its environment.
    pub fn start_with(
        data_dir: &Path,
        begin: &Begin,
        (name, value): (&str, &Path),
    ) -> Result<Server, String> {
        let mut command = Command::new(isopod());
        command.env(name, value);
        Server::run(command, data_dir, begin, ["127.0.0.1:0", "127.0.0.1:0"])
    }

    fn run(
        mut command: Command,
        data_dir: &Path,
        begin: &Begin,
        [listen, peers]: [&str; 2],
    ) -> Result<Server, String> {
        command.args(["server", "-o", "json", "--listen", listen, "--peer-listen", peers, "--data-dir"]);
        command.arg(data_dir);
        match begin {
            Begin::Init => drop(command.arg("--init")),
            Begin::Found(args) => drop(command.arg("--init").args(args)),
            Begin::Join(server, token) => drop(command.args(["--join", server, "--token", token])),
            Begin::Again(args) => drop(command.args(args)),
        }
        let log = std::fs::File::options().create(true).append(true).open(log_of(data_dir));
        let log = log.expect("a log file beside the folder");
        let before = log.metadata().expect("a file has a length").len();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the isopod binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("standard output can be read");
        match serde_json::from_str(&line) {
            Ok(banner) => Ok(Server { child, data_dir: data_dir.to_owned(), banner }),
            Err(_) => {
                child.wait().expect("a child can be waited for");
                let log = std::fs::read_to_string(log_of(data_dir)).unwrap_or_default();
                Err(log.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default().to_owned())
            }
        }
    }

    /// `host:port` of its API.
    pub fn api(&self) -> String {
        self.fact("api").trim_start_matches("https://").to_owned()
    }

    /// `host:port` for other members.
    pub fn peers(&self) -> String {
        self.fact("peers").to_owned()
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.fact("name").to_owned()
    }

    fn fact(&self, name: &str) -> &str {
        self.banner[name].as_str().unwrap_or_else(|| panic!("the banner has no {name}: {}", self.banner))
    }

    /// Folder of its state.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it wrote to its log, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_of(&self.data_dir)).unwrap_or_default()
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        // The process may have ended by itself, which is what was wanted.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits until the process ends by itself; returns whether it says that all was well.
    #[track_caller]
    pub fn ended(&mut self) -> bool {
        eventually("the process ends by itself", || {
            let status = self.child.try_wait().map_err(|error| error.to_string())?;
            status.map(|status| status.success()).ok_or_else(|| "it runs".to_owned())
        })
    }

    /// Starts it again at the same addresses, with more arguments.
    #[track_caller]
    pub fn restart(&mut self, args: &[&str]) {
        let (listen, peers) = (self.api(), self.peers());
        let begin = Begin::Again(args.iter().map(|arg| (*arg).to_owned()).collect());
        let started = Server::run(Command::new(isopod()), &self.data_dir, &begin, [&listen, &peers]);
        *self = started.unwrap_or_else(|error| panic!("the server does not start again: {error}"));
    }

    /// Runs the real kubectl against this member alone.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> Outcome {
        run(self.kubectl_command().args(args), "")
    }

    /// Runs the real kubectl with something on its standard input.
    #[track_caller]
    pub fn kubectl_with(&self, args: &[&str], stdin: &str) -> Outcome {
        run(self.kubectl_command().args(args), stdin)
    }

    /// A kubectl command to be spawned by the caller.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(tool("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", self.data_dir.join("kubectl-cache"));
        command
    }

    /// Runs our own command line against this member.
    #[track_caller]
    pub fn isopod(&self, args: &[&str]) -> Outcome {
        run(Command::new(isopod()).env("KUBECONFIG", self.kubeconfig()).args(args), "")
    }

    /// The administrator's kubeconfig, for this member.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// A new token that lets one server in.
    #[track_caller]
    pub fn token(&self) -> String {
        self.isopod(&["token", "create", "--role", "server"]).ok().trim().to_owned()
    }

    /// The members as this one lists them.
    #[track_caller]
    pub fn members(&self) -> Vec<Value> {
        let text = self.isopod(&["member", "list", "-o", "json"]).ok();
        let list: Value = serde_json::from_str(&text).expect("the list is JSON");
        list["members"].as_array().expect("the list has members").clone()
    }

    /// Waits until this member lists so many voters that are well, and no other member.
    #[track_caller]
    pub fn await_voters(&self, count: usize) {
        eventually("all members vote and are well", || {
            let members = self.members();
            let is_well = |member: &&Value| member["role"] == "voter" && member["state"] == "healthy";
            let well = members.iter().filter(is_well).count();
            if (well, members.len()) == (count, count) { Ok(()) } else { Err(format!("{members:?}")) }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The log lies beside the folder, so that the folder can be removed.
fn log_of(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

/// Several servers that are one cluster.
pub struct ControlPlane {
    /// The members, the founder first.
    pub servers: Vec<Server>,
    folder: Option<TempDir>,
}

impl ControlPlane {
    /// Starts one, with more arguments.
    #[track_caller]
    pub fn found(args: Vec<String>) -> ControlPlane {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let founder = Server::start(&folder.path().join("1"), &Begin::Found(args));
        let founder = founder.unwrap_or_else(|error| panic!("the first server does not start: {error}"));
        let plane = ControlPlane { servers: vec![founder], folder: Some(folder) };
        plane.ready();
        plane
    }

    /// Starts so many, and waits until all vote.
    #[track_caller]
    pub fn start(count: usize) -> ControlPlane {
        let mut plane = ControlPlane::found(Vec::new());
        while plane.servers.len() < count {
            plane.grow();
        }
        plane
    }

    /// Waits until the cluster has its first objects.
    #[track_caller]
    fn ready(&self) {
        eventually("the API is ready", || {
            let outcome = self.servers[0].kubectl(&["get", "--raw", "/readyz"]);
            if outcome.success { Ok(()) } else { Err(outcome.stderr) }
        });
    }

    /// One more member, which votes when this returns.
    #[track_caller]
    pub fn grow(&mut self) {
        let dir = self.new_dir();
        let token = self.servers[0].token();
        let joined = Server::start(&dir, &Begin::Join(self.servers[0].api(), token));
        self.servers.push(joined.unwrap_or_else(|error| panic!("the server does not join: {error}")));
        self.servers[0].await_voters(self.servers.len());
    }

    /// A folder for one more server.
    pub fn new_dir(&self) -> PathBuf {
        let folder = self.folder.as_ref().expect("kept until the end").path();
        (1..)
            .map(|number| folder.join(number.to_string()))
            .find(|dir| !log_of(dir).exists())
            .expect("endless")
    }

    /// Which of the servers leads, as a running one says.
    #[track_caller]
    pub fn leader(&self) -> usize {
        eventually("there is a leader", || {
            for server in &self.servers {
                let outcome = server.isopod(&["member", "list", "-o", "json"]);
                let list: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
                let leads = |member: &&Value| member["leader"] == true;
                let leader = list["members"].as_array().and_then(|all| all.iter().find(leads).cloned());
                let at =
                    leader.and_then(|leader| self.servers.iter().position(|s| leader["name"] == s.name()));
                if let Some(at) = at {
                    return Ok(at);
                }
            }
            Err("nobody knows one".to_owned())
        })
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.servers.clear();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the members' folders are kept: {}", folder.keep().display());
        }
    }
}

/// Reads a stream of lines until one satisfies; for watches.
#[track_caller]
pub fn read_until(mut from: impl std::io::Read, found: impl Fn(&str) -> bool) -> String {
    let (mut text, mut byte) = (String::new(), [0]);
    while !found(&text) {
        let read = from.read(&mut byte).expect("it can be read");
        assert_ne!(read, 0, "it ended before: {text}");
        text.push(char::from(byte[0]));
    }
    text
}
