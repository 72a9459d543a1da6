//! What happens to state: killed processes, taken ports, locked and damaged folders.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_tests::command::{Outcome, isopod, run};
use isopod_tests::{Cluster, eventually};

fn dev(data_dir: &Path, listen: &str) -> Outcome {
    let mut command = Command::new(isopod());
    command.args(["dev", "--listen", listen, "--ingress", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    command.args(["--pod-cidr", "127.58.0.0/16", "--service-cidr", "127.59.0.0/16"]);
    run(&mut command, "")
}

#[test]
fn objects_survive_sigkill() {
    let mut cluster = Cluster::start();
    for index in 0..20 {
        cluster.kubectl(&["create", "configmap", &format!("c{index}")]).ok();
    }
    let uid = |cluster: &Cluster| {
        cluster
            .kubectl(&["get", "configmap", "c7", "-o", "jsonpath={.metadata.uid}{.metadata.resourceVersion}"])
            .ok()
    };
    let before = uid(&cluster);
    cluster.kill_and_restart();
    assert_eq!(uid(&cluster), before);
    let names = cluster.kubectl(&["get", "configmaps", "-o", "name"]).ok();
    assert_eq!(names.lines().filter(|line| line.starts_with("configmap/c")).count(), 20, "{names}");
}

#[test]
fn a_taken_port_is_named_and_changes_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = dev(folder.path(), &address).err();
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert!(error.contains("try: another address"), "{error}");
    assert!(!folder.path().join("store").exists());
}

#[test]
fn a_second_process_on_a_folder_is_refused() {
    let cluster = Cluster::start();
    let error = dev(cluster.data_dir(), "127.0.0.1:0").err();
    assert!(error.contains("locked") || error.contains("in use"), "{error}");
    assert!(error.contains(&cluster.data_dir().display().to_string()), "{error}");
    cluster.kubectl(&["get", "namespaces"]).ok();
}

/// The largest file below a folder.
pub(crate) fn largest(folder: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let metadata = entry.metadata().expect("a readable file");
            if metadata.is_dir() {
                folders.push(entry.path())
            } else {
                files.push((metadata.len(), entry.path()))
            }
        }
    }
    files.into_iter().max().expect("a file").1
}

#[test]
fn a_damaged_log_names_file_and_offset_and_nothing_is_lost() {
    let mut cluster = Cluster::start();
    for index in 0..30 {
        cluster.kubectl(&["create", "configmap", &format!("c{index}")]).ok();
    }
    cluster.kill();
    let log = largest(&cluster.data_dir().join("store"));
    let whole = std::fs::read(&log).expect("the log can be read");
    let written = whole.iter().rposition(|byte| *byte != 0).expect("the log is not empty");
    let mut file = std::fs::OpenOptions::new().write(true).open(&log).expect("the log can be opened");
    file.seek(SeekFrom::Start(written as u64 / 2)).expect("a place in the log");
    file.write_all(&[whole[written / 2] ^ 0xff]).expect("written");

    let error = dev(cluster.data_dir(), "127.0.0.1:0").err();
    let name = log.file_name().expect("a file name").to_string_lossy().into_owned();
    assert!(error.contains(&name), "{error}");
    assert!(error.contains("offset") || error.contains("byte"), "{error}");

    // Mending the byte brings everything back: nothing was removed or cut.
    std::fs::write(&log, &whole).expect("written");
    cluster.kill_and_restart();
    eventually("all objects are back", || {
        let names = cluster.kubectl(&["get", "configmaps", "-o", "name"]).ok();
        let count = names.lines().filter(|line| line.starts_with("configmap/c")).count();
        if count == 30 { Ok(()) } else { Err(names) }
    });
}

#[test]
fn the_apis_own_service_leads_to_it_after_a_restart_on_another_port() {
    let mut cluster = Cluster::start();
    let port = |cluster: &Cluster| cluster.fact("api").rsplit(':').next().expect("a port").to_owned();
    let target = "{.spec.ports[0].targetPort}";
    cluster.await_field("service/kubernetes", target, &port(&cluster));
    // The kernel chooses another.
    cluster.kill_and_restart();
    cluster.await_field("service/kubernetes", target, &port(&cluster));
    cluster.await_field("endpoints/kubernetes", "{.subsets[0].ports[0].port}", &port(&cluster));
    // Asked at its Service address, the API answers; without a certificate it says no more than its version.
    let url = format!("https://{}/version", cluster.field("service/kubernetes", "{.spec.clusterIP}"));
    let answer = eventually("the API answers at its Service address", || {
        let outcome = run(
            Command::new("curl").args(["--silent", "--show-error", "--insecure", "--max-time", "10", &url]),
            "",
        );
        if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stderr) }
    });
    assert!(answer.contains("v1.36.0"), "{answer}");
}
