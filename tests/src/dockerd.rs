//! A Docker daemon of a test's own: its socket, data and containers lie in a folder of the test, it touches neither the
//! machine's firewall nor its bridges, and it ends with everything it runs when dropped.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::command::{Outcome, is_root, run};
use crate::eventually;

/// A running daemon.
pub struct Dockerd {
    child: Child,
    folder: TempDir,
}

/// The image that every daemon has: busybox as a static program.
pub const BUSYBOX: &str = "isopod.test/busybox:1";

const PROGRAMS: [&str; 14] = [
    "cat", "dd", "echo", "env", "false", "hostname", "httpd", "id", "ls", "nslookup", "sh", "sleep", "true",
    "wget",
];

impl Dockerd {
    /// Starts one; `None` where the machine has no Docker or the test no right to run it, which is said.
    #[track_caller]
    pub fn start() -> Option<Dockerd> {
        let installed = Command::new("dockerd").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_root() || !installed || !Path::new("/bin/busybox").exists() {
            eprintln!("not tested here: needs root, dockerd and a static busybox");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(folder.path());
        let docker = Dockerd { child, folder };
        docker.await_answer();
        docker.import_busybox();
        Some(docker)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Runs `docker` on it.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> Outcome {
        run(
            Command::new("docker")
                .arg("--host")
                .arg(format!("unix://{}", self.socket().display()))
                .args(args),
            "",
        )
    }

    /// Ends the daemon as a crash would, with what it runs, and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.end();
        self.child = spawn(self.folder.path());
        self.await_answer();
    }

    fn await_answer(&self) {
        eventually("dockerd answers", || {
            let asked = self.docker(&["version"]);
            if asked.success {
                return Ok(());
            }
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            Err(format!("{}\n{log}", asked.stderr))
        });
    }

    fn import_busybox(&self) {
        let root = self.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).expect("a folder can be made");
        std::fs::create_dir_all(root.join("tmp")).expect("a folder can be made");
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox can be copied");
        for name in PROGRAMS {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("a link can be made");
        }
        let archive = self.folder.path().join("busybox.tar");
        run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."), "").ok();
        let path = archive.to_str().expect("temporary folders have plain names");
        self.docker(&["import", "--change", "ENV PATH=/bin", "--change", "CMD [\"sh\"]", path, BUSYBOX]).ok();
    }

    /// Asks the daemon to end, which ends its containers first.
    fn end(&mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        if asked.is_err() {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // A container that does not hear is not waited for.
        let all = self.docker(&["ps", "--all", "--quiet"]).stdout;
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty() {
            let mut args = vec!["rm", "--force"];
            args.extend(ids);
            self.docker(&args);
        }
        self.end();
    }
}

fn spawn(folder: &Path) -> Child {
    let mut log =
        File::options().create(true).append(true).open(folder.join("log")).expect("a log can be written");
    writeln!(log, "-- dockerd begins").expect("a log can be written");
    let at = |name: &str| folder.join(name);
    Command::new("dockerd")
        .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
        .arg("--data-root")
        .arg(at("data"))
        .arg("--exec-root")
        .arg(at("exec"))
        .arg("--pidfile")
        .arg(at("pid"))
        .arg("--host")
        .arg(format!("unix://{}", at("sock").display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a handle can be doubled"))
        .stderr(log)
        .spawn()
        .expect("dockerd starts")
}
