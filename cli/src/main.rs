//! The `isopod` binary: one file per verb, wiring only.

fn main() {}
