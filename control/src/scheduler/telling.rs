//! Pods without a node are told why, at a pace: bindings, and what users ask for at the same time, come first.
//!
//! A cluster without room may refuse thousands of pods at once, and saying so costs two writes for each. Pure: the time
//! is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Refusal;
use crate::cache::ObjectKey;

/// So many are told at once after a quiet second ...
const BURST: usize = 256;
/// ... and one more each time this has passed: a thousand in a second.
const EVERY: Duration = Duration::from_millis(1);
/// While more wait, so many are told together, to share the store's batches.
const TOGETHER: usize = 32;

/// Why a pod has no node, and the node on which room is kept for it.
pub(super) type Reason = (Refusal, Option<Arc<str>>);

/// What pods have yet to be told.
#[derive(Debug)]
pub(super) struct Telling {
    /// Each key that `reasons` has, once, the oldest first.
    queue: VecDeque<ObjectKey>,
    reasons: HashMap<ObjectKey, Reason>,
    /// The time up to which the pace is used up; in the past, what may be told at once has gathered.
    spent: Instant,
}

impl Telling {
    /// Nobody has to be told anything.
    pub(super) fn new(now: Instant) -> Telling {
        Telling { queue: VecDeque::new(), reasons: HashMap::new(), spent: now - EVERY * BURST as u32 }
    }

    /// The pod has to be told this, and no longer what it was to be told before.
    pub(super) fn push(&mut self, key: ObjectKey, reason: Reason) {
        if self.reasons.insert(key.clone(), reason).is_none() {
            self.queue.push_back(key);
        }
    }

    /// When somebody can be told.
    pub(super) fn due(&self) -> Option<Instant> {
        let together = self.queue.len().min(TOGETHER) as u32;
        (together > 0).then(|| self.spent + EVERY * together)
    }

    /// Those that are to be told now; none before it is [due](Telling::due). Those that `waits` is `None` for need not
    /// be told any more.
    pub(super) fn take<T>(
        &mut self,
        now: Instant,
        waits: impl Fn(&ObjectKey) -> Option<T>,
    ) -> Vec<(T, Reason)> {
        let mut taken = Vec::new();
        if self.due().is_none_or(|due| due > now) {
            return taken;
        }
        self.spent = self.spent.max(now - EVERY * BURST as u32);
        while self.spent + EVERY <= now {
            let Some(key) = self.queue.pop_front() else { break };
            let Some(reason) = self.reasons.remove(&key) else { continue };
            if let Some(waiting) = waits(&key) {
                self.spent += EVERY;
                taken.push((waiting, reason));
            }
        }
        taken
    }
}
