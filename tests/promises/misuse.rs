//! What must not be done to a member: a folder used twice, or of another cluster, files of a later release or cut short, a
//! clock that is wrong, addresses that are none. Each is refused in words that say what to do, and harms nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_tests::control_plane::{Begin, ControlPlane, Server};
use isopod_tests::run;

/// A clock that is wrong by so many seconds, for every process that loads it: what `faketime` does.
const WRONG_CLOCK: &str = "
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec += SHIFT;
    return (int)failed;
}
";

fn again(args: &[&str]) -> Begin {
    Begin::Again(args.iter().map(|arg| (*arg).to_owned()).collect())
}

#[track_caller]
fn refused(dir: &Path, begin: &Begin) -> String {
    Server::start(dir, begin).map(|server| server.name()).expect_err("it must not start")
}

#[test]
fn a_second_server_on_a_folder_is_refused() {
    let plane = ControlPlane::start(1);
    let server = &plane.servers[0];
    let dir = server.data_dir().to_owned();
    for begin in [again(&[]), Begin::Init, again(&["--force-new-cluster"])] {
        let error = refused(&dir, &begin);
        assert!(error.contains("in use by another process"), "{begin:?}: {error}");
        assert!(error.contains(&dir.display().to_string()), "{begin:?}: {error}");
        server.kubectl(&["get", "namespaces"]).ok();
    }
}

#[test]
fn a_member_of_another_cluster_stays_one() {
    let plane = ControlPlane::start(1);
    let mut stranger = ControlPlane::start(1);
    let (api, token) = (plane.servers[0].api(), plane.servers[0].token());
    stranger.servers[0].kubectl(&["create", "configmap", "theirs"]).ok();
    stranger.servers[0].kill();
    let dir = stranger.servers[0].data_dir().to_owned();
    // The folder has a member: it goes on as that, or is refused; it never becomes one of two clusters.
    match Server::start(&dir, &Begin::Join(api, token)) {
        Ok(server) => drop(server.kubectl(&["get", "configmap", "theirs"]).ok()),
        Err(error) => assert!(error.contains(&dir.display().to_string()), "{error}"),
    }
    assert_eq!(plane.servers[0].members().len(), 1);
    stranger.servers[0].restart(&[]);
    stranger.servers[0].kubectl(&["get", "configmap", "theirs"]).ok();
}

#[test]
fn a_machine_whose_clock_is_an_hour_off_is_not_let_in() {
    let plane = ControlPlane::start(1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("clock.c");
    fs::write(&source, WRONG_CLOCK).expect("it can be written");
    let (api, token, dir) = (plane.servers[0].api(), plane.servers[0].token(), plane.new_dir());
    for (seconds, wanted) in [(3600, "3600 seconds ahead of"), (-3600, "clock")] {
        let library = folder.path().join(format!("clock{seconds}.so"));
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", &format!("-DSHIFT={seconds}"), "-o"]).arg(&library).arg(&source);
        run(&mut compile, "").ok();
        let begin = Begin::Join(api.clone(), token.clone());
        let error = Server::start_with(&dir, &begin, ("LD_PRELOAD", &library)).map(|server| server.name());
        let error = error.expect_err("it is refused");
        assert!(error.contains(wanted) && error.contains("clock"), "{seconds}: {error}");
        assert!(!dir.exists(), "a start that failed leaves nothing behind");
    }
    assert_eq!(plane.servers[0].members().len(), 1);
    // With the right time the same token lets it in.
    let joined = Server::start(&dir, &Begin::Join(api, token)).expect("it joins");
    plane.servers[0].await_voters(2);
    drop(joined);
}

#[test]
fn addresses_that_do_not_resolve_or_cannot_be_reached_are_named() {
    let plane = ControlPlane::start(1);
    let (api, token, dir) = (plane.servers[0].api(), plane.servers[0].token(), plane.new_dir());
    let error = refused(&dir, &again(&["--join", "no-such-host.invalid:6443", "--token", &token]));
    assert!(error.contains("cannot resolve no-such-host.invalid:6443"), "{error}");
    let advertised = "no-such-host.invalid";
    let error =
        refused(&dir, &again(&["--join", &api, "--token", &token, "--advertise-address", advertised]));
    assert!(error.contains("cannot resolve the advertised address no-such-host.invalid"), "{error}");
    assert!(!dir.exists(), "a start that failed leaves nothing behind");
    assert_eq!(plane.servers[0].members().len(), 1);
}

#[test]
fn what_a_later_release_wrote_is_left_alone() {
    let mut plane = ControlPlane::start(1);
    plane.servers[0].kubectl(&["create", "configmap", "kept"]).ok();
    plane.servers[0].kill();
    let dir = plane.servers[0].data_dir().to_owned();
    let member = dir.join("member.json");
    let newer = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).expect("it is text");
        text.replacen("\"version\": 1", "\"version\": 7", 1).replacen("\"version\":1", "\"version\":7", 1)
    };
    refuses_changed(&dir, &member, |bytes| newer(bytes).into_bytes(), &["format 7", "up to 1"]);
    let segment = files_of_store(&dir, ".seg").pop().expect("a store has a log");
    refuses_changed(&dir, &segment, |bytes| with_format(bytes, 7), &["format 7", "up to 1"]);
    plane.servers[0].restart(&[]);
    plane.servers[0].kubectl(&["get", "configmap", "kept"]).ok();
}

#[test]
fn a_snapshot_in_the_folder_that_is_cut_short_is_named_and_not_taken_for_less() {
    let mut plane = ControlPlane::start(1);
    plane.servers[0].kubectl(&["create", "configmap", "kept"]).ok();
    plane.servers[0].kill();
    let dir = plane.servers[0].data_dir().to_owned();
    let snapshot = files_of_store(&dir, ".snap").pop().expect("a store has a snapshot");
    for part in [0, 10, 20] {
        refuses_changed(&dir, &snapshot, |bytes| bytes[..part].to_vec(), &["damaged at offset"]);
    }
    refuses_changed(&dir, &snapshot, |bytes| bytes[..bytes.len() - 1].to_vec(), &["damaged at offset"]);
    plane.servers[0].restart(&[]);
    plane.servers[0].kubectl(&["get", "configmap", "kept"]).ok();
}

/// Starts with a changed file, which must be named with `parts` and stay as it is; then puts it back.
#[track_caller]
fn refuses_changed(dir: &Path, file: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>, parts: &[&str]) {
    let whole = fs::read(file).expect("it can be read");
    let changed = change(&whole);
    assert_ne!(whole, changed, "{} was not changed", file.display());
    fs::write(file, &changed).expect("it can be written");
    let error = refused(dir, &again(&[]));
    let path = file.display().to_string();
    for part in parts.iter().chain([&path.as_str()]) {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
    assert_eq!(fs::read(file).expect("it is there"), changed, "{path} was touched");
    fs::write(file, &whole).expect("it can be written");
}

fn files_of_store(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("store")).expect("the store has a folder");
    let files = entries.map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<_> = files.filter(|path| path.display().to_string().ends_with(suffix)).collect();
    files.sort_unstable();
    files
}

/// A segment of the log as a release with this format would begin it: eight bytes of magic, the format, three numbers, and
/// the checksum of all that.
fn with_format(bytes: &[u8], format: u32) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[8..12].copy_from_slice(&format.to_le_bytes());
    let checksum = crc32c(&changed[..36]);
    changed[36..40].copy_from_slice(&checksum.to_le_bytes());
    changed
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn the_checksum_of_a_made_up_header_is_the_one_that_files_have() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
