//! The keys a runner has to look at: each once, not while it is being worked on, not before it is due, and not so often
//! that the others have to wait.
//!
//! Pure: the time and the revision that the cache has reached are arguments.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use isopod_raft_store::Revision;
use tokio::time::Instant;

use crate::cache::ObjectKey;

/// Wait after the first failure; each further one doubles it ...
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// ... up to this: a controller that fails for long tries again twice a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How the work on a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left to do, as far as was seen.
    Well,
    /// It has to be tried again after a backoff.
    Badly,
}

/// A queue of keys.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: HashMap<ObjectKey, Item>,
    ready: VecDeque<ObjectKey>,
    /// Keys that wait for the cache to reach a revision.
    held: BTreeSet<(Revision, ObjectKey)>,
    timers: BTreeSet<(Instant, ObjectKey)>,
    /// Keys that were worked on lately, and until when they rest.
    resting: BTreeSet<(Instant, ObjectKey)>,
    /// What the cache has reached.
    reached: Revision,
}

#[derive(Debug, Default)]
struct Item {
    place: Place,
    /// The key has to be looked at again after the work on it and the rest.
    again: bool,
    failures: u32,
    /// The revision that the cache must have reached before the key is looked at: that of its last writes.
    floor: Revision,
    timer: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Nowhere,
    Ready,
    Held,
    Working,
    Resting,
}

impl Queue {
    /// The key has to be looked at.
    pub(super) fn add(&mut self, key: ObjectKey) {
        let item = self.items.entry(key.clone()).or_default();
        match item.place {
            Place::Working | Place::Resting => item.again = true,
            Place::Ready | Place::Held => {}
            Place::Nowhere if item.floor > self.reached => {
                item.place = Place::Held;
                self.held.insert((item.floor, key));
            }
            Place::Nowhere => {
                item.place = Place::Ready;
                self.ready.push_back(key);
            }
        }
    }

    /// The key has to be looked at when `due` comes, if not before. A sooner time replaces a later one.
    pub(super) fn add_at(&mut self, key: ObjectKey, due: Instant) {
        let item = self.items.entry(key.clone()).or_default();
        if item.timer.is_some_and(|timer| timer <= due) {
            return;
        }
        if let Some(timer) = item.timer.replace(due) {
            self.timers.remove(&(timer, key.clone()));
        }
        self.timers.insert((due, key));
    }

    /// The cache has reached `revision`.
    pub(super) fn reach(&mut self, revision: Revision) {
        self.reached = revision;
        while let Some((floor, key)) = self.held.pop_first() {
            if floor > revision {
                self.held.insert((floor, key));
                break;
            }
            self.items.entry(key.clone()).or_default().place = Place::Ready;
            self.ready.push_back(key);
        }
    }

    /// The next key to work on, if one is due at `now`. It is worked on until [`Queue::done`].
    pub(super) fn take(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some((due, key)) = self.timers.first().filter(|(due, _)| *due <= now).cloned() {
            self.timers.remove(&(due, key.clone()));
            self.items.entry(key.clone()).or_default().timer = None;
            self.add(key);
        }
        while let Some((until, key)) = self.resting.first().filter(|(until, _)| *until <= now).cloned() {
            self.resting.remove(&(until, key.clone()));
            self.wake(&key);
        }
        let key = self.ready.pop_front()?;
        let item = self.items.entry(key.clone()).or_default();
        item.place = Place::Working;
        item.again = false;
        Some(key)
    }

    /// The work on a key has ended. What it wrote is seen once the cache has reached `floor`. It is not worked on again
    /// before it has had its `rest`.
    pub(super) fn done(
        &mut self,
        key: &ObjectKey,
        ended: Ended,
        floor: Revision,
        now: Instant,
        rest: Duration,
    ) {
        let Some(item) = self.items.get_mut(key) else { return };
        item.place = Place::Resting;
        item.floor = floor;
        match ended {
            Ended::Well => item.failures = 0,
            Ended::Badly => {
                // The backoff decides alone when the key comes again.
                item.again = false;
                let wait = backoff(item.failures);
                item.failures += 1;
                self.add_at(key.clone(), now + wait);
            }
        }
        if rest.is_zero() {
            self.wake(key);
        } else {
            self.resting.insert((now + rest, key.clone()));
        }
    }

