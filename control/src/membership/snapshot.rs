//! A snapshot of the whole store, sent while it is written.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use isopod_raft_store::Store;
use tokio::sync::mpsc;

use crate::api::{BoxError, ResponseBody};

/// Size of the pieces, and how many wait for the client at most.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 8;

/// Hands what is written to the body of the answer; waits when the client is slow.
struct Pieces {
    gathered: BytesMut,
    sender: mpsc::Sender<Result<Bytes, BoxError>>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = self.gathered.split().freeze();
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Sends a state that has every write acknowledged before the request. An answer that breaks off is no snapshot: whoever
/// receives it checks the whole file.
pub(super) fn answer(store: Store) -> Response<ResponseBody> {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let saving = async move {
        let into = Pieces { gathered: BytesMut::new(), sender: sender.clone() };
        if let Err(error) = store.save(into).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a snapshot was not sent whole");
            // Nobody may be there to be told.
            sender.send(Err(error.into())).await.ok();
        }
    };
    // The body owns the work: a client that goes away ends both.
    let received = futures::stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Some(piece), pieces))
    });
    let work = futures::stream::once(saving).map(|()| None);
    let both = futures::stream::select(received, work);
    let frames = both.filter_map(|piece| std::future::ready(piece.map(|piece| piece.map(Frame::data))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, binary);
    response
}

#[cfg(test)]
mod tests {
    use isopod_raft_store::{Config, Op, Txn};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_a_snapshot_of_everything() {
        let folder = tempfile::tempdir().unwrap();
        let (store, driver) = Store::open(Config::new(folder.path().join("store"))).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(driver.run(stop.clone()));
        for key in 0..20 {
            let value = vec![b'x'; 100_000];
            store.propose(Txn::of(vec![Op::Put(format!("/{key}").into(), value.into())])).await.unwrap();
        }
        let file = folder.path().join("file");
        let body = answer(store.clone()).into_body().collect().await.unwrap().to_bytes();
        std::fs::write(&file, &body).unwrap();
        let saved = isopod_raft_store::inspect(&file).unwrap();
        assert_eq!((saved.keys, saved.revision), (20, store.snapshot().revision()));
        stop.cancel();
        running.await.unwrap().unwrap();
        // Without a leader to confirm that it is the newest, there is none.
        assert!(answer(store).into_body().collect().await.is_err());
    }
}
