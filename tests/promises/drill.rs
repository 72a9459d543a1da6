//! `isopod drill`: members and nodes die in turn under load, and nothing that was acknowledged is lost.

use std::process::Command;

use isopod_tests::Ranges;
use isopod_tests::command::{isopod, run};
use serde_json::Value;

#[test]
fn a_drill_kills_members_and_nodes_and_loses_no_acknowledged_write() {
    let ranges = Ranges::claim();
    let drilled = run(Command::new(isopod()).args(["drill", "-o", "json"]).args(ranges.args()), "").ok();
    let drilled: Value = serde_json::from_str(&drilled).expect("one JSON object");
    let faults: Vec<&str> = drilled["faults"]
        .as_array()
        .expect("a list of faults")
        .iter()
        .map(|fault| fault["what"].as_str().expect("a text"))
        .collect();
    for kind in ["which leads", "which follows", "hand over", "SIGSTOP", "node-1", "node-2", "join", "remove"]
    {
        assert!(faults.iter().any(|fault| fault.contains(kind)), "{kind}: {faults:?}");
    }
    assert_sound(&drilled);
    let replaced: Vec<_> = drilled["faults"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|f| f["podsReplacedMs"].is_number())
        .collect();
    assert_eq!(replaced.len(), 2, "{drilled}");
    // Only requests that a killed node had in hand may fail.
    let (sent, failed) = (&drilled["requests"]["sent"], &drilled["requests"]["failed"]);
    assert!(failed.as_u64() < sent.as_u64().map(|sent| sent / 20), "{drilled}");
}

/// Nothing that was acknowledged is gone, and nothing failed that clients do not try again.
#[track_caller]
fn assert_sound(drilled: &Value) {
    assert_eq!(drilled["writes"]["lost"], 0, "{drilled}");
    assert_eq!(drilled["writes"]["refused"], Value::Array(Vec::new()), "{drilled}");
    assert!(drilled["writes"]["acknowledged"].as_u64() > Some(100), "{drilled}");
}

#[test]
fn a_cluster_grows_from_one_member_to_five_and_shrinks_again_under_load() {
    let ranges = Ranges::claim();
    let args = ["drill", "-o", "json", "--members", "1", "--faults", "grow,grow,shrink,shrink"];
    let drilled = run(Command::new(isopod()).args(args).args(ranges.args()), "").ok();
    let drilled: Value = serde_json::from_str(&drilled).expect("one JSON object");
    assert_eq!(drilled["faults"].as_array().map(Vec::len), Some(4), "{drilled}");
    assert_sound(&drilled);
    assert_eq!(drilled["requests"]["failed"], 0, "{drilled}");
}

#[test]
fn a_drill_does_not_begin_what_the_cluster_cannot_stand() {
    for (args, why) in [
        (["--members", "1", "--faults", "kill-leader"], "--members 3"),
        (["--members", "1", "--faults", "shrink"], "put grow before"),
    ] {
        let refused = run(Command::new(isopod()).arg("drill").args(args), "").err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_drill_begins_with_an_empty_folder_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("precious"), "mine").expect("it can be written");
    let refused = run(Command::new(isopod()).arg("drill").arg("--data-dir").arg(folder.path()), "").err();
    assert!(refused.contains("is not empty"), "{refused}");
    assert!(folder.path().join("precious").exists());
}
