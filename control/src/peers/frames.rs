//! How messages lie in the stream: each after its length, a little-endian u32.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame};

use super::queue::Queue;

/// Largest message: the largest transaction with its envelope, and room to spare. A length beyond it is no message of
/// ours.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;

const LENGTH_BYTES: usize = size_of::<u32>();

/// Messages up to this are copied together into one piece, larger ones are sent from where they lie.
const SMALL_BYTES: usize = 16 << 10;
/// Size of such a piece, about.
const PIECE_BYTES: usize = 64 << 10;

/// The outgoing stream: the body of a request that ends only with its connection.
pub(super) struct Outbox {
    queue: Arc<Queue>,
    /// A large message whose length has been sent.
    large: Option<Bytes>,
}

impl Outbox {
    pub(super) fn new(queue: Arc<Queue>) -> Outbox {
        Outbox { queue, large: None }
    }
}

impl Body for Outbox {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(large) = self.large.take() {
            return Poll::Ready(Some(Ok(Frame::data(large))));
        }
        let Poll::Ready(first) = self.queue.poll_pop(context) else { return Poll::Pending };
        let mut piece = BytesMut::with_capacity(LENGTH_BYTES + first.len().min(SMALL_BYTES));
        let mut next = Some(first);
        while let Some(message) = next {
            piece.put_u32_le(u32::try_from(message.len()).expect("limits keep messages far below 4 GiB"));
            if message.len() > SMALL_BYTES {
                self.large = Some(message);
                break;
            }
            piece.extend_from_slice(&message);
            next = (piece.len() < PIECE_BYTES).then(|| self.queue.pop_small(SMALL_BYTES)).flatten();
        }
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }
}

/// Cuts a stream into messages again.
#[derive(Default)]
pub(super) struct Parser {
    rest: BytesMut,
}

/// The stream is not one of messages.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes was announced, more than a message can have")]
pub(super) struct TooLong {
    length: usize,
}

impl Parser {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.rest.extend_from_slice(data);
    }

    /// The next whole message. Room is taken for what has come only, never for what is announced.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(mut header) = self.rest.get(..LENGTH_BYTES) else { return Ok(None) };
        let length = header.get_u32_le() as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(TooLong { length });
        }
        if self.rest.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.rest.advance(LENGTH_BYTES);
        Ok(Some(self.rest.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn messages_of_all_sizes_come_out_as_they_went_in() {
        let queue = Arc::new(Queue::new(usize::MAX));
        let lengths = [0, 1, SMALL_BYTES, SMALL_BYTES + 1, 3, 200_000, PIECE_BYTES, 7];
        let messages = lengths.map(|length| Bytes::from(vec![length as u8; length]));
        for message in &messages {
            queue.push(message.clone()).expect("there is room");
        }
        let (mut outbox, mut parser) = (Outbox::new(queue), Parser::default());
        let mut received = Vec::new();
        while received.len() < messages.len() {
            let data = outbox.frame().await.expect("a stream").expect("no error").into_data().expect("data");
            // However the network cuts it.
            for piece in data.chunks(1000) {
                parser.push(piece);
                while let Some(message) = parser.next().expect("lengths are sound") {
                    received.push(message);
                }
            }
        }
        assert_eq!(received, messages);
    }

    #[test]
    fn a_length_that_no_message_has_is_refused() {
        let mut parser = Parser::default();
        parser.push(&u32::MAX.to_le_bytes());
        assert_eq!(parser.next(), Err(TooLong { length: u32::MAX as usize }));
    }
}
