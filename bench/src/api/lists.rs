//! A list of 10,000 pods in the forms that clients ask for.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use flate2::write::GzDecoder;
use http::header::{ACCEPT, ACCEPT_ENCODING};

use crate::connection::{ApiRequest, Connection, get, get_as};
use crate::endpoint::Endpoint;
use crate::figure::{Figure, Unit};
use crate::latency::Latencies;
use crate::reference::{self, KUBERNETES};
use crate::watch::Watch;
use crate::workload::pods;

/// How often each form is asked for.
const RUNS: usize = 5;
/// Pods in a page.
const PAGE: usize = 500;
/// Less than this is not the list of 10,000 pods that is meant, but a page of it or an error.
const LIST_BYTES_MIN: u64 = 2 << 20;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// Measures every form; needs the 10,000 pods.
pub(super) async fn run(endpoint: &Endpoint) -> anyhow::Result<Vec<Figure>> {
    let mut connection = Connection::open(endpoint).await?;
    let whole = || get(&pods());
    let table = || get_as(&pods(), ACCEPT, TABLE);
    let plain_ms = timed(&mut connection, whole).await.context("one answer")?;
    let table_ms = timed(&mut connection, table).await.context("table")?;
    let mut gzip = Vec::new();
    let mut pages = Vec::new();
    let mut stream = Vec::new();
    for _ in 0..RUNS {
        gzip.push(compressed(&mut connection).await.context("gzip")?);
        pages.push(paged(&mut connection).await.context("pages")?);
        stream.push(streamed(endpoint).await.context("streaming list")?);
    }
    let median = |durations| Latencies::new(durations).p50_ms();
    let rows = [
        ("in one answer", plain_ms, reference::LIST_MS, Some(50.0)),
        ("as a Table", table_ms, reference::LIST_TABLE_MS, Some(60.0)),
        ("gzip, with decompression", median(gzip), reference::LIST_GZIP_MS, None),
        ("in pages of 500", median(pages), reference::LIST_PAGES_MS, Some(60.0)),
        ("as a watch, to its bookmark", median(stream), reference::LIST_STREAM_MS, Some(70.0)),
    ];
    let figure = |(form, measured, other, goal): (&str, f64, f64, Option<f64>)| {
        let figure = Figure::new(format!("list of 10,000 pods {form}"), measured, Unit::Milliseconds);
        let figure = figure.beside(KUBERNETES, other);
        match goal {
            Some(goal) => figure.goal(goal),
            None => figure,
        }
    };
    Ok(rows.into_iter().map(figure).collect())
}

/// The median time of one answer, to its last byte, in milliseconds.
async fn timed(connection: &mut Connection, make: impl Fn() -> ApiRequest) -> anyhow::Result<f64> {
    let mut durations = Vec::new();
    for _ in 0..RUNS {
        let (started, mut bytes) = (Instant::now(), 0);
        connection
            .stream(make(), |piece| {
                bytes += piece.len() as u64;
                Ok(())
            })
            .await?;
        durations.push(started.elapsed());
        check(bytes)?;
    }
    Ok(Latencies::new(durations).p50_ms())
}

async fn compressed(connection: &mut Connection) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut decoder = GzDecoder::new(Counter(0));
    let request = get_as(&pods(), ACCEPT_ENCODING, "gzip");
    connection.stream(request, |piece| Ok(decoder.write_all(piece)?)).await?;
    let bytes = decoder.finish()?.0;
    let elapsed = started.elapsed();
    check(bytes)?;
    Ok(elapsed)
}

async fn paged(connection: &mut Connection) -> anyhow::Result<Duration> {
    let (started, mut bytes, mut token) = (Instant::now(), 0, None::<String>);
    loop {
        let rest = token.map(|token| format!("&continue={token}")).unwrap_or_default();
        let page = connection.expect(get(&format!("{}?limit={PAGE}{rest}", pods()))).await?;
        bytes += page.len() as u64;
        token = continue_token(&page);
        if token.is_none() {
            break;
        }
    }
    let elapsed = started.elapsed();
    check(bytes)?;
    Ok(elapsed)
}

async fn streamed(endpoint: &Endpoint) -> anyhow::Result<Duration> {
    let query =
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let (started, mut bytes) = (Instant::now(), 0);
    let mut watch = Watch::open(endpoint, &format!("{}?{query}", pods())).await?;
    loop {
        let line = watch.next().await?.context("the watch ended before its bookmark")?;
        bytes += line.len() as u64;
        if line.starts_with(br#"{"type":"BOOKMARK""#) && contains(&line, b"k8s.io/initial-events-end") {
            break;
        }
    }
    let elapsed = started.elapsed();
    check(bytes)?;
    Ok(elapsed)
}

/// The token for the next page, which stands in the list's metadata, before or behind its items.
fn continue_token(page: &Bytes) -> Option<String> {
    const KEY: &[u8] = br#""continue":""#;
    const NEAR: usize = 4096;
    let ends = [&page[..page.len().min(NEAR)], &page[page.len().saturating_sub(NEAR)..]];
    ends.into_iter().find_map(|part| {
        let begin = part.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
        let length = part[begin..].iter().position(|byte| *byte == b'"')?;
        let token = std::str::from_utf8(&part[begin..begin + length]).ok()?;
        (!token.is_empty()).then(|| token.to_owned())
    })
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

fn check(bytes: u64) -> anyhow::Result<()> {
    ensure!(bytes >= LIST_BYTES_MIN, "the answer has only {bytes} bytes");
    Ok(())
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_at_either_end() {
        let items = "x".repeat(10_000);
        let cases = [
            (format!(r#"{{"metadata":{{"continue":"abc"}},"items":"{items}"}}"#), Some("abc")),
            (format!(r#"{{"items":"{items}","metadata":{{"continue":"abc"}}}}"#), Some("abc")),
            (format!(r#"{{"metadata":{{"continue":""}},"items":"{items}"}}"#), None),
            (r#"{"items":[]}"#.to_owned(), None),
        ];
        for (page, expected) in cases {
            assert_eq!(continue_token(&page.into()).as_deref(), expected);
        }
    }
}
