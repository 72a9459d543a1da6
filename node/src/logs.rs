//! Container logs: written without ever blocking a guest's thread, rotated, and read back.
//!
//! A guest's output goes through a [`Writer`] (one per output stream of one instance, so that lines of concurrent
//! instances never mix) into the container's bounded queue, and from there by the one [`Flusher`] of the node into
//! `<root>/<namespace>_<pod>_<uid>/<container>/<restart>.log` in the line format of the container runtime
//! interface, so that common log collectors read the folder as it is. A container that never writes costs neither
//! a file nor a buffer. When a file reaches its limit it becomes `<restart>.log.1`, replacing the one before.

mod flush;
mod line;
mod options;
mod read;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use flush::Flusher;
pub use line::Stream;
pub use options::{OptionsError, ReadOptions, Selection};
pub use read::{LogStream, ReadError};

/// Bytes a container may have waiting for the disk; a guest that writes faster is made to wait.
const QUEUE_BYTES: usize = 256 * 1024;
/// A longer line is cut in parts of this many bytes, each marked partial but the last, as container runtimes do.
const LINE_BYTES: usize = 16 * 1024;
/// A file that reached this size is rotated away.
const FILE_BYTES: u64 = 10 * 1024 * 1024;

/// Names the pod a log belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid: a pod created again under the same name has logs of its own.
    pub uid: String,
}

impl PodRef {
    fn folder(&self) -> String {
        format!("{}_{}_{}", self.namespace, self.name, self.uid)
    }
}

/// All logs of this node. A cheap handle.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    file_bytes: u64,
    live: Mutex<HashMap<(String, String), LivePod>>,
    backlog: Arc<Backlog>,
}

/// What is open of a pod that this node runs now.
struct LivePod {
    pod: PodRef,
    containers: HashMap<String, Arc<ContainerLog>>,
}

/// The logs with something to write, each at most once.
#[derive(Default)]
struct Backlog {
    waiting: Mutex<Vec<Arc<ContainerLog>>>,
    wake: Notify,
}

/// One run of one container: its queue, its file, and those who follow it.
struct ContainerLog {
    path: PathBuf,
    restart: u32,
    file_bytes: u64,
    queue: Mutex<Queue>,
    /// Set once everything that will ever be written is in the file.
    ended: AtomicBool,
    /// Moves with every write to the file and with the end, so that a reader knows whether to look again.
    version: AtomicU64,
    changed: Notify,
    backlog: Arc<Backlog>,
}

#[derive(Default)]
struct Queue {
    /// Whole lines in file format.
    lines: Vec<u8>,
    /// Already on the backlog.
    queued: bool,
    /// No more output will come.
    closed: bool,
}

impl Logs {
    /// Logs below `root`, which is created when first written to.
    pub fn new(root: PathBuf) -> Self {
        Self::with_file_limit(root, FILE_BYTES)
    }

