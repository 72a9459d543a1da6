//! The server of a store's member: etcd's calls, answered from the store and nothing else between. Like the client it is
//! made for this comparison; it knows the client's headers by their bytes.

use std::sync::LazyLock;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use isopod_raft_store::{MemberId, Op, Store, Txn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::channel::request_headers;
use super::hpack::put_literal;
use super::http2::{self, Credit, Inbox};
use super::kv;

/// What says that a call went well, and that it did not ("unavailable": the client asks elsewhere).
const WENT_WELL: &[u8] = b"0";
const UNAVAILABLE: &[u8] = b"14";

/// Calls as their headers tell them.
static CALLS: LazyLock<[(Vec<u8>, &'static str); 4]> =
    LazyLock::new(|| kv::CALLS.map(|path| (request_headers(path), path)));

/// The headers of every answer.
static ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // `:status: 200`, which has a number of its own.
    let mut block = vec![0x88];
    put_literal(&mut block, b"content-type", b"application/grpc");
    block
});

/// Serves every connection until it is dropped.
pub(super) async fn serve(listener: TcpListener, store: Store) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let store = store.clone();
        connections.spawn(async move {
            if let Err(error) = talk(stream, &store).await {
                eprintln!("a connection ended: {error:#}");
            }
        });
    }
}

/// A request of which the message has not come yet.
struct Begun {
    stream: u32,
    path: &'static str,
}

/// One connection, one task: every read may bring many calls, and every write take many answers.
async fn talk(mut stream: TcpStream, store: &Store) -> anyhow::Result<()> {
    let (mut inbox, mut outbox) = (Inbox::default(), Vec::new());
    let (mut credit, mut begun) = (Credit::default(), Vec::new());
    let mut under_way = FuturesUnordered::new();
    let mut greeted = false;
    http2::put_greeting(&mut outbox);
    loop {
        stream.write_all(&outbox).await?;
        outbox.clear();
        // Cancel-safe: a read that is dropped took nothing, and calls that are under way stay so.
        tokio::select! {
            read = stream.read(inbox.room()) => match read? {
                0 => return Ok(()),
                read => inbox.filled(read),
            },
            Some((stream, answer)) = under_way.next(), if !under_way.is_empty() => {
                put_answer(&mut outbox, stream, answer);
            }
        }
        greeted = greeted || inbox.skip(http2::PREFACE)?;
        while greeted && let Some(frame) = inbox.next()? {
            if http2::answer_housekeeping(&frame, &mut outbox) {
                continue;
            }
            match frame.kind {
                http2::HEADERS => begun.push(Begun { stream: frame.stream, path: path_of(frame.payload)? }),
                http2::DATA => {
                    credit.take(frame.payload.len(), &mut outbox);
                    ensure!(frame.has(http2::END_STREAM), "messages in parts are not understood");
                    let at = begun.iter().position(|begun| begun.stream == frame.stream);
                    let Begun { stream, path } = begun.swap_remove(at.context("a message without headers")?);
                    let request =
                        Request::read(path, frame.payload).context("a message that is not the call's")?;
                    under_way.push(request.answer(store).map(move |answer| (stream, answer)));
                }
                _ => {}
            }
        }
        // Whatever needs no waiting is answered with this write.
        while let Some(Some((stream, answer))) = under_way.next().now_or_never() {
            put_answer(&mut outbox, stream, answer);
        }
    }
}

fn path_of(headers: &[u8]) -> anyhow::Result<&'static str> {
    let known = CALLS.iter().find(|(block, _)| block == headers);
    known.map(|(_, path)| *path).context("a call that is not of this client")
}

fn put_answer(into: &mut Vec<u8>, stream: u32, answer: anyhow::Result<Bytes>) {
    http2::put(into, http2::HEADERS, http2::END_HEADERS, stream, &ANSWER);
    let status = match answer {
        Ok(message) => {
            http2::put(into, http2::DATA, 0, stream, &message);
            WENT_WELL
        }
        Err(_) => UNAVAILABLE,
    };
    let mut trailers = Vec::with_capacity(16);
    put_literal(&mut trailers, b"grpc-status", status);
    http2::put(into, http2::HEADERS, http2::END_HEADERS | http2::END_STREAM, stream, &trailers);
}

/// What a call asks for.
enum Request {
    Put(Txn),
    Range(Bytes),
    Status,
    MoveLeader(MemberId),
}

impl Request {
    fn read(path: &str, frame: &[u8]) -> Option<Self> {
        let message = kv::unframe(frame)?;
        Some(match path {
            kv::PUT => {
                let (key, value) = kv::read_put(message)?;
                Self::Put(Txn::of(vec![Op::Put(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))]))
            }
            kv::RANGE => Self::Range(Bytes::copy_from_slice(kv::read_range(message)?)),
            kv::MOVE_LEADER => Self::MoveLeader(MemberId(kv::read_move_leader(message)?)),
            _ => Self::Status,
        })
    }

    async fn answer(self, store: &Store) -> anyhow::Result<Bytes> {
        match self {
            Self::Put(txn) => Ok(kv::put_response(store.propose(txn).await?.revision.0)),
            Self::Range(key) => {
                let snapshot = store.linearizable().await?;
                let found = snapshot.get(&key);
                let found = found.map(|entry| (&*entry.value, entry.created.0, entry.modified.0));
                Ok(kv::range_response(snapshot.revision().0, &key, found))
            }
            Self::Status => {
                let leader = store.leadership().borrow().leader.map_or(0, |leader| leader.0);
                Ok(kv::status_response(store.id().0, leader))
            }
            Self::MoveLeader(target) => {
                store.transfer_leadership(Some(target)).await?;
                Ok(kv::empty())
            }
        }
    }
}
