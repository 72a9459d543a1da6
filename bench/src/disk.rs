//! What the disk itself does: the floor under every write, and the figure to read others' writes with.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long it is measured.
const TIME: Duration = Duration::from_secs(2);
/// A file as logs are: allocated before it is written.
const FILE_BYTES: u64 = 64 << 20;
/// One small entry of a log.
const WRITE_BYTES: u64 = 256;

/// Small writes per second, one after the other, each on the disk before the next.
pub(crate) fn syncs_per_second(dir: &Path) -> anyhow::Result<f64> {
    let file =
        tempfile::tempfile_in(dir).with_context(|| format!("cannot make a file in {}", dir.display()))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES)?;
    file.sync_all()?;
    let entry = [0x5a; WRITE_BYTES as usize];
    let (started, mut count) = (Instant::now(), 0u64);
    while started.elapsed() < TIME {
        file.write_all_at(&entry, count * WRITE_BYTES % FILE_BYTES)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
