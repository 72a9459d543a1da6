//! Benchmarks: figures and ratios, printed, never asserted.

pub mod plain_host;
