//! Reads a log back: the rotated file and the current one as one text, from the asked line on, and further as it
//! grows. Disk reads happen on blocking threads, a bounded piece at a time, as fast as the reader takes them.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::Stream;
use thiserror::Error;

use super::line::{self, Part};
use super::{ContainerLog, Logs, PodRef, ReadOptions, rotated};

/// Read from the disk at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a log cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No such pod on this node.
    #[error("pod {namespace}/{pod} is not on this node")]
    NoPod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The container never ran.
    #[error("container {container:?} in pod {pod:?} has no log yet")]
    NotStarted {
        /// The container asked for.
        container: String,
        /// The pod's name.
        pod: String,
    },
    /// There was no run before the current one, or its log is gone.
    #[error("previous terminated container {container:?} in pod {pod:?} not found")]
    NoPrevious {
        /// The container asked for.
        container: String,
        /// The pod's name.
        pod: String,
    },
    /// The disk failed.
    #[error("cannot read the log at {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// The text of a log, piece by piece.
pub struct LogStream {
    /// Lent to the blocking thread while it reads.
    reader: Option<Reader>,
    follow: Option<Arc<ContainerLog>>,
}

struct Reader {
    path: PathBuf,
    files: VecDeque<File>,
    options: ReadOptions,
    /// Bytes of a record whose end was not read yet.
    rest: Vec<u8>,
    left: u64,
}

pub(super) fn open(
    logs: &Logs,
    pod: &PodRef,
    container: &str,
    live: Option<Arc<ContainerLog>>,
    options: ReadOptions,
) -> Result<LogStream, ReadError> {
    let not_started = || ReadError::NotStarted { container: container.to_owned(), pod: pod.name.clone() };
    let no_previous = || ReadError::NoPrevious { container: container.to_owned(), pod: pod.name.clone() };
    let current = match &live {
        Some(log) => log.restart,
        None => newest(&logs.folder(pod, container)).ok_or_else(not_started)?,
    };
    let number = match options.previous {
        true => current.checked_sub(1).ok_or_else(no_previous)?,
        false => current,
    };
    let follow = live.filter(|log| options.follow && log.restart == number);
    let path = logs.path(pod, container, number);
    let reader = Reader::open(path.clone(), options).map_err(|source| ReadError::Disk { path, source })?;
    Ok(LogStream { reader: Some(reader), follow })
}

/// The number of the last run that left a file.
fn newest(folder: &Path) -> Option<u32> {
    let files = fs::read_dir(folder).ok()?.flatten();
    files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).max()
}

impl LogStream {
    /// The next piece; `None` at the end, for a followed log once the container has ended.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            // Both are read before the file: what was flushed before them is found by this turn.
            let seen = self.follow.as_ref().map(|log| log.version.load(Ordering::Acquire));
            let ended = self.follow.as_ref().is_none_or(|log| log.ended.load(Ordering::Acquire));
            let mut reader = self.reader.take()?;
            let read = tokio::task::spawn_blocking(move || {
                let piece = reader.piece();
                (reader, piece)
            });
            let (reader, piece) = match read.await {
                Ok(done) => done,
                Err(error) => return Some(Err(io::Error::other(error))),
            };
            match piece {
                Err(error) => return Some(Err(error)),
                Ok(Some(bytes)) => {
                    self.reader = Some(reader);
                    return Some(Ok(bytes));
                }
                Ok(None) if ended || reader.left == 0 => return None,
                Ok(None) => self.reader = Some(reader),
            }
            if let (Some(log), Some(seen)) = (&self.follow, seen) {
                moved_on(log, seen).await;
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(self, |mut log| async move { log.next().await.map(|piece| (piece, log)) })
    }
}

async fn moved_on(log: &ContainerLog, seen: u64) {
    loop {
        let changed = log.changed.notified();
        if log.version.load(Ordering::Acquire) != seen {
            return;
        }
        changed.await;
    }
}

impl Reader {
    fn open(path: PathBuf, options: ReadOptions) -> io::Result<Self> {
        let mut files = open_both(&path)?;
        if let Some(lines) = options.tail_lines {
            seek_to_tail(&mut files, lines)?;
        }
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        Ok(Self { path, files, options, rest: Vec::new(), left })
    }

