//! `isopod demo`: one command from nothing to answers of a WebAssembly service.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use isopod_tests::command::{isopod, run};
use isopod_tests::{Cluster, Ranges, eventually};

fn command(verb: &str, ranges: &Ranges) -> Command {
    let mut command = Command::new(isopod());
    command.args([verb, "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0"]).args(ranges.args());
    command
}

fn demo(data_dir: &Path, ranges: &Ranges) -> String {
    run(command("demo", ranges).arg("--exit").arg("--data-dir").arg(data_dir), "").ok()
}

#[test]
fn demo_answers_from_three_pods_and_ends_with_status_0() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ranges = Ranges::claim();
    let printed = demo(folder.path(), &ranges);
    assert_eq!(
        printed.lines().filter(|line| line.contains("hello-") && line.trim().starts_with("hello-")).count(),
        3,
        "{printed}"
    );
    assert!(printed.contains("export KUBECONFIG="), "{printed}");

    // A second run in the same folder works as well.
    let again = demo(folder.path(), &ranges);
    assert!(again.contains("30 more requests were answered by:"), "{again}");
}

#[test]
fn a_deployment_serves_again_after_sigkill_without_being_applied_again() {
    let mut cluster = Cluster::start();
    super::kubectl::deploy_hello(&cluster);
    cluster.kill_and_restart();
    eventually("hello answers after the restart", || match cluster.curl("hello", "hello", "/") {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{status} {body}")),
    });
    let pods = cluster.kubectl(&["get", "pods", "-n", "hello", "--no-headers"]).ok();
    assert_eq!(pods.lines().count(), 3, "{pods}");
}

/// Asks a process to end, and waits for its status.
#[track_caller]
fn end(child: &mut Child, signal: &str) -> bool {
    run(Command::new("kill").args([signal, &child.id().to_string()]), "").ok();
    eventually(&format!("the process ends after {signal}"), || match child.try_wait() {
        Ok(Some(status)) => Ok(status.success()),
        other => Err(format!("{other:?}")),
    })
}

/// Ends the process whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn demo_stays_until_it_is_interrupted_and_ends_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ranges = Ranges::claim();
    let mut command = command("demo", &ranges);
    command.arg("--data-dir").arg(folder.path()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("the isopod binary starts"));
    let lines = BufReader::new(running.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut printed = Vec::new();
    for line in lines {
        let last = line.contains("stays until Ctrl-C");
        printed.push(line);
        if last {
            break;
        }
    }
    // What it says to try next works: the last line but one is a curl command.
    let url = printed
        .iter()
        .find_map(|line| line.trim().strip_prefix("curl "))
        .expect("a line with curl")
        .to_owned();
    let answer =
        run(Command::new("curl").args(["--silent", "--show-error", "--max-time", "30", &url]), "").ok();
    assert!(answer.starts_with("Hello from hello-"), "{answer}");
    let kubeconfig =
        printed.iter().find_map(|line| line.trim().strip_prefix("export KUBECONFIG=")).expect("a line");
    for command in printed.iter().filter_map(|line| line.trim().strip_prefix("kubectl ")) {
        let mut kubectl = Command::new(isopod_tests::command::tool("kubectl"));
        run(kubectl.env("KUBECONFIG", kubeconfig).args(command.split(' ')), "").ok();
    }
    assert!(running.0.try_wait().expect("a child can be asked").is_none(), "it stays");
    assert!(end(&mut running.0, "-INT"));
}

/// Files and folders below a folder, without those below `except`.
fn files(folder: &Path, except: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() && path != except {
                folders.push(path);
            } else if path != except {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn everything_kept_lies_in_one_folder_and_deleting_it_is_uninstalling() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let kept = home.path().join(".local/share/isopod");
    let ranges = Ranges::claim();
    let answers = || {
        let mut command = command("demo", &ranges);
        command.arg("--exit").env_clear().env("HOME", home.path()).env("TMPDIR", home.path());
        run(command.current_dir(home.path()), "").ok()
    };
    assert!(answers().contains("30 more requests were answered by:"));
    assert!(kept.join("admin.kubeconfig").exists());
    assert_eq!(files(home.path(), &kept), Vec::<PathBuf>::new());
    std::fs::remove_dir_all(&kept).expect("the folder can be deleted");
    assert!(answers().contains("30 more requests were answered by:"), "as on the first day");
}

#[test]
fn dev_serves_what_is_pushed_created_and_exposed() {
    // The lines of the README, one by one; only the ports are others.
    let home = tempfile::tempdir().expect("a temporary folder");
    let ranges = Ranges::claim();
    let mut command = command("dev", &ranges);
    command.env("HOME", home.path()).env_remove("XDG_DATA_HOME").stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("the isopod binary starts"));
    let lines = BufReader::new(running.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut port = String::new();
    for line in lines {
        if let Some(of_ingress) = line.split(".localhost:").nth(1) {
            port = of_ingress.trim().to_owned();
        }
        if line.contains("kubectl get nodes,pods -A") {
            break;
        }
    }
    let kubeconfig = home.path().join(".local/share/isopod/admin.kubeconfig");
    let with = |program: &mut Command, args: &[&str]| {
        run(program.env("KUBECONFIG", &kubeconfig).args(args), "").ok()
    };
    let kubectl = || Command::new(isopod_tests::command::tool("kubectl"));
    let component = format!("{}/hello.wasm", super::kubectl::HELLO);
    with(&mut Command::new(isopod()), &["push", &component, "registry.local/app:v1"]);
    with(
        &mut kubectl(),
        &["create", "deployment", "app", "--image", "registry.local/app:v1", "--replicas", "3"],
    );
    with(&mut kubectl(), &["expose", "deployment", "app", "--port", "80"]);
    let url = format!("http://app.default.localhost:{port}/");
    eventually(&format!("{url} answers"), || {
        let curl = ["--silent", "--show-error", "--fail", "--max-time", "30", &url];
        let outcome = run(Command::new("curl").args(curl), "");
        if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stderr) }
    });
    assert!(end(&mut running.0, "-TERM"));
}

#[test]
fn server_is_a_member_without_a_node() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(isopod());
    let any = "127.0.0.1:0";
    command.args(["server", "--init", "-o", "json", "--listen", any, "--peer-listen", any, "--data-dir"]);
    command.arg(folder.path());
    let mut running =
        Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts"));
    let mut banner = String::new();
    let mut stdout = BufReader::new(running.0.stdout.take().expect("piped"));
    stdout.read_line(&mut banner).expect("standard output can be read");
    let banner: serde_json::Value = serde_json::from_str(&banner).expect("JSON");
    let kubeconfig = banner["kubeconfig"].as_str().expect("a path").to_owned();
    let kubectl = |args: &[&str]| {
        let mut kubectl = Command::new(isopod_tests::command::tool("kubectl"));
        run(kubectl.env("KUBECONFIG", &kubeconfig).args(args), "").ok()
    };
    eventually("the member is ready", || {
        let mut kubectl = Command::new(isopod_tests::command::tool("kubectl"));
        let outcome = run(kubectl.env("KUBECONFIG", &kubeconfig).args(["get", "--raw", "/readyz"]), "");
        if outcome.success { Ok(()) } else { Err(outcome.stderr) }
    });
    assert_eq!(kubectl(&["get", "nodes", "-o", "name"]), "");
    kubectl(&["create", "configmap", "a"]);
    assert!(end(&mut running.0, "-TERM"));
}
