//! Connections on which nobody has shown who they are. There is room for so many; beyond it the oldest one goes.
//!
//! A client that means well shows its certificate or its token within milliseconds, so that the oldest stranger is the
//! least likely to. A flood of connections that say nothing thus pushes out itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The strangers of one listener. Cloning costs a pointer.
#[derive(Clone)]
pub(super) struct Strangers {
    max: usize,
    /// By the order in which they came. Never held while anything waits or can panic.
    all: Arc<Mutex<Strange>>,
}

#[derive(Default)]
struct Strange {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

/// A connection that is counted as a stranger's until this is dropped.
pub(super) struct Stranger {
    strangers: Strangers,
    age: u64,
    /// Cancelled when its place is needed.
    pub(super) must_go: CancellationToken,
}

impl Strangers {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Strangers {
        Strangers { max, all: Arc::default() }
    }

    /// Lets one more in, for which the oldest may have to go.
    pub(super) fn enter(&self) -> Stranger {
        let must_go = CancellationToken::new();
        let mut all = self.lock();
        let age = all.next;
        all.next += 1;
        let oldest = (all.by_age.len() >= self.max).then(|| all.by_age.pop_first()).flatten();
        all.by_age.insert(age, must_go.clone());
        drop(all);
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        Stranger { strangers: self.clone(), age, must_go }
    }

    fn lock(&self) -> MutexGuard<'_, Strange> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.lock().by_age.remove(&self.age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_stranger_goes_and_who_became_known_stays() {
        let strangers = Strangers::new(2);
        let (known, first, second) = (strangers.enter(), strangers.enter(), strangers.enter());
        assert!(known.must_go.is_cancelled(), "it was the oldest of three");
        let known = (known, first.must_go.clone());
        drop(first);
        let third = strangers.enter();
        assert!(!second.must_go.is_cancelled() && !known.1.is_cancelled());
        let fourth = strangers.enter();
        assert!(second.must_go.is_cancelled() && !third.must_go.is_cancelled());
        drop((known.0, second, third, fourth));
        assert!(strangers.lock().by_age.is_empty());
    }
}
