//! Where logs go: to a file in the data folder for `dev` and `demo`, to standard error for `server`.
//!
//! `ISOPOD_LOG` sets the filter, as `info` or `isopod_node=debug,warn`.

use std::fs::OpenOptions;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

/// Name of the log file in the data folder.
pub(crate) const FILE: &str = "isopod.log";

fn filter() -> EnvFilter {
    EnvFilter::try_from_env("ISOPOD_LOG").unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Logs to `<data>/isopod.log`, appending.
pub(crate) fn to_file(data_dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
    let path = data_dir.join(FILE);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot write the log file {}", path.display()))?;
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(Mutex::new(file)).init();
    Ok(())
}

/// Logs to standard error.
pub(crate) fn to_stderr() {
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(ansi).with_writer(std::io::stderr).init();
}
