//! When which pod is to be looked at again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;

use super::entry::Uid;

/// Times in order. A pod may be in it several times; the owner knows which of them still counts.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, Uid)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, uid: Uid) {
        self.heap.push(Reverse((at, uid)));
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Uid> {
        let due = self.next().is_some_and(|at| at <= now);
        if due { self.heap.pop().map(|Reverse((_, uid))| uid) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_is_due_in_order() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut timers = Timers::default();
        for (seconds, uid) in [(30, "c"), (10, "a"), (20, "b")] {
            timers.set(at(seconds), uid.into());
        }
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)).as_deref(), Some("a"));
        assert_eq!(timers.pop_due(at(20)).as_deref(), Some("b"));
        assert_eq!(timers.pop_due(at(20)), None);
    }
}
