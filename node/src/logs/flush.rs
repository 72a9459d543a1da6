//! The one task that moves queued lines to the disk, many logs per turn on a blocking thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::{Backlog, ContainerLog, absent_is_fine, lock};

/// Writes what containers said. Owned by the node; without it logs stay in memory until their queues are full.
pub struct Flusher {
    backlog: Arc<Backlog>,
}

impl Flusher {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self { backlog }
    }

    /// Runs until `shutdown`, then writes what is left.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            // Both branches only wait: nothing is lost when one is dropped.
            let last = tokio::select! {
                () = self.backlog.wake.notified() => false,
                () = shutdown.cancelled() => true,
            };
            let waiting = std::mem::take(&mut *lock(&self.backlog.waiting));
            let written =
                tokio::task::spawn_blocking(move || waiting.iter().for_each(|log| flush(log))).await;
            if let Err(error) = written {
                tracing::error!(%error, "writing container logs panicked");
            }
            if last {
                return;
            }
        }
    }
}

/// Writes one log's queue. A failing disk loses lines rather than stopping the guests, and says so once per turn.
fn flush(log: &ContainerLog) {
    let (lines, closed) = {
        let mut queue = lock(&log.queue);
        queue.queued = false;
        (std::mem::take(&mut queue.lines), queue.closed)
    };
    if !lines.is_empty()
        && let Err(error) = append(log, &lines)
    {
        tracing::warn!(path = %log.path.display(), bytes = lines.len(), %error, "container log lines lost");
    }
    if closed {
        log.ended.store(true, Ordering::Release);
    }
    log.announce();
}

fn append(log: &ContainerLog, lines: &[u8]) -> io::Result<()> {
    let mut file = open(log)?;
    let size = file.metadata()?.len();
    if size > 0 && size + lines.len() as u64 > log.file_bytes {
        fs::rename(&log.path, log.rotated())?;
        file = OpenOptions::new().append(true).create(true).open(&log.path)?;
    }
    file.write_all(lines)
}

/// Opens the file for appending. The first time, makes the folder and removes what is older than the previous run.
fn open(log: &ContainerLog) -> io::Result<File> {
    match OpenOptions::new().append(true).open(&log.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = log.path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            remove_older(folder, log.restart)?;
            OpenOptions::new().append(true).create(true).open(&log.path)
        }
        other => other,
    }
}

fn remove_older(folder: &Path, restart: u32) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let number =
            name.to_str().and_then(|name| name.split('.').next()).and_then(|n| n.parse::<u32>().ok());
        if number.is_some_and(|number| number.saturating_add(1) < restart) {
            absent_is_fine(fs::remove_file(file.path()))?;
        }
    }
    Ok(())
}
