//! Logs as a guest writes them and a client reads them, over a real folder.

use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

struct Fixture {
    logs: Logs,
    pod: PodRef,
    stop: CancellationToken,
    flusher: Option<tokio::task::JoinHandle<()>>,
    _folder: TempDir,
}

impl Fixture {
    fn new(file_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::with_file_limit(folder.path().join("logs"), file_bytes);
        let pod = PodRef { namespace: "ns".into(), name: "p".into(), uid: "u1".into() };
        let stop = CancellationToken::new();
        let flusher = Some(tokio::spawn(logs.flusher().run(stop.clone())));
        Self { logs, pod, stop, flusher, _folder: folder }
    }

    /// Everything written so far is on the disk afterwards, and nothing more will be.
    async fn flush(&mut self) {
        self.stop.cancel();
        if let Some(flusher) = self.flusher.take() {
            flusher.await.unwrap();
        }
    }

    async fn read(&self, options: ReadOptions) -> String {
        let mut stream = self.logs.read("ns", "p", "c", options).unwrap();
        let mut text = Vec::new();
        while let Some(piece) = stream.next().await {
            text.extend_from_slice(&piece.unwrap());
        }
        String::from_utf8(text).unwrap()
    }
}

/// Writes all of it, waiting for room as a runtime does.
async fn write(sink: &LogSink, writer: &mut Writer, mut text: &[u8]) {
    while !text.is_empty() {
        let taken = writer.write(text);
        text = &text[taken..];
        if taken == 0 {
            sink.has_room().await;
        }
    }
}

#[tokio::test]
async fn lines_of_two_instances_do_not_mix() {
    let mut fixture = Fixture::new(FILE_BYTES);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    let (mut one, mut two) = (sink.writer(Stream::Stdout), sink.writer(Stream::Stderr));
    one.write(b"hello ");
    two.write(b"other\n");
    one.write(b"world\nlast without newline");
    drop(one);
    fixture.flush().await;
    assert_eq!(fixture.read(ReadOptions::default()).await, "other\nhello world\nlast without newline\n");
    let stderr = ReadOptions { selection: Selection::Only(Stream::Stderr), ..Default::default() };
    assert_eq!(fixture.read(stderr).await, "other\n");
}

#[tokio::test]
async fn a_long_line_comes_back_whole() {
    let mut fixture = Fixture::new(FILE_BYTES);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    let mut writer = sink.writer(Stream::Stdout);
    let long = "x".repeat(3 * LINE_BYTES + 5);
    write(&sink, &mut writer, format!("{long}\nend\n").as_bytes()).await;
    fixture.flush().await;
    assert_eq!(fixture.read(ReadOptions::default()).await, format!("{long}\nend\n"));
}

#[tokio::test]
async fn a_full_queue_makes_the_guest_wait_and_loses_nothing() {
    let mut fixture = Fixture::new(FILE_BYTES);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    let mut writer = sink.writer(Stream::Stdout);
    let text: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
    assert!(text.len() > QUEUE_BYTES);
    write(&sink, &mut writer, text.as_bytes()).await;
    fixture.flush().await;
    assert_eq!(fixture.read(ReadOptions::default()).await, text);
}

