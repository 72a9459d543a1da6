//! Habits of the house, as a test: what a reviewer would otherwise have to look for.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A source file longer than this holds two ideas.
const FILE_LINES_MAX: usize = 600;

/// Which of our crates a crate may use (ARCHITECTURE.md).
const ARROWS: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("raft-store", &[]),
    ("control", &["spec", "raft-store"]),
    ("node", &["spec"]),
    ("cli", &["spec", "raft-store", "control", "node"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Files that git tracks, so that build output and notes do not count.
fn tracked(suffix: &str) -> Vec<PathBuf> {
    let listed = Command::new("git").arg("ls-files").current_dir(root()).output().expect("git is there");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    listed
        .lines()
        .filter(|path| path.ends_with(suffix))
        .map(|path| root().join(path))
        .filter(|p| p.exists())
        .collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn complain(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let silent = tracked(".rs").into_iter().filter(|path| !read(path).starts_with("//!"));
    complain(
        "files without a //! header",
        &silent.map(|path| path.display().to_string()).collect::<Vec<_>>(),
    );
}

#[test]
fn source_files_stay_readable_in_one_sitting() {
    let long = tracked(".rs").into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
    });
    complain("files that are too long", &long.collect::<Vec<_>>());
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let mut wrong = Vec::new();
    for (krate, allowed) in ARROWS {
        let manifest = read(&root().join(krate).join("Cargo.toml"));
        let used =
            manifest.lines().filter_map(|line| line.strip_prefix("isopod-")?.split([' ', '=', '.']).next());
        wrong.extend(
            used.filter(|other| !allowed.contains(other)).map(|other| format!("{krate} uses {other}")),
        );
    }
    complain("arrows that ARCHITECTURE.md does not have", &wrong);
}

#[test]
fn nothing_is_left_for_later_without_an_issue() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("#[ig", "nore")];
    let bare = tracked(".rs").into_iter().flat_map(|path| {
        let text = read(&path);
        let found = text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        found
            .map(|(number, line)| format!("{}:{}: {}", path.display(), number + 1, line.trim()))
            .collect::<Vec<_>>()
    });
    complain("left-overs", &bare.collect::<Vec<_>>());
}

#[test]
fn raft_wasmtime_and_http_types_stay_in_their_rooms() {
    let rooms =
        [("raft::", "raft-store/"), ("wasmtime::", "node/src/runtime"), ("bollard::", "node/src/docker")];
    let mut wrong = Vec::new();
    for path in tracked(".rs") {
        let shown = path.strip_prefix(root()).expect("below the root").display().to_string();
        if shown.starts_with("tests/") || shown.starts_with("bench/") || shown.starts_with("samples/") {
            continue;
        }
        let text = read(&path);
        let uses = |name: &str| {
            text.lines().any(|l| l.contains(&format!("use {name}")) || l.contains(&format!(" {name}")))
        };
        wrong.extend(
            rooms
                .iter()
                .filter(|(name, room)| uses(name) && !shown.starts_with(room))
                .map(|(name, _)| format!("{shown} uses {name}")),
        );
    }
    complain("types outside their room", &wrong);
}
