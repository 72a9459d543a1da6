//! Watches and past states against a model of what they must see.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::command::{Op, Txn};
use crate::machine::Machine;

const WIDE: Limits =
    Limits { window: Duration::from_secs(300), events_max: usize::MAX, bytes_max: usize::MAX };

/// A machine that publishes into a history.
struct Source {
    machine: Machine,
    history: History,
    now: Duration,
}

impl Source {
    fn new(limits: Limits) -> Self {
        let machine = Machine::new();
        let history = History::new(machine.snapshot(), limits);
        Self { machine, history, now: Duration::ZERO }
    }

    fn commit(&mut self, txns: Vec<Txn>) -> Vec<Arc<Event>> {
        let commits: Vec<Commit> =
            txns.into_iter().filter_map(|txn| Commit::of(self.machine.apply(txn, 1))).collect();
        let events = commits.iter().flat_map(|commit| commit.events.clone()).collect();
        self.history.publish(commits, self.machine.snapshot(), self.now).notify();
        events
    }

    fn put(&mut self, key: &str) {
        self.commit(vec![Txn::of(vec![put(key)])]);
    }
}

fn put(key: &str) -> Op {
    Op::Put(Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"value"))
}

fn keys(read: Read) -> Vec<String> {
    match read {
        Read::Batch(events) => {
            events.iter().map(|event| String::from_utf8_lossy(&event.key).into_owned()).collect()
        }
        Read::Nothing => Vec::new(),
        Read::Again => panic!("there is nothing far back"),
        Read::End(end) => panic!("{end}"),
    }
}

#[test]
fn a_watcher_sees_its_range_from_its_revision_on() {
    let cases = [
        (KeyRange::prefix("/a/"), 1, vec!["/a/1", "/a/2"]),
        (KeyRange::prefix("/a/"), 2, vec!["/a/2"]),
        (KeyRange::prefix("/a/"), 4, vec![]),
        (KeyRange::key("/a/2"), 1, vec!["/a/2"]),
        (KeyRange::prefix(""), 2, vec!["/b/1", "/a/2"]),
        (KeyRange { start: "/a/2".into(), end: Some("/b/1".into()) }, 1, vec!["/a/2"]),
        (KeyRange { start: "/a/2".into(), end: None }, 1, vec!["/b/1", "/a/2"]),
        (KeyRange::all(), 99, vec![]),
    ];
    for (range, from, expected) in cases {
        let mut source = Source::new(WIDE);
        ["/a/1", "/b/1", "/a/2"].into_iter().for_each(|key| source.put(key));
        let mut cursor = source.history.subscribe(range.clone(), Revision(from)).expect("it is kept");
        assert_eq!(keys(source.history.read(&mut cursor)), expected, "{range:?} after {from}");
        assert!(keys(source.history.read(&mut cursor)).is_empty(), "nothing twice");
    }
}

#[test]
fn a_watcher_from_a_future_revision_does_not_see_what_comes_before_it() {
    let mut source = Source::new(WIDE);
    let mut cursor = source.history.subscribe(KeyRange::all(), Revision(3)).expect("it is kept");
    (0..4).for_each(|number| source.put(&format!("/{number}")));
    assert_eq!(keys(source.history.read(&mut cursor)), ["/2", "/3"]);
}

#[test]
fn progress_follows_foreign_changes_but_not_past_what_is_unread() {
    let mut source = Source::new(WIDE);
    let mut cursor = source.history.subscribe(KeyRange::prefix("/a/"), Revision::FIRST).expect("it is kept");
    source.put("/b/1");
    assert_eq!(source.history.progress(&cursor), Revision(2));
    source.put("/a/1");
    source.put("/b/2");
    assert_eq!(source.history.progress(&cursor), Revision(2), "/a/1 is at 3 and not handed out");
    assert_eq!(keys(source.history.read(&mut cursor)), ["/a/1"]);
    assert_eq!(source.history.progress(&cursor), Revision(4));
}