    /// The key has rested.
    fn wake(&mut self, key: &ObjectKey) {
        let Some(item) = self.items.get_mut(key) else { return };
        item.place = Place::Nowhere;
        if std::mem::take(&mut item.again) {
            self.add(key.clone());
        }
        self.forget_if_idle(key);
    }

    /// When the next key is due by time alone.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let first = |times: &BTreeSet<(Instant, ObjectKey)>| times.first().map(|(due, _)| *due);
        [first(&self.timers), first(&self.resting)].into_iter().flatten().min()
    }

    fn forget_if_idle(&mut self, key: &ObjectKey) {
        let reached = self.reached;
        let is_idle = |item: &Item| {
            item.place == Place::Nowhere
                && item.timer.is_none()
                && item.failures == 0
                && item.floor <= reached
        };
        if self.items.get(key).is_some_and(is_idle) {
            self.items.remove(key);
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_REST: Duration = Duration::ZERO;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    fn taken(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.take(now)).map(|key| key.name().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_key_is_worked_on_once_however_often_it_is_added() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b", "a", "a"] {
            queue.add(key(name));
        }
        assert_eq!(taken(&mut queue, now), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_key_added_during_the_work_comes_again_after_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"));
        assert_eq!(taken(&mut queue, now), ["a"]);
        queue.add(key("a"));
        assert_eq!(queue.take(now), None, "two must not work on one key");
        queue.done(&key("a"), Ended::Well, Revision(0), now, NO_REST);
        assert_eq!(taken(&mut queue, now), ["a"]);
    }

    #[tokio::test]
    async fn a_key_waits_until_the_cache_shows_its_own_writes() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.reach(Revision(5));
        queue.add(key("a"));
        assert_eq!(taken(&mut queue, now), ["a"]);
        queue.done(&key("a"), Ended::Well, Revision(8), now, NO_REST);
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(taken(&mut queue, now), ["b"]);
        queue.reach(Revision(7));
        assert_eq!(queue.take(now), None);
        queue.reach(Revision(8));
        assert_eq!(taken(&mut queue, now), ["a"]);
    }

    #[tokio::test]
    async fn failures_wait_longer_each_time_and_success_forgets_them() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add(key("a"));
        for wait_ms in [5, 10, 20, 40] {
            assert_eq!(taken(&mut queue, now), ["a"]);
            queue.done(&key("a"), Ended::Badly, Revision(0), now, NO_REST);
            assert_eq!(queue.next_due(), Some(now + Duration::from_millis(wait_ms)));
            now += Duration::from_millis(wait_ms);
        }
        assert_eq!(taken(&mut queue, now), ["a"]);
        queue.done(&key("a"), Ended::Well, Revision(0), now, NO_REST);
        assert!(queue.items.is_empty(), "idle keys take no memory");
        assert_eq!(backoff(40), BACKOFF_MAX);
    }

    #[tokio::test]
    async fn the_sooner_of_two_times_counts() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let second = Duration::from_secs(1);
        queue.add_at(key("a"), now + 3 * second);
        queue.add_at(key("a"), now + second);
        queue.add_at(key("a"), now + 2 * second);
        assert_eq!(queue.next_due(), Some(now + second));
        assert_eq!(taken(&mut queue, now + second), ["a"]);
        assert_eq!(queue.next_due(), None);
    }
    #[tokio::test]
    async fn a_key_rests_after_the_work_on_it_while_others_go_on() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let rest = Duration::from_millis(50);
        queue.add(key("a"));
        assert_eq!(taken(&mut queue, now), ["a"]);
        queue.done(&key("a"), Ended::Well, Revision(0), now, rest);
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(taken(&mut queue, now), ["b"]);
        assert_eq!(queue.next_due(), Some(now + rest));
        assert_eq!(taken(&mut queue, now + rest), ["a"]);
        queue.done(&key("a"), Ended::Well, Revision(0), now, rest);
        queue.done(&key("b"), Ended::Well, Revision(0), now, NO_REST);
        assert_eq!(queue.take(now + rest), None);
        assert!(queue.items.is_empty() && queue.next_due().is_none(), "rested keys are forgotten");
    }
}
