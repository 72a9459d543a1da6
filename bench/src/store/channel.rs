//! A gRPC connection as thin as can be, for clients that must not be what is measured: one thread, one write for all
//! calls that wait, one read for all answers that have come.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;

use super::hpack::{Headers, put_literal};
use super::http2::{self, Credit, Inbox};
use super::kv;

/// A single call is given up after this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// gRPC's "cancelled", as HTTP/2 says it.
const CANCEL: u32 = 8;

/// The headers of each call, ready to be sent.
static REQUESTS: LazyLock<BTreeMap<&'static str, Vec<u8>>> =
    LazyLock::new(|| kv::CALLS.into_iter().map(|path| (path, request_headers(path))).collect());

/// Headers of a call, in the form in which [`super::service`] knows them.
pub(super) fn request_headers(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let fields: [(&str, &str); 6] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().for_each(|(name, value)| put_literal(&mut block, name.as_bytes(), value.as_bytes()));
    block
}

/// One connection, with many calls under way.
pub(super) struct Channel {
    stream: TcpStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    headers: Headers,
    credit: Credit,
    /// What the server still takes.
    window: i64,
    next_stream: u32,
    calls: Vec<Call>,
}

struct Call {
    stream: u32,
    asked: Instant,
    message: Vec<u8>,
}

/// The end of a call.
pub(super) struct Answer {
    pub(super) asked: Instant,
    /// The message, or gRPC's status.
    pub(super) result: Result<Bytes, u8>,
}

impl Answer {
    pub(super) fn message(self) -> anyhow::Result<Bytes> {
        self.result.map_err(|status| anyhow::anyhow!("gRPC status {status}"))
    }
}

impl Channel {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CALL_TIMEOUT))?;
        let mut outbox = http2::PREFACE.to_vec();
        http2::put_greeting(&mut outbox);
        Ok(Self {
            stream,
            inbox: Inbox::default(),
            outbox,
            headers: Headers::default(),
            credit: Credit::default(),
            window: http2::FIRST_WINDOW_BYTES.into(),
            next_stream: 1,
            calls: Vec::new(),
        })
    }

    /// How long [`wait`](Self::wait) waits at most.
    pub(super) fn set_patience(&self, patience: Duration) -> anyhow::Result<()> {
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    /// Calls without an answer.
    pub(super) fn under_way(&self) -> usize {
        self.calls.len()
    }

    /// Whether the server takes so much more.
    pub(super) fn takes(&self, message: &Bytes) -> bool {
        self.window >= message.len() as i64
    }

    /// Begins a call; it is sent with the next [`wait`](Self::wait).
    pub(super) fn ask(&mut self, path: &'static str, message: &[u8]) {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.window -= message.len() as i64;
        let headers = &REQUESTS[path];
        http2::put(&mut self.outbox, http2::HEADERS, http2::END_HEADERS, stream, headers);
        http2::put(&mut self.outbox, http2::DATA, http2::END_STREAM, stream, message);
        self.calls.push(Call { stream, asked: Instant::now(), message: Vec::new() });
    }

    /// Gives up calls that were begun before.
    pub(super) fn cancel(&mut self, before: Instant) {
        for call in self.calls.extract_if(.., |call| call.asked < before) {
            http2::put(&mut self.outbox, http2::RST_STREAM, 0, call.stream, &CANCEL.to_be_bytes());
        }
    }

    /// Sends what is to be sent and takes in what has come, or what comes first; appends the calls that ended.
    pub(super) fn wait(&mut self, answers: &mut Vec<Answer>) -> anyhow::Result<()> {
        self.stream.write_all(&self.outbox)?;
        self.outbox.clear();
        match self.stream.read(self.inbox.room()) {
            Ok(0) => bail!("the connection was closed"),
            Ok(read) => self.inbox.filled(read),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        while let Some(frame) = self.inbox.next()? {
            if http2::answer_housekeeping(&frame, &mut self.outbox) {
                continue;
            }
            let at = self.calls.iter().position(|call| call.stream == frame.stream);
            let ended = frame.has(http2::END_STREAM);
            let status = match frame.kind {
                http2::HEADERS => {
                    ensure!(frame.has(http2::END_HEADERS), "headers in parts are not understood");
                    self.headers.status(frame.payload)?
                }
                http2::DATA => {
                    self.credit.take(frame.payload.len(), &mut self.outbox);
                    if let Some(at) = at {
                        self.calls[at].message.extend_from_slice(frame.payload);
                    }
                    None
                }
                http2::WINDOW_UPDATE if frame.stream == 0 => {
                    self.window += i64::from(frame.number());
                    continue;
                }
                // "Unavailable": the server gave the call up.
                http2::RST_STREAM => Some(14),
                http2::GOAWAY => bail!("the server ends the connection"),
                _ => continue,
            };
            if let Some(at) = at.filter(|_| ended || frame.kind == http2::RST_STREAM) {
                let call = self.calls.swap_remove(at);
                answers.push(call.end(status.context("an answer without a status")?)?);
            }
        }
        Ok(())
    }
}

impl Call {
    fn end(self, status: u8) -> anyhow::Result<Answer> {
        let result = match status {
            0 => {
                let message = kv::unframe(&self.message).context("the answer is no gRPC message")?;
                let head = self.message.len() - message.len();
                Ok(Bytes::from(self.message).slice(head..))
            }
            refused => Err(refused),
        };
        Ok(Answer { asked: self.asked, result })
    }
}

/// Asks once, over a connection of its own.
pub(super) async fn call(address: SocketAddr, path: &'static str, message: Bytes) -> anyhow::Result<Bytes> {
    tokio::task::spawn_blocking(move || {
        let (mut channel, mut answers) = (Channel::open(address)?, Vec::new());
        channel.ask(path, &message);
        let asked = Instant::now();
        while answers.is_empty() {
            ensure!(asked.elapsed() < CALL_TIMEOUT, "no answer within {} s", CALL_TIMEOUT.as_secs());
            channel.wait(&mut answers)?;
        }
        answers.remove(0).message()
    })
    .await?
}
