//! Whether what clients saw of one key could have come from a key that does one thing at a time.
//!
//! The search of Wing and Gong with Lowe's memory: try every call that may come next, go back when none fits, and
//! never look twice at the same set of calls that led to the same value. A call whose outcome nobody knows may have
//! happened at any time after it began, or never.

use std::collections::HashSet;

/// What a key holds: zero is nothing, every other number is a value that is written once.
pub(super) type Value = u64;

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// With what it saw.
    Read(Value),
    Write(Value),
    /// Only when the key holds `from`.
    Swap {
        from: Value,
        to: Value,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The key did not hold what the swap wanted.
    Refused,
    Unknown,
}

/// One call of a client, with the moments between which it must have happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) act: Act,
    pub(super) outcome: Outcome,
    pub(super) begun: u64,
    /// `u64::MAX` when nobody knows the outcome.
    pub(super) ended: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    /// With the place of the call that no order can explain.
    Impossible(usize),
    /// The search took too long.
    Undecided,
}

/// Steps of the search, at most.
const STEPS_MAX: usize = 5_000_000;

impl Call {
    /// The value after the call, when it can happen at `value`.
    fn apply(&self, value: Value) -> Option<Value> {
        match (self.act, self.outcome) {
            (Act::Read(seen), _) => (seen == value).then_some(value),
            // When nobody knows, it is only of interest if it changed something: else it may as well never have happened.
            (Act::Write(to), Outcome::Unknown) => (to != value).then_some(to),
            (Act::Write(to), _) => Some(to),
            (Act::Swap { from, to }, Outcome::Done | Outcome::Unknown) => (from == value).then_some(to),
            (Act::Swap { from, .. }, Outcome::Refused) => (from != value).then_some(value),
        }
    }
}

/// Judges the calls of one key, which held nothing at first.
pub(super) fn check(calls: &[Call]) -> Verdict {
    let places: Vec<usize> = (0..calls.len()).filter(|at| matters(calls, *at)).collect();
    let calls: Vec<Call> = places.iter().map(|at| calls[*at]).collect();
    match Search::new(&calls).run() {
        Verdict::Impossible(at) => Verdict::Impossible(places[at]),
        verdict => verdict,
    }
}

/// Whether a call can explain another one. A write of unknown outcome whose value nobody ever saw explains nothing, but
/// why a swap was refused; leaving it out spares the search all its possible places.
fn matters(calls: &[Call], at: usize) -> bool {
    let Call { act: Act::Write(to), outcome: Outcome::Unknown, .. } = calls[at] else { return true };
    calls.iter().any(|call| match call.act {
        Act::Read(seen) => seen == to,
        Act::Swap { from, .. } => from == to || call.outcome == Outcome::Refused,
        Act::Write(_) => false,
    })
}

/// The beginnings and ends of calls that are not placed yet, as a doubly linked list through `next` and `previous`.
/// Place 0 is the head; the end is 0 again.
struct Search<'a> {
    calls: &'a [Call],
    points: Vec<Point>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Place of the end of each call; zero for those without.
    ends: Vec<usize>,
    placed: Vec<u64>,
    seen: HashSet<(Vec<u64>, Value)>,
    /// Calls placed, in order, with their place in the list and the value before.
    stack: Vec<(usize, Value)>,
    /// Calls with a known outcome that are not placed.
    left: usize,
}

#[derive(Clone, Copy)]
struct Point {
    call: usize,
    begins: bool,
}

impl<'a> Search<'a> {
    fn new(calls: &'a [Call]) -> Self {
        let mut order: Vec<(u64, Point)> = Vec::new();
        for (call, Call { begun, ended, outcome, .. }) in calls.iter().enumerate() {
            order.push((*begun, Point { call, begins: true }));
            if *outcome != Outcome::Unknown {
                order.push((*ended, Point { call, begins: false }));
            }
        }
        // At the same moment beginnings come first: such calls may have overlapped.
        order.sort_by_key(|(at, point)| (*at, !point.begins));
        let head = Point { call: usize::MAX, begins: false };
        let points: Vec<Point> =
            std::iter::once(head).chain(order.into_iter().map(|(_, point)| point)).collect();
        let count = points.len();
        let mut ends = vec![0; calls.len()];
        for (place, point) in points.iter().enumerate().skip(1).filter(|(_, point)| !point.begins) {
            ends[point.call] = place;
        }
        Self {
            calls,
            next: (0..count).map(|place| (place + 1) % count).collect(),
            previous: (0..count).map(|place| (place + count - 1) % count).collect(),
            placed: vec![0; calls.len().div_ceil(64)],
            left: ends.iter().filter(|end| **end != 0).count(),
            points,
            ends,
            seen: HashSet::new(),
            stack: Vec::new(),
        }
    }

    fn run(mut self) -> Verdict {
        let (mut value, mut place) = (0, self.next[0]);
        let mut farthest = (0, 0);
        for _ in 0..STEPS_MAX {
            if self.left == 0 {
                return Verdict::Linearizable;
            }
            let point = self.points[place];
            if place != 0 && point.begins {
                if let Some(after) =
                    self.calls[point.call].apply(value).filter(|after| self.is_new(point.call, *after))
                {
                    self.place(place, value);
                    (value, place) = (after, self.next[0]);
                } else {
                    place = self.next[place];
                }
                continue;
            }
            // A call ended that could not be placed before: what was placed last was wrong.
            if place != 0 && self.stack.len() >= farthest.0 {
                farthest = (self.stack.len(), point.call);
            }
            let Some((last, before)) = self.stack.pop() else { return Verdict::Impossible(farthest.1) };
            self.take_back(last);
            (value, place) = (before, self.next[last]);
        }
        Verdict::Undecided
    }