    /// The next piece of text; `None` when everything written so far was read.
    fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = vec![0; PIECE_BYTES];
        while self.left > 0 {
            let Some(file) = self.files.front_mut() else {
                if !self.find_files()? {
                    return Ok(None);
                }
                continue;
            };
            let count = file.read(&mut buffer)?;
            if count == 0 {
                if self.files.len() > 1 || self.was_rotated()? {
                    self.next_file()?;
                    continue;
                }
                return Ok(None);
            }
            let text = self.text(&buffer[..count]);
            if !text.is_empty() {
                return Ok(Some(text.into()));
            }
        }
        Ok(None)
    }

    /// Looks for a log that had no file before.
    fn find_files(&mut self) -> io::Result<bool> {
        self.files = open_both(&self.path)?;
        Ok(!self.files.is_empty())
    }

    /// Whether the file being read is no longer the one that is written.
    fn was_rotated(&self) -> io::Result<bool> {
        let Some(front) = self.files.front() else { return Ok(false) };
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => Ok(identity(&other?) != identity(&front.metadata()?)),
        }
    }

    /// Goes on to the file that follows, after a last look at the end of this one: nothing is added to a file once
    /// it was rotated away.
    fn next_file(&mut self) -> io::Result<()> {
        let Some(mut done) = self.files.pop_front() else { return Ok(()) };
        let mut end = Vec::new();
        done.read_to_end(&mut end)?;
        self.rest.extend_from_slice(&end);
        if self.files.is_empty() {
            let last = identity(&done.metadata()?);
            self.files = open_both(&self.path)?;
            // The one just read may be the rotated one now.
            if self.files.len() > 1 && identity(&self.files[0].metadata()?) == last {
                self.files.pop_front();
            }
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let records: Vec<u8> = self.rest.drain(..whole).collect();
        let mut text = Vec::with_capacity(records.len());
        for record in records.split(|byte| *byte == b'\n') {
            self.show(record, &mut text);
        }
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(text.len());
        text.truncate(take);
        self.left -= take as u64;
        text
    }

    fn show(&mut self, record: &[u8], text: &mut Vec<u8>) {
        let Some(record) = line::parse(record) else { return };
        if !self.options.selection.takes(record.stream) {
            return;
        }
        if let Some(since) = self.options.since {
            if record.timestamp().is_some_and(|time| time < since) {
                return;
            }
            // Lines are in the order of time: the first that is late enough ends the search.
            self.options.since = None;
        }
        if self.options.timestamps {
            text.extend_from_slice(record.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(record.text);
        if record.part == Part::Full {
            text.push(b'\n');
        }
    }
}

/// The rotated file, if there is one, then the current one. None of them exists before the first line was written.
fn open_both(path: &Path) -> io::Result<VecDeque<File>> {
    loop {
        let Some(current) = open_if_there(path)? else { return Ok(VecDeque::new()) };
        let Some(older) = open_if_there(&rotated(path))? else { return Ok([current].into()) };
        // Rotated between the two: look again.
        if identity(&older.metadata()?) != identity(&current.metadata()?) {
            return Ok([older, current].into());
        }
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Moves to where the last `lines` lines begin, dropping files that lie wholly before.
fn seek_to_tail(files: &mut VecDeque<File>, lines: u64) -> io::Result<()> {
    let mut wanted = lines;
    for index in (0..files.len()).rev() {
        let (offset, found) = tail_of(&mut files[index], wanted)?;
        files[index].seek(SeekFrom::Start(offset))?;
        wanted -= found;
        if wanted == 0 {
            files.drain(..index);
            return Ok(());
        }
    }
    Ok(())
}

/// Where the last `lines` lines of a file begin, and how many of them it has.
fn tail_of(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    let size = file.metadata()?.len();
    let (mut end, mut found) = (size, 0);
    let mut buffer = vec![0; PIECE_BYTES];
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES as u64);
        let piece = &mut buffer[..usize::try_from(end - start).unwrap_or(PIECE_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        for (index, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            if found == lines {
                return Ok((start + index as u64 + 1, found));
            }
            found += 1;
        }
        end = start;
    }
    Ok((0, found))
}
