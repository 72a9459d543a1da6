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
    /// The consumer sleeps and must be woken when so many wait; zero while it is awake.
    wake_at: usize,
    closed: bool,
}

/// The consumer is gone; the item comes back.
#[derive(Debug)]
pub(crate) struct Closed<T>(pub(crate) T);

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        let state = State { items: Vec::new(), wake_at: 0, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), Closed<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed(item));
        }
        state.items.push(item);
        let wake = state.wake_at > 0 && state.items.len() >= state.wake_at;
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
        let mut state = self.sleep(self.lock(), 1, timeout);
        std::mem::swap(&mut state.items, into);
    }

    /// Sleeps until `more` than wait now have come, at most for `timeout`.
    pub(crate) fn gather(&self, more: usize, timeout: Duration) {
        let state = self.lock();
        let wanted = state.items.len() + more;
        drop(self.sleep(state, wanted, timeout));
    }

    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        wanted: usize,
        timeout: Duration,
    ) -> MutexGuard<'a, State<T>> {
        if state.items.len() < wanted && !timeout.is_zero() {
            state.wake_at = wanted;
            let woken = self.filled.wait_timeout_while(state, timeout, |state| state.items.len() < wanted);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.wake_at = 0;
        }
        state
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_consumer_gets_all_that_wait_in_order() {
        let inbox = Inbox::new();
        (0..5).for_each(|number| inbox.push(number).expect("it is open"));
        let mut taken = Vec::new();
        inbox.take(&mut taken, Duration::from_secs(60));
        assert_eq!(taken, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_sleeping_consumer_is_woken_by_as_many_as_it_wants() {
        for wanted in [1, 4] {
            let inbox = Arc::new(Inbox::new());
            let producer = inbox.clone();
            let pushing = std::thread::spawn(move || {
                while producer.lock().wake_at == 0 {
                    std::thread::yield_now();
                }
                (0..wanted).for_each(|number| drop(producer.push(number)));
            });
            inbox.gather(wanted, Duration::from_secs(600));
            let mut taken = Vec::new();
            inbox.take(&mut taken, Duration::ZERO);
            assert_eq!(taken.len(), wanted);
            pushing.join().expect("no panic");
        }
    }

    #[test]
    fn a_closed_inbox_gives_back_what_waits_and_takes_no_more() {
        let inbox = Inbox::new();
        inbox.push(1).expect("it is open");
        assert_eq!(inbox.close(), [1]);
        assert_eq!(inbox.push(2).map_err(|Closed(item)| item), Err(2));
    }
}
