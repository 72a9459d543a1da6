//! The driver's queue: whatever waits is taken at once, which is what makes group commit.
//!
//! Its length is bounded by the callers: each holds a permit of the store's budget for what it put in.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue with many producers and one consumer thread.
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    items: Vec<T>,
    /// The consumer sleeps and must be woken.
    asleep: bool,
    closed: bool,
}

/// The consumer is gone; the item comes back.
#[derive(Debug)]
pub(crate) struct Closed<T>(pub(crate) T);

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let state = State { items: Vec::new(), asleep: false, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), Closed<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed(item));
        }
        state.items.push(item);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Moves everything that waits into `into` (which must be empty). When there is nothing, sleeps until there is,
    /// at most for `timeout`.
    pub(crate) fn take(&self, into: &mut Vec<T>, timeout: Duration) {
        let mut state = self.lock();
        if state.items.is_empty() && !timeout.is_zero() {
            state.asleep = true;
            state = self
                .filled
                .wait_timeout_while(state, timeout, |state| state.items.is_empty())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.asleep = false;
        }
        std::mem::swap(&mut state.items, into);
    }

    /// Refuses items from now on; returns what still waited.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.items)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