#[test]
fn only_watchers_of_the_key_are_woken() {
    let source = Source::new(WIDE);
    let ranges = ["/a/", "/a/b", "/b/", ""]
        .map(KeyRange::prefix)
        .into_iter()
        .chain([KeyRange::key("/a/b"), KeyRange::key("/a")]);
    for range in ranges {
        source.history.subscribe(range, Revision::FIRST).expect("it is kept");
    }
    let events =
        vec![Arc::new(Event { key: "/a/b".into(), revision: Revision(2), entry: None, previous: None })];
    let mut inner = source.history.lock();
    let mut touched = Touched::after(Revision::FIRST);
    inner.push(Commit { revision: Revision(2), events: events.clone() }, Duration::ZERO, &mut touched);
    inner.push(Commit { revision: Revision(3), events }, Duration::ZERO, &mut touched);
    drop(inner);
    assert_eq!(touched.topics.len(), 4, "/a/, /a/b, everything, and the key itself; each once");
}

#[test]
fn history_ends_by_age_by_count_and_by_bytes() {
    let by_age = Limits { window: Duration::from_secs(10), ..WIDE };
    let by_count = Limits { events_max: 3, ..WIDE };
    let by_bytes = Limits { bytes_max: 3 * 270, ..WIDE };
    for (limits, what) in [(by_age, "age"), (by_count, "count"), (by_bytes, "bytes")] {
        let mut source = Source::new(limits);
        for number in 0..10 {
            source.now = Duration::from_secs(4 * number);
            source.put(&format!("/{number}"));
        }
        let floor = source.history.sizes().floor;
        assert_eq!(floor, Revision(8), "{what}");
        let early = source.history.subscribe(KeyRange::all(), Revision(7)).err().expect("it is gone");
        assert_eq!(early, WatchEnd::Compacted { from: Revision(7), oldest: floor }, "{what}");
        assert_eq!(
            source.history.snapshot_at(Revision(7)).err(),
            Some(NoState::Compacted { oldest: floor }),
            "{what}"
        );
        let state = source.history.snapshot_at(floor).expect("the oldest state is kept");
        assert_eq!((state.revision, state.map.len()), (floor, 7), "{what}");
    }
}

#[test]
fn an_old_history_expires_though_nothing_is_written() {
    let mut source = Source::new(Limits { window: Duration::from_secs(10), ..WIDE });
    (0..5).for_each(|number| source.put(&format!("/{number}")));
    source.history.expire(Duration::from_secs(11));
    assert_eq!(source.history.sizes().events, 1);
}

#[test]
fn a_slow_watcher_is_cut_off_and_an_idle_one_is_not() {
    let mut source = Source::new(Limits { events_max: 5, ..WIDE });
    let mut slow = source.history.subscribe(KeyRange::prefix("/a/"), Revision::FIRST).expect("it is kept");
    let mut idle = source.history.subscribe(KeyRange::prefix("/b/"), Revision::FIRST).expect("it is kept");
    (0..20).for_each(|number| source.put(&format!("/a/{number}")));
    let end = WatchEnd::TooSlow { after: Revision::FIRST };
    assert!(matches!(source.history.read(&mut slow), Read::End(found) if found == end));
    assert!(keys(source.history.read(&mut idle)).is_empty());
    source.put("/b/1");
    assert_eq!(keys(source.history.read(&mut idle)), ["/b/1"]);
}

#[test]
fn a_closed_history_gives_what_it_has_and_ends() {
    let mut source = Source::new(WIDE);
    let mut cursor = source.history.subscribe(KeyRange::all(), Revision::FIRST).expect("it is kept");
    source.put("/a");
    source.history.close();
    assert_eq!(keys(source.history.read(&mut cursor)), ["/a"]);
    assert!(matches!(source.history.read(&mut cursor), Read::End(WatchEnd::Closed)));
    assert!(matches!(source.history.subscribe(KeyRange::all(), Revision(2)), Err(WatchEnd::Closed)));
}

#[test]
fn topics_go_with_their_last_watcher() {
    let source = Source::new(WIDE);
    let ranges = [KeyRange::prefix("/a/"), KeyRange::key("/a/1"), KeyRange { start: "a".into(), end: None }];
    for _ in 0..3 {
        let cursors: Vec<Cursor> = ranges
            .iter()
            .chain(&ranges)
            .map(|range| source.history.subscribe(range.clone(), Revision::FIRST).expect("it is kept"))
            .collect();
        assert_eq!(source.history.sizes().watchers, 6);
        cursors.iter().for_each(|cursor| source.history.unsubscribe(cursor));
        let inner = source.history.lock();
        assert_eq!((inner.topics.watchers(), inner.topics.indexed()), (0, 0));
    }
}

