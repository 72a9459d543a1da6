//! Watchers that go on at their place on another member whenever theirs is gone: they must see every change once and
//! in order, or be told that they cannot.

use std::task::{Context, Poll, Waker};

use super::oracle::{Check, Oracle, Violation, violation};
use crate::state::{KeyRange, Revision};
use crate::store::Store;
use crate::watch::{Watch, WatchEnd};

pub(super) struct Watcher {
    range: KeyRange,
    /// The member and its life.
    pub(super) at: usize,
    life: u64,
    watch: Option<Watch>,
    /// Everything up to here was seen.
    position: Revision,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// So many changes.
    Saw(u64),
    /// It has to begin elsewhere or anew.
    Ended,
    /// The history behind its place is gone; it read the state and goes on from there.
    Compacted,
}

/// Batches taken at a look, at most.
const BATCHES_MAX: usize = 8;

impl Watcher {
    pub(super) fn new(range: KeyRange, at: usize) -> Self {
        Self { range, at, life: 0, watch: None, position: Revision::FIRST }
    }

    /// Takes what there is on this member in this life.
    pub(super) fn look(&mut self, store: &Store, life: u64, oracle: &Oracle) -> Result<Look, Violation> {
        if self.life != life || self.watch.is_none() {
            self.life = life;
            match store.watch(self.range.clone(), self.position) {
                Ok(watch) => self.watch = Some(watch),
                Err(WatchEnd::Closed) => return Ok(Look::Ended),
                Err(_) => return Ok(self.begin_anew(store)),
            }
        }
        self.check_progress(oracle)?;
        let mut seen = 0;
        for _ in 0..BATCHES_MAX {
            let watch = self.watch.as_mut().expect("it was made");
            let next = std::pin::pin!(watch.next()).poll(&mut Context::from_waker(Waker::noop()));
            match next {
                Poll::Pending => break,
                Poll::Ready(Ok(batch)) => {
                    let last = batch.last().map_or(self.position, |event| event.revision);
                    let happened = oracle.changes(&self.range, self.position, last);
                    if happened.is_some_and(|happened| !happened.eq(batch.iter())) {
                        violation!(
                            "a watch from {} on shows {batch:?}, which is not what happened",
                            self.position
                        );
                    }
                    seen += batch.len() as u64;
                    self.position = last;
                }
                Poll::Ready(Err(WatchEnd::Closed)) => {
                    self.watch = None;
                    return Ok(Look::Ended);
                }
                Poll::Ready(Err(_)) => return Ok(self.begin_anew(store)),
            }
        }
        self.check_progress(oracle)?;
        Ok(Look::Saw(seen))
    }

    /// Whether it could go on at its place on this store.
    pub(super) fn goes_on(&self, store: &Store) -> bool {
        store.watch(self.range.clone(), self.position).is_ok()
    }

    pub(super) fn leave(&mut self, at: usize) {
        self.at = at;
        self.watch = None;
    }

    /// Reads the state and watches from its revision, as a client does that was told that its place is gone.
    fn begin_anew(&mut self, store: &Store) -> Look {
        self.watch = None;
        let revision = store.snapshot().revision();
        if revision < self.position {
            // This member lags behind: a client would read from another one.
            return Look::Ended;
        }
        self.position = revision;
        Look::Compacted
    }

    /// What a watch claims to have shown, it has shown.
    fn check_progress(&mut self, oracle: &Oracle) -> Check {
        let Some(watch) = &self.watch else { return Ok(()) };
        let progress = watch.progress();
        let missed =
            oracle.changes(&self.range, self.position, progress).and_then(|mut missed| missed.next());
        if let Some(missed) = missed {
            violation!("a watch claims progress {progress} and has not shown {missed:?}");
        }
        self.position = self.position.max(progress);
        Ok(())
    }
}
