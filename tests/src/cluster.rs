//! A real `isopod dev` process, and the clients that talk to it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Outcome, isopod, run, tool};

/// How to start a cluster.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Use this folder instead of a new one.
    pub data_dir: Option<PathBuf>,
    /// More arguments of `isopod dev`.
    pub args: Vec<String>,
    /// Run as a user without rights (with setpriv), when the test itself runs as root.
    pub unprivileged: bool,
}

/// A running `isopod dev`. Dropping it ends the process.
pub struct Cluster {
    child: Child,
    folder: Option<TempDir>,
    data_dir: PathBuf,
    banner: Value,
    ranges: Ranges,
    args: Vec<String>,
}

impl Cluster {
    /// Starts a cluster with one node in a folder of its own.
    #[track_caller]
    pub fn start() -> Cluster {
        Cluster::with(Options::default())
    }

    /// Starts a cluster and waits for its banner.
    #[track_caller]
    pub fn with(options: Options) -> Cluster {
        let folder = options.data_dir.is_none().then(|| tempfile::tempdir().expect("a temporary folder"));
        let data_dir =
            options.data_dir.unwrap_or_else(|| folder.as_ref().expect("made above").path().join("data"));
        let ranges = Ranges::claim();
        let mut command = command(&data_dir, &ranges);
        command.args(&options.args);
        if options.unprivileged && crate::command::is_root() {
            command = without_rights(&command, &data_dir);
        }
        let mut child = command.spawn().expect("the isopod binary starts");
        let banner = read_banner(&mut child, &data_dir);
        Cluster { child, folder, data_dir, banner, ranges, args: options.args }
    }

    /// Ends the process at once, as a power cut would, and starts it again on the same folder and addresses and with
    /// the same arguments.
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.kill();
        let mut command = command(&self.data_dir, &self.ranges);
        self.child = command.args(&self.args).spawn().expect("the isopod binary starts");
        self.banner = read_banner(&mut self.child, &self.data_dir);
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        // The process may have ended by itself, which is what was wanted.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }

    /// Folder of all state.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A fact of the banner, such as `api`, `ingress` or `kubeconfig`.
    #[track_caller]
    pub fn fact(&self, name: &str) -> String {
        self.banner[name]
            .as_str()
            .unwrap_or_else(|| panic!("the banner has no {name}: {}", self.banner))
            .to_owned()
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs the real kubectl.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> Outcome {
        self.kubectl_with(args, "")
    }

    /// Runs the real kubectl with something on its standard input.
    #[track_caller]
    pub fn kubectl_with(&self, args: &[&str], stdin: &str) -> Outcome {
        run(self.kubectl_command().args(args), stdin)
    }

    /// A kubectl command to be spawned by the caller.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(tool("kubectl"));
        command
            .env("KUBECONFIG", self.fact("kubeconfig"))
            .env("KUBECACHEDIR", self.data_dir.join("kubectl-cache"));
        command
    }

    /// Runs our own command line against this cluster.
    #[track_caller]
    pub fn isopod(&self, args: &[&str]) -> Outcome {
        run(Command::new(isopod()).env("KUBECONFIG", self.fact("kubeconfig")).args(args), "")
    }

    /// Requests a path of a Service through the ingress address with curl; the body, and the status on the last line.
    #[track_caller]
    pub fn curl(&self, service: &str, namespace: &str, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.fact("ingress"));
        let host = format!("Host: {service}.{namespace}.localhost");
        let outcome = run(
            Command::new("curl").args([
                "--silent",
                "--max-time",
                "30",
                "--write-out",
                "\n%{http_code}",
                "--header",
                &host,
                &url,
            ]),
            "",
        );
        let (body, status) = outcome.stdout.rsplit_once('\n').unwrap_or(("", "0"));
        (status.trim().parse().unwrap_or(0), body.to_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the cluster's folder is kept: {}", folder.keep().display());
        }
    }
}

fn command(data_dir: &Path, ranges: &Ranges) -> Command {
    let mut command = Command::new(isopod());
    command.args(["dev", "-o", "json", "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0", "--data-dir"]);
    command
        .arg(data_dir)
        .args(ranges.args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The user and group `nobody`.
const NOBODY: u32 = 65534;

/// The same command as `nobody`, who may enter the folder and run a copy of the binary in it.
fn without_rights(command: &Command, data_dir: &Path) -> Command {
    let folder = data_dir.parent().expect("the data folder lies in a folder of the test");
    let binary = folder.join("isopod");
    std::fs::create_dir_all(data_dir).expect("a folder can be made");
    std::fs::copy(command.get_program(), &binary).expect("the binary can be copied");
    for path in [folder, data_dir, binary.as_path()] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
    let mut lowered = Command::new("setpriv");
    lowered.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    lowered.arg(binary).args(command.get_args());
    lowered.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    lowered
}

/// Pairs of /16 ranges that tests share: 127.60 and 127.61 up to 127.252 and 127.253.
const PAIRS: u32 = 97;

/// A pair of ranges that no other test has while this lives, so that clusters side by side do not meet.
pub struct Ranges {
    args: [String; 4],
    _lock: File,
}

impl Ranges {
    /// Takes a pair that is free.
    pub fn claim() -> Ranges {
        let folder = std::env::temp_dir().join("isopod-test-ranges");
        std::fs::create_dir_all(&folder).expect("a folder for locks can be made");
        for attempt in 0..PAIRS {
            let pair = (std::process::id() + attempt) % PAIRS;
            let lock = File::create(folder.join(pair.to_string())).expect("a lock file can be made");
            if lock.try_lock().is_ok() {
                let base = 60 + 2 * pair;
                let range = |second: u32| format!("127.{second}.0.0/16");
                let args = ["--pod-cidr".into(), range(base), "--service-cidr".into(), range(base + 1)];
                return Ranges { args, _lock: lock };
            }
        }
        panic!("all {PAIRS} pairs of address ranges are taken by other tests");
    }

    /// Arguments of `isopod dev` and `isopod demo`.
    pub fn args(&self) -> &[String] {
        &self.args
    }
}

#[track_caller]
fn read_banner(child: &mut Child, data_dir: &Path) -> Value {
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("standard output can be read");
    if let Ok(banner) = serde_json::from_str(&line) {
        return banner;
    }
    let output = child.wait().map(|status| status.to_string()).unwrap_or_default();
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        std::io::Read::read_to_string(&mut pipe, &mut stderr).expect("standard error can be read");
    }
    let log = std::fs::read_to_string(data_dir.join("isopod.log")).unwrap_or_default();
    panic!("isopod dev ended with {output} before it was ready:\n{line}{stderr}\n{log}");
}
