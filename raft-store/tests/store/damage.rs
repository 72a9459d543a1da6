//! Files that are not as they were written: nothing is started, nothing is lost, and the error says where to look.

use std::fs;
use std::path::{Path, PathBuf};

use isopod_raft_store::{Config, OpenError};

use crate::running::{Running, config};

/// A folder with some writes in its log, and the paths of its files.
async fn written() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let running = Running::open(dir.path()).await;
    for number in 0..20 {
        running.put(&format!("/a/{number}"), "some value").await;
    }
    running.close().await;
    let segment = find(dir.path(), ".seg");
    let snapshot = find(dir.path(), ".snap");
    (dir, segment, snapshot)
}

fn find(dir: &Path, ending: &str) -> PathBuf {
    let mut paths =
        fs::read_dir(dir).expect("the folder is there").map(|entry| entry.expect("readable").path());
    paths.find(|path| path.to_string_lossy().ends_with(ending)).expect("there is one")
}

fn tamper(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it can be read");
    change(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).expect("readable"))).collect();
    files.sort();
    files
}

/// Opening fails with this text, and leaves every file as it is.
async fn refused(dir: &Path, expected: &str) {
    let before = content(dir);
    let error = Running::open_with(config(dir)).await.err().expect("it must not open");
    assert!(error.to_string().contains(expected), "{error}, not: {expected}");
    assert!(content(dir) == before, "a file was changed");
}

#[tokio::test]
async fn a_byte_flipped_in_the_log_names_file_and_offset() {
    let (dir, segment, _) = written().await;
    let used = fs::read(&segment).expect("readable").iter().rposition(|byte| *byte != 0).expect("not empty");
    for at in [600, used / 2, used - 20] {
        tamper(&segment, |bytes| bytes[at] ^= 0x01);
        refused(dir.path(), &format!("{} is damaged at offset ", segment.display())).await;
        tamper(&segment, |bytes| bytes[at] ^= 0x01);
    }
    let running = Running::open(dir.path()).await;
    assert_eq!(running.store.status().keys, 20, "mended, it is all there");
    running.close().await;
}

#[tokio::test]
async fn the_end_of_the_log_cut_off_as_by_a_crash_is_no_damage() {
    let (dir, segment, _) = written().await;
    let used = fs::read(&segment).expect("readable").iter().rposition(|byte| *byte != 0).expect("not empty");
    tamper(&segment, |bytes| bytes.truncate(used - 5));
    let running = Running::open(dir.path()).await;
    assert_eq!(running.store.status().keys, 19, "only the write that was cut short is gone");
    running.put("/a/again", "value").await;
    running.close().await;
    let running = Running::open(dir.path()).await;
    assert_eq!(running.store.status().keys, 20);
    running.close().await;
}

#[tokio::test]
async fn a_damaged_snapshot_names_file_and_offset() {
    let (dir, _, snapshot) = written().await;
    tamper(&snapshot, |bytes| bytes[30] ^= 0x01);
    refused(dir.path(), &format!("{} is damaged at offset 12", snapshot.display())).await;
}

#[tokio::test]
async fn a_missing_file_is_told_from_a_new_folder() {
    let (dir, segment, snapshot) = written().await;
    let kept = fs::read(&snapshot).expect("readable");
    fs::remove_file(&snapshot).expect("removable");
    refused(dir.path(), "the snapshot that it continues is missing").await;
    fs::write(&snapshot, kept).expect("writable");
    fs::write(&segment, b"").expect("writable");
    refused(dir.path(), "it is not a log segment").await;
}

#[tokio::test]
async fn a_format_of_a_later_release_is_left_alone() {
    let (dir, segment, _) = written().await;
    tamper(&segment, |bytes| {
        bytes[8] = 200;
        let checksum = crc32c::crc32c(&bytes[..36]).to_le_bytes();
        bytes[36..40].copy_from_slice(&checksum);
    });
    let expected = format!("{} has format 200, this release knows formats up to 1", segment.display());
    refused(dir.path(), &expected).await;
}

#[tokio::test]
async fn a_format_that_no_checksum_proves_is_damage() {
    let (dir, segment, snapshot) = written().await;
    for (path, reason) in [
        (segment, "the header's checksum does not fit"),
        (snapshot, "its format is one of a later release, or its first checksum does not fit"),
    ] {
        let whole = fs::read(&path).expect("readable");
        tamper(&path, |bytes| bytes[8] = 200);
        refused(dir.path(), reason).await;
        fs::write(&path, whole).expect("it can be written");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_says_so() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("file");
    fs::write(&file, b"not a folder").expect("writable");
    let error = Running::open_with(Config::new(file.join("store"))).await.err().expect("it must not open");
    assert!(matches!(error, OpenError::Disk(_)), "{error:?}");
    assert!(error.to_string().contains("cannot make the folder"), "{error}");
}
