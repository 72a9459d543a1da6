//! Messages that wait for one peer: first in, first out, bounded in bytes, never waiting for room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// A queue with any number of producers and one consumer.
pub(super) struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    counts: Counts,
    consumer: Option<Waker>,
}

/// What went through, and what did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) taken: u64,
    pub(super) taken_bytes: u64,
    pub(super) dropped: u64,
    pub(super) dropped_bytes: u64,
}

/// There is no room; the message is dropped and counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Queue {
        Queue { bytes_max, state: Mutex::default() }
    }

    /// A message larger than the whole queue still goes through an empty one: it would never get through otherwise.
    pub(super) fn push(&self, message: Bytes) -> Result<(), Full> {
        let mut state = self.lock();
        if !state.messages.is_empty() && state.bytes + message.len() > self.bytes_max {
            state.counts.drop_one(&message);
            return Err(Full);
        }
        state.bytes += message.len();
        state.messages.push_back(message);
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
        Ok(())
    }

    /// The next message; pending while there is none.
    pub(super) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Bytes> {
        let mut state = self.lock();
        match state.pop() {
            Some(message) => Poll::Ready(message),
            None => {
                state.consumer = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next message, when there is one of at most so many bytes.
    pub(super) fn pop_small(&self, bytes_max: usize) -> Option<Bytes> {
        let mut state = self.lock();
        if state.messages.front()?.len() > bytes_max {
            return None;
        }
        state.pop()
    }

    /// Drops what waits: it is too old to be worth sending.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        let State { messages, counts, bytes, .. } = &mut *state;
        messages.drain(..).for_each(|message| counts.drop_one(&message));
        *bytes = 0;
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        self.counts.taken += 1;
        self.counts.taken_bytes += message.len() as u64;
        Some(message)
    }
}

impl Counts {
    fn drop_one(&mut self, message: &Bytes) {
        self.dropped += 1;
        self.dropped_bytes += message.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Bytes {
        vec![0; length].into()
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::new(10);
        assert_eq!(queue.push(message(6)), Ok(()));
        assert_eq!(queue.push(message(5)), Err(Full));
        assert_eq!(queue.push(message(4)), Ok(()));
        let expected = Counts { dropped: 1, dropped_bytes: 5, ..Counts::default() };
        assert_eq!(queue.counts(), expected);
        queue.clear();
        assert_eq!(queue.counts(), Counts { dropped: 3, dropped_bytes: 15, ..expected });
        assert_eq!(queue.pop_small(100), None);
    }

    #[test]
    fn a_message_larger_than_the_bound_goes_through_an_empty_queue() {
        let queue = Queue::new(10);
        assert_eq!(queue.push(message(11)), Ok(()));
        assert_eq!(queue.push(message(1)), Err(Full));
        assert_eq!(queue.pop_small(10), None);
        assert_eq!(queue.pop_small(11), Some(message(11)));
    }
}
