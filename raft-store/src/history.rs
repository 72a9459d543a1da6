//! The committed changes of the last minutes, shared by all watchers, and the way back to a past state.
//!
//! There is one ring of commits, one per revision without gaps, bounded by age, by events and by bytes. A watcher
//! is a [`Cursor`] into it and owns no queue. Watchers of the same range share a *topic* ([`topics`]): it lists the
//! revisions that touched the range, so a write wakes the watchers of ranges that hold its key and no others, and
//! a watcher that slept through a million foreign changes does not walk them.
//!
//! Invariants: `commits[i]` is revision `floor + 1 + i`; `base` is the state at `latest()`; both only grow. A
//! watcher gets every event of its range after its position, or an end that says it will not.

mod topics;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::machine::Applied;
use crate::mutant::{self, Mutant};
use crate::state::{KeyRange, Revision, Snapshot};
use crate::watch::{Event, WatchEnd};
use topics::{TopicId, Topics, Touched};

/// Events handed out at once, about: bounds the time that one reader holds the lock.
const BATCH_EVENTS: usize = 256;

/// Commits, and their events, looked at per turn by a watcher that begins in the past and by a way back to a past
/// state, for the same reason.
const SCAN_COMMITS: usize = 4_096;
const SCAN_EVENTS: usize = 16_384;

/// Past states kept for the next page of the same list.
const PAST_STATES: usize = 8;

/// How much history is kept: the least of the three counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) window: Duration,
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
}

/// The changes of one revision.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Arc<Event>>,
}

impl Commit {
    /// What a transaction changed, if anything.
    pub(crate) fn of(applied: Applied) -> Option<Self> {
        let Applied { response, events } = applied;
        (!events.is_empty()).then_some(Self { revision: response.revision, events })
    }
}

pub(crate) struct History {
    inner: Mutex<Inner>,
}

/// Watchers to be woken, and what the history has forgotten: it is freed with this, outside the lock, because these
/// may be the last owners of many values.
#[must_use]
pub(crate) struct Wake {
    touched: Vec<Arc<Notify>>,
    _forgotten: (Snapshot, Vec<Kept>),
}

impl Wake {
    pub(crate) fn notify(self) {
        self.touched.iter().for_each(|changed| changed.notify_waiters());
    }
}

/// A watcher's place: everything up to `position` was handed out.
pub(crate) struct Cursor {
    topic: TopicId,
    range: KeyRange,
    position: Revision,
    /// The greatest progress told so far: when the topic forgets, less can be known than before.
    told: AtomicU64,
    changed: Arc<Notify>,
}

impl Cursor {
    /// Notified when a change of the range is published.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }
}

/// What a watcher finds at its place.
pub(crate) enum Read {
    Batch(Vec<Arc<Event>>),
    /// Nothing yet; wait for a change.
    Nothing,
    /// Nothing in the part looked at; there is more.
    Again,
    End(WatchEnd),
}

/// Why there is no state at a past revision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoState {
    Compacted { oldest: Revision },
    Future { latest: Revision },
}

/// Sizes for metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) floor: Revision,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) watchers: usize,
}

struct Inner {
    limits: Limits,
    floor: Revision,
    commits: VecDeque<Kept>,
    events: usize,
    bytes: usize,
    topics: Topics,
    base: Snapshot,
    past: VecDeque<Snapshot>,
    closed: bool,
    /// The revision at which a state took the place of the changes before it.
    jumped_to: Revision,
}

struct Kept {
    at: Duration,
    bytes: usize,
    events: Box<[Arc<Event>]>,
}

impl History {
    /// An empty history that begins at the state `base`.
    pub(crate) fn new(base: Snapshot, limits: Limits) -> Self {
        let inner = Inner {
            limits,
            floor: base.revision,
            commits: VecDeque::new(),
            events: 0,
            bytes: 0,
            topics: Topics::default(),
            base,
            past: VecDeque::new(),
            closed: false,
            jumped_to: Revision(0),
        };
        Self { inner: Mutex::new(inner) }
    }

    /// Adds the commits that lead to the state `base`; the watchers they concern are woken by what it returns. `now` is
    /// the time since some fixed moment.
    pub(crate) fn publish(&self, commits: Vec<Commit>, base: Snapshot, now: Duration) -> Wake {
        let mut inner = self.lock();
        let mut touched = Touched::after(inner.latest());
        for commit in commits {
            inner.push(commit, now, &mut touched);
        }
        assert_eq!(inner.latest(), base.revision, "history and state moved apart");
        let old_base = std::mem::replace(&mut inner.base, base);
        let forgotten = inner.trim(now);
        drop(inner);
        Wake { touched: touched.topics, _forgotten: (old_base, forgotten) }
    }

