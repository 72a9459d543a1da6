//! Faults of processes and disks against a control plane of real servers: what was acknowledged stays.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_tests::command::is_root;
use isopod_tests::control_plane::{Begin, ControlPlane, Server};
use isopod_tests::{eventually, run};

use super::history::History;
use super::members::assert_kept;

const KILLS: usize = 100;

#[test]
fn a_hundred_killed_leaders_lose_no_acknowledged_write_and_make_none_up() {
    let mut plane = ControlPlane::start(3);
    let history = History::begin(&plane.servers);
    for _ in 0..KILLS {
        let leader = plane.leader();
        plane.servers[leader].kill();
        // The two that are left take writes.
        history.await_writes();
        plane.servers[leader].restart(&[]);
        plane.servers[leader].await_voters(3);
    }
    history.end();
}

#[test]
fn a_leader_that_was_stopped_and_goes_on_serves_nothing_stale() {
    let plane = ControlPlane::start(3);
    for round in 0..3 {
        let leader = plane.leader();
        signal(&plane.servers[leader], "STOP");
        let other = &plane.servers[(leader + 1) % 3];
        let value = format!("--from-literal=round={round}");
        other.kubectl(&["create", "configmap", &format!("round-{round}"), &value]).ok();
        signal(&plane.servers[leader], "CONT");
        // Its lease is over, whatever its clock said while it slept: it must not answer from what it had.
        let found = plane.servers[leader].kubectl(&["get", "configmap", &format!("round-{round}")]);
        assert!(found.success, "round {round}: {}", found.stderr);
        plane.servers[leader].await_voters(3);
    }
}

#[test]
fn a_flipped_byte_on_the_disk_is_found_and_the_member_is_sent_everything_again() {
    let mut plane = ControlPlane::start(3);
    for number in 0..20 {
        plane.servers[0].kubectl(&["create", "configmap", &format!("kept-{number}")]).ok();
    }
    let damaged = (plane.leader() + 1) % 3;
    let asked = (damaged + 1) % 3;
    let dir = plane.servers[damaged].data_dir().to_owned();
    plane.servers[damaged].kill();
    let file = largest_log(&dir.join("store"));
    flip_byte_of(&file, b"kept-7");
    let refused = Server::start(&dir, &Begin::Again(Vec::new())).err().expect("it must not start");
    let name = file.file_name().expect("it is a file").to_string_lossy().into_owned();
    assert!(refused.contains(&name) && refused.contains("offset"), "{refused}");
    plane.servers[asked].kubectl(&["create", "configmap", "meanwhile"]).ok();

    plane.servers[damaged].restart(&["--reseed"]);
    plane.servers[asked].await_voters(3);
    let kept: Vec<String> = (0..20).map(|number| format!("configmap/kept-{number}")).collect();
    plane.servers[damaged].kubectl(&["get", "configmap", "meanwhile"]).ok();
    assert_kept(&plane.servers[damaged], &kept);
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_space() {
    // Only root may mount a file system that is small.
    if !is_root() {
        eprintln!("not root: no small file system can be mounted, nothing is tested");
        return;
    }
    let disk = SmallDisk::mount("160m");
    let server = Server::start(&disk.folder().join("data"), &Begin::Init).expect("it starts");
    server.await_voters(1);
    server.kubectl(&["create", "configmap", "before"]).ok();
    fs::write(disk.folder().join("ballast"), vec![0; 40 << 20]).expect("there is space for it");
    let large = disk.folder().with_extension("large");
    fs::write(&large, vec![b'x'; 900 << 10]).expect("it can be written");
    let from_file = format!("--from-file={}", large.display());
    let refused = (0..200).find_map(|number| {
        let outcome = server.kubectl(&["create", "configmap", &format!("large-{number}"), &from_file]);
        (!outcome.success).then_some(outcome.stderr)
    });
    let refused = refused.expect("the disk is full at last");
    assert!(refused.contains("full"), "{refused}");
    server.kubectl(&["get", "configmap", "before"]).ok();
    fs::remove_file(disk.folder().join("ballast")).expect("the ballast is there");
    eventually("writes go on", || {
        let outcome = server.kubectl(&["create", "configmap", "after"]);
        if outcome.success { Ok(()) } else { Err(outcome.stderr) }
    });
    fs::remove_file(&large).expect("it is there");
}

fn signal(server: &Server, name: &str) {
    run(Command::new("kill").args([&format!("-{name}"), &server.pid().to_string()]), "").ok();
}

fn largest_log(store: &Path) -> PathBuf {
    let entries = fs::read_dir(store).expect("the store has a folder");
    let files = entries.map(|entry| entry.expect("it can be read").path());
    let holds = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| position(&bytes, b"kept-7").is_some());
    files.into_iter().find(holds).expect("one of the files has what was written")
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Flips one bit in the middle of a record, long before the end of the log.
fn flip_byte_of(path: &Path, wanted: &[u8]) {
    let bytes = fs::read(path).expect("it can be read");
    let at = position(&bytes, wanted).expect("it is in the file") as u64;
    let mut file = File::options().read(true).write(true).open(path).expect("it can be opened");
    file.seek(SeekFrom::Start(at)).expect("it is as long");
    let mut byte = [0];
    file.read_exact(&mut byte).expect("it is as long");
    file.seek(SeekFrom::Start(at)).expect("it is as long");
    file.write_all(&[byte[0] ^ 0x10]).expect("it can be written");
}

/// A file system in memory, gone with this.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> SmallDisk {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "isopod-test"]).arg(folder.path());
        run(&mut mount, "").ok();
        SmallDisk { folder }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still have files open while the test fails.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
        drop(unmounted);
    }
}