    /// Whether placing the call leads where the search has not been.
    fn is_new(&mut self, call: usize, after: Value) -> bool {
        let mut placed = self.placed.clone();
        placed[call / 64] |= 1 << (call % 64);
        self.seen.insert((placed, after))
    }

    fn place(&mut self, place: usize, before: Value) {
        let call = self.points[place].call;
        self.placed[call / 64] |= 1 << (call % 64);
        self.unlink(place);
        if self.ends[call] != 0 {
            self.unlink(self.ends[call]);
            self.left -= 1;
        }
        self.stack.push((place, before));
    }

    fn take_back(&mut self, place: usize) {
        let call = self.points[place].call;
        self.placed[call / 64] &= !(1 << (call % 64));
        if self.ends[call] != 0 {
            self.link(self.ends[call]);
            self.left += 1;
        }
        self.link(place);
    }

    fn unlink(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        (self.next[previous], self.previous[next]) = (next, previous);
    }

    fn link(&mut self, place: usize) {
        let (previous, next) = (self.previous[place], self.next[place]);
        (self.next[previous], self.previous[next]) = (place, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(act: Act, outcome: Outcome, begun: u64, ended: u64) -> Call {
        Call { act, outcome, begun, ended }
    }

    fn read(seen: Value, begun: u64, ended: u64) -> Call {
        call(Act::Read(seen), Outcome::Done, begun, ended)
    }

    fn write(to: Value, begun: u64, ended: u64) -> Call {
        call(Act::Write(to), Outcome::Done, begun, ended)
    }

    fn lost(to: Value, begun: u64) -> Call {
        call(Act::Write(to), Outcome::Unknown, begun, u64::MAX)
    }

    fn swap(from: Value, to: Value, outcome: Outcome, begun: u64, ended: u64) -> Call {
        call(Act::Swap { from, to }, outcome, begun, ended)
    }

    #[test]
    fn histories_that_one_key_can_give_are_accepted() {
        let histories = [
            vec![],
            vec![read(0, 1, 2)],
            vec![write(1, 1, 2), read(1, 3, 4)],
            // Overlapping: the read may come before or after the write.
            vec![write(1, 1, 10), read(0, 2, 3), read(1, 4, 5)],
            // Two writes at once, read in either order.
            vec![write(1, 1, 10), write(2, 1, 10), read(2, 11, 12)],
            vec![write(1, 1, 10), write(2, 1, 10), read(1, 11, 12)],
            // Unknown: it happened late, ...
            vec![lost(1, 1), write(2, 2, 3), read(2, 4, 5), read(1, 6, 7)],
            // ... or never.
            vec![lost(1, 1), write(2, 2, 3), read(2, 4, 5)],
            vec![write(1, 1, 2), swap(1, 2, Outcome::Done, 3, 4), swap(1, 3, Outcome::Refused, 5, 6)],
            // Only the lost write explains why the swap was refused.
            vec![write(1, 1, 2), lost(5, 3), swap(1, 2, Outcome::Refused, 4, 6), write(3, 7, 8)],
            vec![write(1, 1, 2), swap(1, 2, Outcome::Unknown, 3, u64::MAX), read(1, 4, 5), read(2, 6, 7)],
        ];
        for history in histories {
            assert_eq!(check(&history), Verdict::Linearizable, "{history:?}");
        }
    }

    #[test]
    fn histories_that_no_key_can_give_are_found_and_the_call_named() {
        let histories = [
            // Nobody wrote it.
            (vec![read(1, 1, 2)], 0),
            // Stale.
            (vec![write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)], 2),
            // Back in time.
            (vec![write(1, 1, 20), read(1, 2, 3), read(0, 4, 5)], 2),
            // Two readers see two orders of two writes.
            (vec![write(1, 1, 9), write(2, 1, 9), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)], 4),
            // An acknowledged write is lost.
            (vec![write(1, 1, 2), read(0, 3, 4)], 1),
            // A swap without its value, one that was refused though it had it, and one done twice.
            (vec![write(1, 1, 2), swap(2, 3, Outcome::Done, 3, 4)], 1),
            (vec![write(1, 1, 2), swap(1, 3, Outcome::Refused, 3, 4)], 1),
            (vec![write(1, 1, 2), swap(1, 2, Outcome::Done, 3, 9), swap(1, 3, Outcome::Done, 3, 10)], 1),
            // An unknown write cannot happen before it began.
            (vec![read(1, 1, 2), lost(1, 3)], 0),
            // Nor twice.
            (vec![lost(1, 1), write(2, 2, 3), read(1, 4, 5), write(3, 6, 7), read(1, 8, 9)], 4),
        ];
        for (history, culprit) in histories {
            assert_eq!(check(&history), Verdict::Impossible(culprit), "{history:?}");
        }
    }

    #[test]
    fn long_histories_with_many_unknown_outcomes_are_decided() {
        let mut history = Vec::new();
        for round in 0..400 {
            let at = round * 100;
            history
                .extend((0..4).map(|client| write(round * 10 + client + 1, at + client, at + 50 + client)));
            if round % 10 == 0 {
                history.push(lost(1_000_000 + round, at + 20));
            }
            history.push(read(round * 10 + 4, at + 60, at + 70));
        }
        assert_eq!(check(&history), Verdict::Linearizable);
        history.push(read(1, 1_000_000, 1_000_001));
        assert!(matches!(check(&history), Verdict::Impossible(_)));
    }
}
