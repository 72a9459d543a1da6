//! What the pages in `docs/` name is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Names in code that look like a test's: a sentence.
const WORDS_MIN: usize = 5;

#[test]
fn every_test_that_a_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let listed = Command::new("git").args(["ls-files", "*.rs"]).current_dir(root).output();
    let listed = String::from_utf8(listed.expect("git is there").stdout).expect("paths are text");
    let sources = listed.lines().filter_map(|path| std::fs::read_to_string(root.join(path)).ok());
    let functions: BTreeSet<String> = sources.flat_map(|source| names_of_functions(&source)).collect();
    let page = std::fs::read_to_string(root.join("docs/simulation.md")).expect("the page is there");
    let named = page.split('`').filter(|part| part.split('_').count() >= WORDS_MIN);
    let missing: Vec<&str> = named.filter(|name| !functions.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/simulation.md names tests that are not there: {missing:#?}");
}

fn names_of_functions(source: &str) -> Vec<String> {
    let after = source.split("fn ").skip(1);
    let names = after.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
    // Tests of planted faults are declared as `name: Fault within seeds`.
    let declared = source.lines().filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned()));
    names.chain(declared).collect()
}
