//! Makes `src/schema/table.txt`, the facts about every message and field, and fails when the checked-in file differs.
//!
//! Sources, found through `cargo metadata`: the wire tags, types and upstream's `+markers` in the k8s-pb crate; JSON
//! names, required fields and kinds in the k8s-openapi crate; and `declared.txt` for what neither crate states.
//! After a change of those, write the table anew with `UPDATE_EXPECT=1 cargo test -p isopod-spec --test schema_table`.

#![allow(clippy::unwrap_used, reason = "all of this crate is a test, and stops at the first surprise")]

mod declared;
mod json;
mod protobuf;
mod table;

use std::path::PathBuf;
use std::process::Command;

#[test]
fn checked_in_table_is_what_the_sources_say() {
    let packages = protobuf::read(&source_folder("k8s-pb"));
    let types = json::read(&source_folder("k8s-openapi").join("v1_36"));
    let declared = declared::read();
    let text = table::render(packages, &types, declared);
    expect_test::expect_file!["../../src/schema/table.txt"].assert_eq(&text);
}

/// The platform that this was built on, as the compiler names it.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

/// The `src` folder of a dependency, wherever this machine keeps it.
fn source_folder(package: &str) -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // Packages for other platforms need not be on this machine.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["name"] == package)
        .and_then(|found| found["manifest_path"].as_str())
        .unwrap_or_else(|| panic!("{package} is a dependency of this crate"));
    PathBuf::from(manifest).parent().unwrap().join("src")
}