    fn with_file_limit(root: PathBuf, file_bytes: u64) -> Self {
        let inner = Inner { root, file_bytes, live: Mutex::default(), backlog: Arc::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The task that writes to the disk; to be run once.
    pub fn flusher(&self) -> Flusher {
        Flusher::new(self.inner.backlog.clone())
    }

    /// Makes `pod` known to readers, also before any of its containers ran in this process.
    pub fn add_pod(&self, pod: PodRef) {
        let mut live = lock(&self.inner.live);
        let key = (pod.namespace.clone(), pod.name.clone());
        if live.get(&key).is_none_or(|known| known.pod != pod) {
            live.insert(key, LivePod { pod, containers: HashMap::new() });
        }
    }

    /// Opens the log of the run number `restart` (0 is the first) of a container. The run before it stays readable
    /// as the previous one; older ones are removed.
    pub fn open(&self, pod: &PodRef, container: &str, restart: u32) -> LogSink {
        self.add_pod(pod.clone());
        let path = self.path(pod, container, restart);
        let log = Arc::new(ContainerLog {
            path,
            restart,
            file_bytes: self.inner.file_bytes,
            queue: Mutex::default(),
            ended: AtomicBool::new(false),
            version: AtomicU64::new(0),
            changed: Notify::new(),
            backlog: self.inner.backlog.clone(),
        });
        let mut live = lock(&self.inner.live);
        if let Some(known) = live.get_mut(&(pod.namespace.clone(), pod.name.clone())) {
            known.containers.insert(container.to_owned(), log.clone());
        }
        LogSink { log }
    }

    /// Forgets the pod and deletes its files. Blocks on the disk.
    pub fn remove_pod(&self, pod: &PodRef) -> io::Result<()> {
        let mut live = lock(&self.inner.live);
        let key = (pod.namespace.clone(), pod.name.clone());
        if live.get(&key).is_some_and(|known| known.pod == *pod) {
            live.remove(&key);
        }
        drop(live);
        absent_is_fine(std::fs::remove_dir_all(self.inner.root.join(pod.folder())))
    }

    /// Deletes the files of pods that are no longer known, left by an earlier run of this node. Blocks on the disk.
    pub fn remove_unknown(&self) -> io::Result<()> {
        let known: Vec<String> = lock(&self.inner.live).values().map(|live| live.pod.folder()).collect();
        let folders = match std::fs::read_dir(&self.inner.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for folder in folders {
            let folder = folder?;
            if !known.iter().any(|name| folder.file_name() == name.as_str()) {
                absent_is_fine(std::fs::remove_dir_all(folder.path()))?;
            }
        }
        Ok(())
    }

    /// Starts to read the log of a container of a pod that this node runs or keeps.
    pub fn read(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: ReadOptions,
    ) -> Result<LogStream, ReadError> {
        let live = lock(&self.inner.live);
        let known = live
            .get(&(namespace.to_owned(), pod.to_owned()))
            .ok_or_else(|| ReadError::NoPod { namespace: namespace.to_owned(), pod: pod.to_owned() })?;
        let open = known.containers.get(container).cloned();
        let pod = known.pod.clone();
        drop(live);
        read::open(self, &pod, container, open, options)
    }

    /// The last lines of a container that has ended, within a bound of bytes. Empty if they cannot be read.
    pub async fn end_of(&self, pod: &PodRef, container: &str, lines: u64, bytes: usize) -> String {
        // Following waits until what was said last is in the file.
        let options = ReadOptions { follow: true, tail_lines: Some(lines), ..ReadOptions::default() };
        let Ok(mut stream) = self.read(&pod.namespace, &pod.name, container, options) else {
            return String::new();
        };
        let mut text = Vec::new();
        while let Some(Ok(piece)) = stream.next().await {
            text.extend_from_slice(&piece);
            text.drain(..text.len().saturating_sub(bytes));
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// When the last line was said that an earlier life of the node wrote of this run. Blocks on the disk.
    pub fn last_time(&self, pod: &PodRef, container: &str, restart: u32) -> Option<jiff::Timestamp> {
        use std::io::{Read, Seek, SeekFrom};
        let path = self.path(pod, container, restart);
        let mut file = std::fs::File::open(&path).or_else(|_| std::fs::File::open(rotated(&path))).ok()?;
        let size = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(2 * LINE_BYTES as u64))).ok()?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).ok()?;
        // A line without its end was cut by a crash.
        let whole = &end[..end.iter().rposition(|byte| *byte == b'\n')?];
        let mut lines = whole.rsplit(|byte| *byte == b'\n');
        lines.find_map(|record| line::parse(record)?.timestamp())
    }

    fn folder(&self, pod: &PodRef, container: &str) -> PathBuf {
        self.inner.root.join(pod.folder()).join(container)
    }

    fn path(&self, pod: &PodRef, container: &str, restart: u32) -> PathBuf {
        self.folder(pod, container).join(format!("{restart}.log"))
    }
}

/// Where one run of a container writes. Cheap to clone.
#[derive(Clone)]
pub struct LogSink {
    log: Arc<ContainerLog>,
}

impl LogSink {
    /// A writer for one output stream of one instance.
    pub fn writer(&self, stream: Stream) -> Writer {
        Writer { log: self.log.clone(), stream, line: Vec::new(), time: None }
    }

    /// Bytes that a [`Writer::write`] takes now at least in part; 0 while the queue is full.
    pub fn room(&self) -> usize {
        QUEUE_BYTES.saturating_sub(lock(&self.log.queue).lines.len())
    }

    /// Waits until there is room again.
    pub async fn has_room(&self) {
        loop {
            let changed = self.log.changed.notified();
            if self.room() > 0 {
                return;
            }
            changed.await;
        }
    }

    /// Says that the container ended: followers stop once they have read everything.
    pub fn close(&self) {
        lock(&self.log.queue).closed = true;
        self.log.queue_for_disk();
    }
}

/// Cuts the output of one stream of one instance into lines. A last line without its newline is written on drop.
pub struct Writer {
    log: Arc<ContainerLog>,
    stream: Stream,
    line: Vec<u8>,
    /// When the lines were said, if that is not now.
    time: Option<jiff::Timestamp>,
}

impl Writer {
    /// Has what follows bear this time instead of the time it is written at.
    pub fn set_time(&mut self, time: jiff::Timestamp) {
        self.time = Some(time);
    }

    fn now(&self) -> jiff::Timestamp {
        self.time.unwrap_or_else(jiff::Timestamp::now)
    }

    /// Takes as much of `chunk` as there is room for and says how much that was; 0 means the queue is full, then
    /// [`LogSink::has_room`] tells when to go on. Never blocks.
    pub fn write(&mut self, chunk: &[u8]) -> usize {
        let room = QUEUE_BYTES.saturating_sub(lock(&self.log.queue).lines.len());
        let taken = &chunk[..chunk.len().min(room)];
        let mut lines = Vec::new();
        for piece in taken.split_inclusive(|byte| *byte == b'\n') {
            self.take_piece(piece, &mut lines);
        }
        if !lines.is_empty() {
            self.log.push(&lines);
        }
        taken.len()
    }

    fn take_piece(&mut self, mut piece: &[u8], lines: &mut Vec<u8>) {
        loop {
            let free = LINE_BYTES - self.line.len();
            match piece.strip_suffix(b"\n") {
                Some(end) if end.len() <= free => {
                    self.line.extend_from_slice(end);
                    line::format(self.now(), self.stream, line::Part::Full, &self.line, lines);
                    self.line.clear();
                    return;
                }
                None if piece.len() < free => {
                    self.line.extend_from_slice(piece);
                    return;
                }
                _ => {
                    self.line.extend_from_slice(&piece[..free]);
                    piece = &piece[free..];
                    line::format(self.now(), self.stream, line::Part::Partial, &self.line, lines);
                    self.line.clear();
                }
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            let mut lines = Vec::new();
            line::format(self.now(), self.stream, line::Part::Full, &self.line, &mut lines);
            self.log.push(&lines);
        }
    }
}

impl ContainerLog {
    fn push(self: &Arc<Self>, lines: &[u8]) {
        let mut queue = lock(&self.queue);
        // What comes after the end (an instance still winding down) would never be read.
        if queue.closed {
            return;
        }
        queue.lines.extend_from_slice(lines);
        drop(queue);
        self.queue_for_disk();
    }

    fn queue_for_disk(self: &Arc<Self>) {
        if !std::mem::replace(&mut lock(&self.queue).queued, true) {
            lock(&self.backlog.waiting).push(self.clone());
            self.backlog.wake.notify_one();
        }
    }

    fn announce(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn rotated(&self) -> PathBuf {
        rotated(&self.path)
    }
}

/// Where a log goes when its file is full.
fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A poisoned lock only means that another thread panicked between two whole updates; the data is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