#[tokio::test]
async fn tail_crosses_the_rotated_file() {
    let mut fixture = Fixture::new(400);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    let mut writer = sink.writer(Stream::Stdout);
    let mut follower =
        fixture.logs.read("ns", "p", "c", ReadOptions { follow: true, ..Default::default() }).unwrap();
    for n in 0..12 {
        writer.write(format!("line {n}\n").as_bytes());
        // One write to the file for each line, so that rotation falls between known lines.
        let piece = tokio::time::timeout(DEADLINE, follower.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(piece, format!("line {n}\n"));
    }
    fixture.flush().await;
    assert!(fixture.logs.path(&fixture.pod, "c", 0).exists());
    assert!(rotated(&fixture.logs.path(&fixture.pod, "c", 0)).exists());
    for (lines, want) in [(0, ""), (1, "line 11\n"), (3, "line 9\nline 10\nline 11\n")] {
        let options = ReadOptions { tail_lines: Some(lines), ..Default::default() };
        assert_eq!(fixture.read(options).await, want, "tail {lines}");
    }
    let most = fixture.read(ReadOptions { tail_lines: Some(9), ..Default::default() }).await;
    assert!(most.starts_with("line 3\n") && most.ends_with("line 11\n"), "{most}");
}

#[tokio::test]
async fn following_ends_with_the_container() {
    let fixture = Fixture::new(FILE_BYTES);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    let options = ReadOptions { follow: true, ..Default::default() };
    let read = tokio::time::timeout(DEADLINE, fixture.read(options));
    let write = async {
        let mut writer = sink.writer(Stream::Stdout);
        writer.write(b"one\n");
        tokio::task::yield_now().await;
        writer.write(b"two\n");
        drop(writer);
        sink.close();
    };
    let (text, ()) = tokio::join!(read, write);
    assert_eq!(text.unwrap(), "one\ntwo\n");
}

#[tokio::test]
async fn limits_and_times_select_what_is_shown() {
    let mut fixture = Fixture::new(FILE_BYTES);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    sink.writer(Stream::Stdout).write(b"one\ntwo\n");
    fixture.flush().await;
    let limited = ReadOptions { limit_bytes: Some(5), ..Default::default() };
    assert_eq!(fixture.read(limited).await, "one\nt");
    let future = jiff::Timestamp::now() + Duration::from_secs(60);
    let late = ReadOptions { since: Some(future), ..Default::default() };
    assert_eq!(fixture.read(late).await, "");
    let timed = fixture.read(ReadOptions { timestamps: true, ..Default::default() }).await;
    let first = timed.lines().next().unwrap().split_once(' ').unwrap();
    assert!(first.0.parse::<jiff::Timestamp>().is_ok() && first.1 == "one", "{timed}");
}

#[tokio::test]
async fn the_previous_run_is_kept_and_older_ones_go() {
    let mut fixture = Fixture::new(FILE_BYTES);
    for restart in 0..3 {
        let sink = fixture.logs.open(&fixture.pod, "c", restart);
        sink.writer(Stream::Stdout).write(format!("run {restart}\n").as_bytes());
        sink.close();
    }
    fixture.flush().await;
    let previous = ReadOptions { previous: true, ..Default::default() };
    assert_eq!(fixture.read(ReadOptions::default()).await, "run 2\n");
    assert_eq!(fixture.read(previous.clone()).await, "run 1\n");
    assert!(!fixture.logs.path(&fixture.pod, "c", 0).exists());

    // As after a restart of the node: nothing is open, the files are there.
    let again = Logs::new(fixture.logs.inner.root.clone());
    again.add_pod(fixture.pod.clone());
    fixture.logs = again;
    assert_eq!(fixture.read(ReadOptions::default()).await, "run 2\n");
    assert_eq!(fixture.read(previous).await, "run 1\n");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let mut fixture = Fixture::new(FILE_BYTES);
    let read = |options: ReadOptions| fixture.logs.read("ns", "p", "c", options).err().unwrap().to_string();
    assert_eq!(read(ReadOptions::default()), "pod ns/p is not on this node");
    fixture.logs.add_pod(fixture.pod.clone());
    assert_eq!(read(ReadOptions::default()), r#"container "c" in pod "p" has no log yet"#);
    fixture.logs.open(&fixture.pod, "c", 0);
    let previous = ReadOptions { previous: true, ..Default::default() };
    assert_eq!(read(previous), r#"previous terminated container "c" in pod "p" not found"#);
    fixture.flush().await;
}

#[tokio::test]
async fn files_of_pods_that_are_gone_are_removed() {
    let mut fixture = Fixture::new(FILE_BYTES);
    let sink = fixture.logs.open(&fixture.pod, "c", 0);
    sink.writer(Stream::Stdout).write(b"x\n");
    fixture.flush().await;
    let again = Logs::new(fixture.logs.inner.root.clone());
    again.add_pod(fixture.pod.clone());
    again.remove_unknown().unwrap();
    assert!(again.path(&fixture.pod, "c", 0).exists());
    again.remove_pod(&fixture.pod).unwrap();
    assert!(!again.path(&fixture.pod, "c", 0).exists());
    again.remove_pod(&fixture.pod).unwrap();
}
