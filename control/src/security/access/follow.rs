//! Keeps the index at the store's state.

use std::sync::{Arc, PoisonError};

use isopod_raft_store::{Entry, Event, KeyRange, Snapshot, Watch, WatchEnd};
use isopod_spec::registry;
use isopod_spec::resource::Resource;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};

use super::Shared;
use crate::objects::try_decode;
use crate::security::node::{Pods, Used};
use crate::security::rbac::Policy;

/// Reads what there is into a new index.
impl Shared {
    pub(super) fn read_all(&self, snapshot: &Snapshot) {
        let mut policy = Policy::default();
        let mut pods = Pods::default();
        for prefix in [
            prefix::<ClusterRole>(),
            prefix::<ClusterRoleBinding>(),
            prefix::<Role>(),
            prefix::<RoleBinding>(),
        ] {
            for (key, entry) in snapshot.range(&KeyRange::prefix(prefix)) {
                set(&mut policy, key, Some(entry));
            }
        }
        let prefix = prefix::<Pod>();
        for (key, entry) in snapshot.range(&KeyRange::prefix(prefix.clone())) {
            pods.set(&String::from_utf8_lossy(&key[prefix.len()..]), Used::by(&entry.value));
        }
        self.policy.store(Arc::new(policy));
        *self.pods.write().unwrap_or_else(PoisonError::into_inner) = pods;
        self.seen.send_replace(snapshot.revision());
    }

    /// Until the store is closed.
    pub(super) async fn follow(&self) {
        loop {
            let snapshot = self.store.snapshot();
            self.read_all(&snapshot);
            let end = match self.store.watch(KeyRange::all(), snapshot.revision()) {
                Ok(watch) => self.follow_watch(watch).await,
                Err(end) => end,
            };
            match end {
                WatchEnd::Closed => return,
                end => tracing::warn!(%end, "authorization lags behind the store and reads it again"),
            }
        }
    }

    async fn follow_watch(&self, mut watch: Watch) -> WatchEnd {
        let pods = prefix::<Pod>();
        loop {
            match watch.next().await {
                Ok(events) => self.apply(&events, &pods),
                Err(end) => return end,
            }
        }
    }

    fn apply(&self, events: &[Arc<Event>], pods_prefix: &[u8]) {
        let is_rule = |event: &&Arc<Event>| event.key.starts_with(RULES);
        if events.iter().any(|event| is_rule(&event)) {
            let mut policy = Policy::clone(&self.policy.load());
            for event in events.iter().filter(is_rule) {
                set(&mut policy, &event.key, event.entry.as_deref());
            }
            self.policy.store(Arc::new(policy));
        }
        let changed = events.iter().filter_map(|event| {
            let key = String::from_utf8_lossy(event.key.strip_prefix(pods_prefix)?);
            Some((key, event.entry.as_deref().and_then(|entry| Used::by(&entry.value))))
        });
        let changed: Vec<_> = changed.collect();
        if !changed.is_empty() {
            let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
            for (key, used) in changed {
                pods.set(&key, used);
            }
        }
        if let Some(last) = events.last() {
            self.seen.send_replace(last.revision);
        }
    }
}

/// How the keys of all four kinds begin.
const RULES: &[u8] = b"/registry/rbac.authorization.k8s.io/";

fn prefix<T: Resource>() -> Vec<u8> {
    registry::kind_of::<T>().prefix(None)
}

/// Takes over one object of the four kinds. One that cannot be read grants nothing.
fn set(policy: &mut Policy, key: &[u8], entry: Option<&Entry>) {
    let Some(rest) = key.strip_prefix(RULES).and_then(|rest| std::str::from_utf8(rest).ok()) else { return };
    let Some((plural, rest)) = rest.split_once('/') else { return };
    let inside = rest.split_once('/');
    match (plural, inside) {
        ("clusterroles", _) => policy.set_cluster_role(rest, decoded::<ClusterRole>(rest, entry)),
        ("clusterrolebindings", _) => {
            policy.set_cluster_binding(rest, decoded::<ClusterRoleBinding>(rest, entry));
        }
        ("roles", Some((namespace, name))) => policy.set_role(namespace, name, decoded::<Role>(rest, entry)),
        ("rolebindings", Some((namespace, name))) => {
            policy.set_binding(namespace, name, decoded::<RoleBinding>(rest, entry));
        }
        _ => {}
    }
}

fn decoded<T: Resource>(key: &str, entry: Option<&Entry>) -> Option<T> {
    let read = try_decode::<T>(entry?);
    read.inspect_err(|error| tracing::error!(kind = T::KIND, key, %error, "a stored object is damaged")).ok()
}
