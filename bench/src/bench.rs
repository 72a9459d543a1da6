//! What every measurement needs to know: the binary under test, the folder to work in, the machine.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::disk;
use crate::figure::number;

/// One run of the benchmarks.
pub(crate) struct Bench {
    /// The `isopod` binary under test.
    pub(crate) isopod: PathBuf,
    /// Where clusters keep their data.
    pub(crate) dir: PathBuf,
}

impl Bench {
    /// Finds the binary: `$ISOPOD_BIN`, or `isopod` beside this program.
    pub(crate) fn new(dir: Option<PathBuf>) -> anyhow::Result<Bench> {
        let isopod = match std::env::var_os("ISOPOD_BIN") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe().context("cannot find this program")?.with_file_name("isopod"),
        };
        ensure!(
            isopod.is_file(),
            "there is no {}: build it with `cargo build --release`, or name a binary in $ISOPOD_BIN",
            isopod.display()
        );
        Ok(Bench { isopod, dir: dir.unwrap_or_else(std::env::temp_dir) })
    }

    /// Two lines on the machine, for whoever reads the figures later: its cores, how busy it is, how fast its disk.
    pub(crate) async fn machine(&self) -> anyhow::Result<String> {
        let cores = std::thread::available_parallelism()?;
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or("unknown").to_owned();
        let dir = self.dir.clone();
        let syncs = tokio::task::spawn_blocking(move || disk::syncs_per_second(&dir)).await??;
        Ok(format!(
            "{}\n{cores} cores, load {load} before the run; {} does {} fdatasync/s of 256 bytes\n",
            self.isopod.display(),
            self.dir.display(),
            number(syncs)
        ))
    }
}