    /// The history begins anew at the state `base`: of what led to it, nothing is known here. Nothing is forgotten when
    /// nothing lies between.
    pub(crate) fn jump(&self, base: Snapshot) -> Wake {
        let mut inner = self.lock();
        let (mut touched, mut forgotten) = (Vec::new(), Vec::new());
        if base.revision > inner.latest() {
            forgotten.extend(inner.commits.drain(..));
            (inner.events, inner.bytes) = (0, 0);
            (inner.floor, inner.jumped_to) = (base.revision, base.revision);
            inner.past.clear();
            touched = inner.topics.begin_at(base.revision);
        }
        let old_base = std::mem::replace(&mut inner.base, base);
        drop(inner);
        Wake { touched, _forgotten: (old_base, forgotten) }
    }

    /// Forgets what is older than the window; `publish` does it too, this is for quiet times.
    pub(crate) fn expire(&self, now: Duration) {
        let forgotten = self.lock().trim(now);
        drop(forgotten);
    }

    /// No more changes will come: watchers end when they have taken what there is.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let all = inner.topics.wake_all();
        drop(inner);
        all.iter().for_each(|changed| changed.notify_waiters());
    }

    pub(crate) fn subscribe(&self, range: KeyRange, from: Revision) -> Result<Cursor, WatchEnd> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(WatchEnd::Closed);
        }
        if from < inner.floor && !mutant::planted(Mutant::WatchGap) {
            return Err(WatchEnd::Compacted { from, oldest: inner.floor });
        }
        let latest = inner.latest();
        let (topic, changed) = inner.topics.join(&range, latest);
        let from = Revision(from.0 - u64::from(mutant::planted(Mutant::WatchRepeats)));
        Ok(Cursor { topic, range, position: from, told: AtomicU64::new(0), changed })
    }

    pub(crate) fn unsubscribe(&self, cursor: &Cursor) {
        self.lock().topics.leave(cursor.topic, &cursor.range);
    }

    pub(crate) fn read(&self, cursor: &mut Cursor) -> Read {
        self.lock().read(cursor)
    }

    pub(crate) fn progress(&self, cursor: &Cursor) -> Revision {
        let known = self.lock().progress(cursor);
        Revision(cursor.told.fetch_max(known.0, Ordering::Relaxed).max(known.0))
    }

    /// The state at `revision`: walks back from the nearest later state that is at hand, and keeps what it finds for
    /// the next page.
    pub(crate) fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, NoState> {
        let mut state = self.lock().nearest(revision)?;
        while state.revision > revision {
            let undo = self.lock().commits_before(&state, revision)?;
            for event in &undo {
                match &event.previous {
                    Some(entry) => state.map.insert(event.key.clone(), entry.clone()),
                    None => state.map.remove(&event.key),
                };
            }
            state.revision = undo.last().map_or(revision, |event| Revision(event.revision.0 - 1));
            if state.revision == revision {
                self.lock().keep(state.clone());
            }
        }
        Ok(state)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let inner = self.lock();
        Sizes {
            floor: inner.floor,
            events: inner.events,
            bytes: inner.bytes,
            watchers: inner.topics.watchers(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under the lock panics half-way except on a broken invariant, which ends the driver anyway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn latest(&self) -> Revision {
        Revision(self.floor.0 + self.commits.len() as u64)
    }

    fn push(&mut self, commit: Commit, now: Duration, touched: &mut Touched) {
        assert_eq!(commit.revision, self.latest().next(), "a revision was left out of the history");
        for event in &commit.events {
            self.topics.record(&event.key, commit.revision, self.floor, touched);
        }
        let bytes = commit.events.iter().map(|event| weight(event)).sum();
        self.events += commit.events.len();
        self.bytes += bytes;
        self.commits.push_back(Kept { at: now, bytes, events: commit.events.into() });
    }

    /// Takes out what exceeds the limits, except the newest commit: a watcher must have a chance to see it.
    fn trim(&mut self, now: Duration) -> Vec<Kept> {
        let mut forgotten = Vec::new();
        while self.commits.len() > 1 {
            let oldest = &self.commits[0];
            let expired = now.saturating_sub(oldest.at) > self.limits.window;
            let full = self.events > self.limits.events_max || self.bytes > self.limits.bytes_max;
            if !expired && !full {
                break;
            }
            self.events -= oldest.events.len();
            self.bytes -= oldest.bytes;
            self.floor = self.floor.next();
            forgotten.extend(self.commits.pop_front());
        }
        if !forgotten.is_empty() {
            let floor = self.floor;
            self.past.retain(|state| state.revision >= floor);
        }
        forgotten
    }

    /// The events of a revision above the floor.
    fn events_of(&self, revision: Revision) -> &[Arc<Event>] {
        assert!(
            revision > self.floor && revision <= self.latest(),
            "revision {revision} is not in the history"
        );
        &self.commits[(revision.0 - self.floor.0 - 1) as usize].events
    }

    fn read(&self, cursor: &mut Cursor) -> Read {
        let mut found = Vec::new();
        if mutant::planted(Mutant::WatchGap) {
            cursor.position = cursor.position.max(self.floor);
        }
        if cursor.position < self.topics.complete_from(cursor.topic) {
            if cursor.position < self.floor {
                return Read::End(self.lost(cursor.position));
            }
            self.scan(cursor, &mut found);
            if cursor.position < self.topics.complete_from(cursor.topic) {
                return if found.is_empty() { Read::Again } else { Read::Batch(found) };
            }
        }
        for revision in self.topics.revisions_after(cursor.topic, cursor.position) {
            if found.len() >= BATCH_EVENTS {
                break;
            }
            if revision <= self.floor {
                return Read::End(self.lost(cursor.position));
            }
            collect(self.events_of(revision), &cursor.range, &mut found);
            cursor.position = revision;
        }
        match (found.is_empty(), self.closed) {
            (false, _) => Read::Batch(found),
            (true, true) => Read::End(WatchEnd::Closed),
            (true, false) => Read::Nothing,
        }
    }

    /// Why a watcher at this place gets no more.
    fn lost(&self, position: Revision) -> WatchEnd {
        if position < self.jumped_to {
            return WatchEnd::Compacted { from: position, oldest: self.floor };
        }
        WatchEnd::TooSlow { after: position }
    }

    /// Walks the part of the history that the topic does not list, from the cursor on.
    fn scan(&self, cursor: &mut Cursor, found: &mut Vec<Arc<Event>>) {
        let end = self.topics.complete_from(cursor.topic);
        let mut looked_at = 0;
        for _ in 0..SCAN_COMMITS {
            if cursor.position >= end || found.len() >= BATCH_EVENTS || looked_at >= SCAN_EVENTS {
                break;
            }
            cursor.position = cursor.position.next();
            let events = self.events_of(cursor.position);
            looked_at += events.len();
            collect(events, &cursor.range, found);
        }
    }

    fn progress(&self, cursor: &Cursor) -> Revision {
        if mutant::planted(Mutant::WatchProgressAhead) {
            return self.latest();
        }
        if cursor.position < self.topics.complete_from(cursor.topic) {
            return cursor.position;
        }
        let pending = self.topics.revisions_after(cursor.topic, cursor.position).next();
        pending.map_or(self.latest(), |revision| Revision(revision.0 - 1))
    }

    /// The earliest state at hand that is not before `revision`.
    fn nearest(&self, revision: Revision) -> Result<Snapshot, NoState> {
        if revision > self.latest() {
            return Err(NoState::Future { latest: self.latest() });
        }
        if revision < self.floor {
            return Err(NoState::Compacted { oldest: self.floor });
        }
        let later = self.past.iter().filter(|state| state.revision >= revision);
        Ok(later.min_by_key(|state| state.revision).unwrap_or(&self.base).clone())
    }

    /// Events, newest first, of the last commits that lead to `state`, not further back than `revision`.
    fn commits_before(&self, state: &Snapshot, revision: Revision) -> Result<Vec<Arc<Event>>, NoState> {
        if revision < self.floor {
            return Err(NoState::Compacted { oldest: self.floor });
        }
        let mut events = Vec::new();
        for later in (revision.0 + 1..=state.revision.0).rev().take(SCAN_COMMITS) {
            events.extend(self.events_of(Revision(later)).iter().rev().cloned());
            if events.len() >= SCAN_EVENTS {
                break;
            }
        }
        Ok(events)
    }

    fn keep(&mut self, state: Snapshot) {
        if state.revision >= self.floor && self.past.iter().all(|kept| kept.revision != state.revision) {
            if self.past.len() == PAST_STATES {
                self.past.pop_front();
            }
            self.past.push_back(state);
        }
    }
}

fn collect(events: &[Arc<Event>], range: &KeyRange, found: &mut Vec<Arc<Event>>) {
    found.extend(events.iter().filter(|event| range.contains(&event.key)).cloned());
}

/// Memory that an event may hold on to: both values count, though they are often shared.
fn weight(event: &Event) -> usize {
    const FIXED_BYTES: usize = 256;
    let entries = [&event.entry, &event.previous];
    let values = entries.into_iter().flatten().map(|entry| entry.value.len());
    FIXED_BYTES + event.key.len() + values.sum::<usize>()
}

#[cfg(test)]
mod tests;
