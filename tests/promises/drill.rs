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
    for kind in ["which leads", "which follows", "hand over", "SIGSTOP", "node-1", "node-2"] {
        assert!(faults.iter().any(|fault| fault.contains(kind)), "{kind}: {faults:?}");
    }
    assert_eq!(drilled["writes"]["lost"], 0, "{drilled}");
    assert!(drilled["writes"]["acknowledged"].as_u64() > Some(100), "{drilled}");
    // Only requests that a killed node had in hand may fail.
    let (sent, failed) = (&drilled["requests"]["sent"], &drilled["requests"]["failed"]);
    assert!(failed.as_u64() < sent.as_u64().map(|sent| sent / 20), "{drilled}");
}

#[test]
fn a_drill_begins_with_an_empty_folder_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("precious"), "mine").expect("it can be written");
    let refused = run(Command::new(isopod()).arg("drill").arg("--data-dir").arg(folder.path()), "").err();
    assert!(refused.contains("is not empty"), "{refused}");
    assert!(folder.path().join("precious").exists());
}