/// A watcher and what it must see: everything in its range after where it began.
struct Watcher {
    cursor: Cursor,
    /// The latest revision when it began.
    began: Revision,
    expected: VecDeque<Arc<Event>>,
    progress: Revision,
}

fn any_range(random: &mut StdRng) -> KeyRange {
    match random.random_range(0..5) {
        0 => KeyRange::all(),
        1 => KeyRange::key(any_key(random)),
        2 => KeyRange { start: any_key(random).into(), end: Some(any_key(random).into()) },
        _ => KeyRange::prefix(format!("/{}", random.random_range(0..4))),
    }
}

fn any_key(random: &mut StdRng) -> String {
    format!("/{}/{}", random.random_range(0..4), random.random_range(0..5))
}

fn any_txns(random: &mut StdRng) -> Vec<Txn> {
    let txn = |random: &mut StdRng| {
        let mut ops = BTreeMap::new();
        for _ in 0..random.random_range(0..4) {
            let key = any_key(random);
            let op = if random.random_bool(0.3) { Op::Delete(key.clone().into()) } else { put(&key) };
            ops.insert(key, op);
        }
        Txn::of(ops.into_values().collect())
    };
    (0..random.random_range(1..5)).map(|_| txn(random)).collect()
}

/// Reads once and checks against what is expected; says whether the watcher goes on.
fn read_and_check(source: &Source, watcher: &mut Watcher, seed: u64) -> bool {
    let floor = source.history.sizes().floor;
    let progress = source.history.progress(&watcher.cursor);
    assert!(progress >= watcher.progress, "seed {seed}: progress went back");
    let unread = watcher.expected.front().map(|event| event.revision);
    assert!(unread.is_none_or(|unread| unread > progress), "seed {seed}: progress passed what is unread");
    watcher.progress = progress;
    match source.history.read(&mut watcher.cursor) {
        Read::Batch(events) => {
            for event in events {
                assert_eq!(watcher.expected.pop_front().as_ref(), Some(&event), "seed {seed}");
            }
            true
        }
        Read::Nothing => {
            assert!(watcher.expected.is_empty(), "seed {seed}: it was kept from {:?}", watcher.expected);
            true
        }
        Read::Again => true,
        Read::End(WatchEnd::TooSlow { after }) => {
            // Who begins in the past and reads too late is cut off without a look at what it has missed.
            let late_start = after < watcher.began && after < floor;
            let lost = unread.is_some_and(|unread| unread > after && unread <= floor);
            assert!(lost || late_start, "seed {seed}: cut off too early");
            false
        }
        Read::End(end) => panic!("seed {seed}: {end}"),
    }
}

