//! What is held for each caller: bytes of bodies and of answers, and requests that last.
//!
//! Each caller may have a part of all there is, and those who run the cluster find some left when all others have
//! theirs.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::Level;

/// Accounts that are kept although nothing is held on them, so that a caller who comes again costs no allocation.
const IDLE_ACCOUNTS_MAX: usize = 4096;

/// Answers below this are not counted one by one: they are as small as what a connection costs anyway.
const COUNTED_BYTES_MIN: usize = 512;

/// How much may be held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of all callers.
    pub(super) bytes: usize,
    /// Bytes of one caller.
    pub(super) bytes_of_one: usize,
    /// Requests that last, of all callers.
    pub(super) lasting: usize,
    /// Requests that last, of one caller.
    pub(super) lasting_of_one: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { bytes: 256 << 20, bytes_of_one: 128 << 20, lasting: 20_000, lasting_of_one: 15_000 }
    }
}

/// What is held in all.
struct Sums {
    bounds: Bounds,
    bytes: AtomicUsize,
    lasting: AtomicUsize,
}

/// The accounts of all callers.
pub(super) struct Accounts {
    hasher: RandomState,
    /// Never held while anything waits or can panic.
    all: Mutex<HashMap<u64, Arc<Account>>>,
    sums: Arc<Sums>,
}

impl Accounts {
    pub(super) fn new(bounds: Bounds) -> Accounts {
        let sums = Sums { bounds, bytes: AtomicUsize::new(0), lasting: AtomicUsize::new(0) };
        Accounts { hasher: RandomState::new(), all: Mutex::default(), sums: Arc::new(sums) }
    }

    /// The account of a user.
    pub(super) fn of(&self, user: &str, level: Level) -> Arc<Account> {
        let key = self.hasher.hash_one((user, level));
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&key) {
            return Arc::clone(known);
        }
        if all.len() >= IDLE_ACCOUNTS_MAX {
            all.retain(|_, account| Arc::strong_count(account) > 1);
        }
        let account = Arc::new(Account {
            key,
            level,
            bytes: AtomicUsize::new(0),
            lasting: AtomicUsize::new(0),
            sums: Arc::clone(&self.sums),
        });
        all.insert(key, Arc::clone(&account));
        account
    }

    /// Bytes and lasting requests that are held.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.sums.bytes.load(Ordering::Relaxed), self.sums.lasting.load(Ordering::Relaxed))
    }
}

/// What is held for one caller.
pub(crate) struct Account {
    key: u64,
    level: Level,
    bytes: AtomicUsize,
    lasting: AtomicUsize,
    sums: Arc<Sums>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Account {
    /// Tells callers apart.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// The caller's level.
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Whether more may be held for the caller.
    pub(crate) fn has_room(&self) -> bool {
        let bounds = &self.sums.bounds;
        self.bytes.load(Ordering::Relaxed) < bounds.bytes_of_one
            && self.sums.bytes.load(Ordering::Relaxed) < self.part(bounds.bytes)
    }

    /// Holds so many bytes, whatever the bounds: they are there already.
    pub(crate) fn hold(self: &Arc<Account>, bytes: usize) -> Held {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sums.bytes.fetch_add(bytes, Ordering::Relaxed);
        Held { account: Arc::clone(self), bytes }
    }

    /// Counts an answer until it was taken, or is dropped.
    pub(crate) fn counted(self: &Arc<Account>, bytes: Bytes) -> Bytes {
        if bytes.len() < COUNTED_BYTES_MIN {
            return bytes;
        }
        let held = self.hold(bytes.len());
        Bytes::from_owner(Counted { bytes, _held: held })
    }

    /// Counts a request that lasts until the guard is dropped; `None` when there are as many as may be.
    pub(crate) fn lasting(self: &Arc<Account>) -> Option<Lasting> {
        let bounds = &self.sums.bounds;
        let own = self.lasting.fetch_add(1, Ordering::Relaxed);
        let all = self.sums.lasting.fetch_add(1, Ordering::Relaxed);
        let counted = Lasting { account: Arc::clone(self) };
        (own < bounds.lasting_of_one && all < self.part(bounds.lasting)).then_some(counted)
    }

    /// What callers of this level may have of all there is.
    fn part(&self, all: usize) -> usize {
        if self.level.has_reserve() { all } else { all / 10 * 9 }
    }
}

/// Bytes that are held for a caller while this lives.
#[derive(Debug)]
pub(crate) struct Held {
    account: Arc<Account>,
    bytes: usize,
}

impl Held {
    /// Holds more; whether that is within the bounds.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.account.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.account.sums.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.account.has_room()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.sums.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request that lasts, while this lives.
#[derive(Debug)]
pub(crate) struct Lasting {
    account: Arc<Account>,
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.account.lasting.fetch_sub(1, Ordering::Relaxed);
        self.account.sums.lasting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer and what it counts as.
struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
