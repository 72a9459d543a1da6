//! Shares one fetch among those who asked for the same thing before it began.
//!
//! A thousand pods of one template that start together need one look at their ConfigMap, not a thousand; but a pod
//! must never get an answer that was fetched before it existed. So whoever comes while a fetch is under way waits
//! for the next one, and shares that with the others who came meanwhile.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

/// Fetches by key. Cheap to clone.
pub(crate) struct Coalesce<K, V> {
    keys: Arc<Mutex<HashMap<K, Key<V>>>>,
}

struct Key<V> {
    /// Held by the fetch that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The fetch that has not begun yet.
    next: Option<Shared<BoxFuture<'static, V>>>,
}

impl<K, V> Clone for Coalesce<K, V> {
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone() }
    }
}

impl<K, V> Default for Coalesce<K, V> {
    fn default() -> Self {
        Self { keys: Arc::default() }
    }
}

impl<K, V> Coalesce<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// What `fetch` gives, or what the same fetch of someone else gives that begins after this call.
    pub(crate) async fn get<F>(&self, key: K, fetch: F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let fetch = {
            let mut keys = lock(&self.keys);
            let entry = keys.entry(key.clone()).or_insert_with(|| Key { turn: Arc::default(), next: None });
            match &entry.next {
                Some(next) => next.clone(),
                None => {
                    let run = Self::run(self.keys.clone(), key, entry.turn.clone(), fetch);
                    entry.next.insert(run.boxed().shared()).clone()
                }
            }
        };
        fetch.await
    }

    async fn run<F>(
        keys: Arc<Mutex<HashMap<K, Key<V>>>>,
        key: K,
        turn: Arc<tokio::sync::Mutex<()>>,
        fetch: F,
    ) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let my_turn = turn.lock_owned().await;
        if let Some(entry) = lock(&keys).get_mut(&key) {
            // It begins: nobody joins any more.
            entry.next = None;
        }
        let value = fetch.await;
        drop(my_turn);
        let mut keys = lock(&keys);
        if keys.get(&key).is_some_and(|entry| entry.next.is_none() && entry.turn.try_lock().is_ok()) {
            keys.remove(&key);
        }
        drop(keys);
        value
    }
}

/// The lock is never held while anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn those_who_come_before_it_begins_share_a_fetch() {
        let fetches: Coalesce<&str, usize> = Coalesce::default();
        let count = Arc::new(AtomicUsize::new(0));
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let fetch = || {
            let (count, begun, go) = (count.clone(), begun.clone(), go.clone());
            async move {
                let number = count.fetch_add(1, Ordering::SeqCst);
                begun.notify_one();
                go.notified().await;
                number
            }
        };
        let first = tokio::spawn({
            let (fetches, fetch) = (fetches.clone(), fetch());
            async move { fetches.get("k", fetch).await }
        });
        begun.notified().await;
        let later: Vec<_> = (0..5).map(|_| fetches.get("k", fetch())).collect();
        let release = async {
            go.notify_one();
            begun.notified().await;
            go.notify_one();
        };
        let (later, ()) = tokio::join!(join_all(later), release);
        assert_eq!(first.await.unwrap(), 0);
        assert_eq!(later, [1; 5], "one fetch for all, and not the one that had begun");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(lock(&fetches.keys).is_empty(), "nothing is kept");
    }
}
