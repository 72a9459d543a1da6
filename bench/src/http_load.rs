//! A lean load of HTTP/1.1 requests over connections that are kept: one thread, requests as ready-made bytes,
//! answers looked at only as far as their end must be found, so that what is measured is the server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::latency::Latencies;
use crate::load::Outcome;

/// Bytes of one answer at most; those of hello have about 200.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends GET / to `address` over so many connections for so long.
pub(crate) async fn run(
    address: SocketAddr,
    host: &str,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Outcome> {
    let request: Box<[u8]> = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes().into();
    let load = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(drive(address, &request, connections, time))
    };
    tokio::task::spawn_blocking(load).await?
}

async fn drive(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    time: Duration,
) -> anyhow::Result<Outcome> {
    let mut workers = JoinSet::new();
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        open.push(stream);
    }
    let started = Instant::now();
    for stream in open {
        let request = request.to_vec();
        workers.spawn(async move { work(stream, &request, started + time).await });
    }
    let mut durations = Vec::new();
    while let Some(worker) = workers.join_next().await {
        durations.extend(worker??);
    }
    let per_second = durations.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Outcome { per_second, latencies: Latencies::new(durations) })
}

async fn work(mut stream: TcpStream, request: &[u8], end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    let mut answer = Vec::with_capacity(4096);
    loop {
        let sent = Instant::now();
        if sent >= end {
            return Ok(durations);
        }
        stream.write_all(request).await?;
        answer.clear();
        tokio::time::timeout(ANSWER_TIMEOUT, read(&mut stream, &mut answer))
            .await
            .context("an answer did not come")??;
        durations.push(sent.elapsed());
    }
}

async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the server closed the connection");
        }
        match progress(answer) {
            Progress::Whole => return Ok(()),
            Progress::Refused => {
                bail!("answered: {}", String::from_utf8_lossy(answer).lines().next().unwrap_or(""))
            }
            Progress::Partial if answer.len() > ANSWER_BYTES_MAX => {
                bail!("an answer of over {ANSWER_BYTES_MAX} bytes")
            }
            Progress::Partial => {}
        }
    }
}

/// How much of an answer is there.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Partial,
    Whole,
    /// Not 200.
    Refused,
}

fn progress(answer: &[u8]) -> Progress {
    const OK: &[u8] = b"HTTP/1.1 200";
    const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
    let known = answer.len().min(OK.len());
    if answer[..known] != OK[..known] {
        return Progress::Refused;
    }
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Progress::Partial;
    };
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let whole = match content_length(head) {
        Some(length) => body.len() >= length,
        None => body.ends_with(LAST_CHUNK) || body == &LAST_CHUNK[2..],
    };
    if whole { Progress::Whole } else { Progress::Partial }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let lines = head.split(|byte| *byte == b'\n');
    let mut values = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value)
    });
    std::str::from_utf8(values.next()?).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_found() {
        let cases = [
            ("", Progress::Partial),
            ("HTTP/1.1 2", Progress::Partial),
            ("HTTP/1.1 503 Service Unavailable\r\n", Progress::Refused),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", Progress::Partial),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Progress::Whole),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", Progress::Partial),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Progress::Whole),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Progress::Whole),
        ];
        for (answer, expected) in cases {
            assert_eq!(progress(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
