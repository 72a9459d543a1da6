//! A change of `replicas` in the middle of a rollout, or while paused: every ReplicaSet keeps its share.

use super::limits::Limits;
use super::revision::{self, DESIRED_REPLICAS, MAX_REPLICAS};
use super::rollout::{Draft, Rollout};

impl Rollout<'_> {
    /// True when an active ReplicaSet was sized for another `replicas` than the Deployment's.
    pub(super) fn was_scaled(&self) -> bool {
        let active = self.all().filter(|set| set.replicas() > 0);
        active
            .filter_map(|set| revision::number(&set.stored().metadata, DESIRED_REPLICAS))
            .any(|desired| desired != self.limits.replicas)
    }

    /// Sizes the ReplicaSets for the Deployment's `replicas` without going on with the rollout.
    pub(super) fn scale(&mut self) {
        let limits = self.limits;
        if let Some(only) = self.only_active() {
            only.resize(limits.replicas, &limits);
        } else if self.is_saturated() {
            for set in self.old.iter_mut().filter(|set| set.replicas() > 0) {
                set.resize(0, &limits);
            }
        } else if limits.rolling {
            self.scale_in_proportion();
        }
    }

    /// The ReplicaSet that alone has pods; when none has, the newest.
    fn only_active(&mut self) -> Option<&mut Draft> {
        match self.all().filter(|set| set.replicas() > 0).count() {
            0 => self.new.as_mut().or(self.old.last_mut()),
            1 => self.new.iter_mut().chain(&mut self.old).find(|set| set.replicas() > 0),
            _ => None,
        }
    }

    /// True when the new ReplicaSet alone has all the pods that the Deployment wants, available.
    fn is_saturated(&self) -> bool {
        let replicas = self.limits.replicas;
        self.new.as_ref().is_some_and(|new| {
            let sized_for = revision::number(&new.stored().metadata, DESIRED_REPLICAS);
            sized_for == Some(replicas) && new.replicas() == replicas && new.available() == replicas
        })
    }

    fn scale_in_proportion(&mut self) {
        let limits = self.limits;
        let observed = self.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let mut active: Vec<&mut Draft> =
            self.old.iter_mut().chain(&mut self.new).filter(|set| set.replicas() > 0).collect();
        let total: i32 = active.iter().map(|set| set.replicas()).sum();
        let allowed = if limits.replicas > 0 { limits.replicas + limits.surge } else { 0 };
        let missing = allowed - total;
        // Larger ones first; of equals, the newest grows first and the oldest shrinks first.
        active.sort_by_key(|set| set.stored().metadata.creation_timestamp.clone());
        if missing > 0 {
            active.reverse();
        }
        active.sort_by_key(|set| std::cmp::Reverse(set.replicas()));
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for set in &active {
            let share = if missing == added { 0 } else { share(set, &limits, observed) };
            let left = missing - added;
            let share = match missing {
                0 => 0,
                1.. => share.min(left),
                _ => share.max(left),
            };
            added += share;
            sizes.push(set.replicas() + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + missing - added).max(0);
        }
        for (set, size) in active.into_iter().zip(sizes) {
            set.resize(size, &limits);
        }
    }
}

/// By how much a ReplicaSet's size must change to keep its share of the whole.
fn share(set: &Draft, limits: &Limits, observed: i32) -> i32 {
    let size = set.replicas();
    if limits.replicas == 0 {
        return -size;
    }
    let base =
        revision::number(&set.stored().metadata, MAX_REPLICAS).filter(|max| *max > 0).unwrap_or(observed);
    if base == 0 {
        return 0;
    }
    let scaled = i64::from(size) * i64::from(limits.replicas + limits.surge);
    let rounded = (2 * scaled + i64::from(base)) / (2 * i64::from(base));
    i32::try_from(rounded).unwrap_or(i32::MAX) - size
}