#[test]
fn every_watcher_sees_every_change_once_in_order_or_is_cut_off() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let events_max = [20, 200, 100_000][random.random_range(0..3)];
        let mut source = Source::new(Limits { events_max, ..WIDE });
        let (mut log, mut states) = (Vec::<Arc<Event>>::new(), vec![source.machine.snapshot()]);
        let mut watchers: Vec<Watcher> = Vec::new();
        for _ in 0..300 {
            match random.random_range(0..10) {
                0..4 => {
                    for txn in any_txns(&mut random) {
                        let events = source.commit(vec![txn]);
                        for watcher in &mut watchers {
                            let seen =
                                events.iter().filter(|event| watcher.cursor.range.contains(&event.key));
                            watcher.expected.extend(seen.cloned());
                        }
                        if !events.is_empty() {
                            states.push(source.machine.snapshot());
                        }
                        log.extend(events);
                    }
                }
                4..6 => {
                    let range = any_range(&mut random);
                    let latest = source.machine.revision().0;
                    let from = Revision(random.random_range(latest.saturating_sub(60).max(1)..=latest));
                    match source.history.subscribe(range.clone(), from) {
                        Ok(cursor) => {
                            let missed = log
                                .iter()
                                .filter(|event| event.revision > from && range.contains(&event.key));
                            let expected = missed.cloned().collect();
                            let began = Revision(latest);
                            watchers.push(Watcher { cursor, began, expected, progress: Revision(0) });
                        }
                        Err(end) => {
                            let oldest = source.history.sizes().floor;
                            assert_eq!(end, WatchEnd::Compacted { from, oldest });
                            assert!(from < oldest);
                        }
                    }
                }
                6..9 if !watchers.is_empty() => {
                    let at = random.random_range(0..watchers.len());
                    if !read_and_check(&source, &mut watchers[at], seed) {
                        let gone = watchers.swap_remove(at);
                        source.history.unsubscribe(&gone.cursor);
                    }
                }
                _ => {
                    let revision = Revision(random.random_range(1..=source.machine.revision().0 + 1));
                    match source.history.snapshot_at(revision) {
                        Ok(state) => {
                            let expected = &states[(revision.0 - 1) as usize];
                            assert!(state.map == expected.map && state.revision == revision, "seed {seed}");
                        }
                        Err(NoState::Compacted { oldest }) => assert!(revision < oldest, "seed {seed}"),
                        Err(NoState::Future { latest }) => assert!(revision > latest, "seed {seed}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_watcher_far_behind_its_topic_reads_on_without_a_gap() {
    let mut source = Source::new(WIDE);
    let mut cursor = source.history.subscribe(KeyRange::prefix("/a"), Revision::FIRST).expect("it is kept");
    let count = 3 * 4_096;
    for number in 0..count {
        source.put(if number % 3 == 0 { "/a" } else { "/b" });
    }
    for number in 0..2 * 4_096 {
        source.put(if number % 2 == 0 { "/a" } else { "/b" });
    }
    let mut seen = Vec::new();
    loop {
        match source.history.read(&mut cursor) {
            Read::Batch(events) => seen.extend(events.iter().map(|event| event.revision)),
            Read::Again => {}
            Read::Nothing => break,
            Read::End(end) => panic!("{end}"),
        }
    }
    assert_eq!(seen.len(), 4_096 + 4_096);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn a_waiting_watcher_is_woken_by_a_change_of_its_range() {
    let source = Source::new(WIDE);
    let cursor = source.history.subscribe(KeyRange::prefix("/a"), Revision::FIRST).expect("it is kept");
    let changed = cursor.changed();
    let mut woken = std::pin::pin!(changed.notified());
    woken.as_mut().enable();
    let mut source = source;
    source.put("/b");
    assert!(futures_now(&mut woken).is_none(), "not by another");
    source.put("/a");
    assert!(futures_now(&mut woken).is_some());
}

/// Polls once.
fn futures_now<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_jump_ends_those_who_missed_something_and_nobody_else() {
    let mut source = Source::new(WIDE);
    let (mut elsewhere, now) = (Source::new(WIDE), source.machine.revision());
    let mut behind = source.history.subscribe(KeyRange::prefix("/a"), now).expect("it is kept");
    let mut ahead = source.history.subscribe(KeyRange::prefix("/a"), Revision(4)).expect("it is kept");
    (0..3).for_each(|number| elsewhere.put(&format!("/b/{number}")));
    source.machine = elsewhere.machine;
    source.history.jump(source.machine.snapshot()).notify();
    let Read::End(end) = source.history.read(&mut behind) else { panic!("it missed something") };
    assert_eq!(end, WatchEnd::Compacted { from: now, oldest: Revision(4) });
    assert!(keys(source.history.read(&mut ahead)).is_empty());
    assert_eq!(source.history.progress(&ahead), Revision(4));
    source.put("/a/1");
    assert_eq!(keys(source.history.read(&mut ahead)), ["/a/1"]);
    assert_eq!(
        source.history.snapshot_at(Revision(2)).err(),
        Some(NoState::Compacted { oldest: Revision(4) })
    );
    // A jump over nothing forgets nothing.
    source.history.jump(source.machine.snapshot()).notify();
    assert!(source.history.subscribe(KeyRange::all(), Revision(4)).is_ok());
}
