//! The steps of a rollout: what to create, grow and shrink next.
//!
//! A pass makes one step. The next pass starts from what that step did, so surge and unavailability hold at every moment.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::limits::Limits;
use super::revision::{self, DESIRED_REPLICAS, MAX_REPLICAS};
use super::{Action, Resize};
use crate::controllers::facts;

/// A ReplicaSet as stored, and what this pass makes of it.
pub(super) struct Draft {
    stored: Arc<ReplicaSet>,
    edited: Option<Box<ReplicaSet>>,
}

impl Draft {
    pub(super) fn new(stored: Arc<ReplicaSet>) -> Self {
        Draft { stored, edited: None }
    }

    /// The object as stored.
    pub(super) fn stored(&self) -> &Arc<ReplicaSet> {
        &self.stored
    }

    /// The object as this pass leaves it.
    pub(super) fn current(&self) -> &ReplicaSet {
        self.edited.as_deref().unwrap_or(&self.stored)
    }

    /// The wanted number of pods.
    pub(super) fn replicas(&self) -> i32 {
        wanted(self.current())
    }

    /// The number of available pods last seen.
    pub(super) fn available(&self) -> i32 {
        self.stored.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
    }

    /// The number of pods last seen.
    pub(super) fn observed(&self) -> i32 {
        self.stored.status.as_ref().map_or(0, |status| status.replicas)
    }

    fn edit(&mut self) -> &mut ReplicaSet {
        self.edited.get_or_insert_with(|| Box::new((*self.stored).clone()))
    }

    /// Sets the wanted number of pods, and notes the Deployment's size at which that was decided.
    pub(super) fn resize(&mut self, replicas: i32, limits: &Limits) {
        let meta = &self.current().metadata;
        let noted = (revision::number(meta, DESIRED_REPLICAS), revision::number(meta, MAX_REPLICAS));
        let note = (limits.replicas, limits.replicas + limits.surge);
        if replicas == self.replicas() && noted == (Some(note.0), Some(note.1)) {
            return;
        }
        let draft = self.edit();
        draft.spec.get_or_insert_default().replicas = Some(replicas);
        revision::annotate(&mut draft.metadata, DESIRED_REPLICAS, note.0.to_string());
        revision::annotate(&mut draft.metadata, MAX_REPLICAS, note.1.to_string());
    }

    /// What has to be written, if anything.
    fn into_action(self) -> Option<Action> {
        let from = wanted(&self.stored);
        let replica_set = self.edited?;
        let to = wanted(&replica_set);
        let resize = (from != to).then_some(Resize { from, to });
        Some(Action::Update { replica_set, resize })
    }
}

/// A Deployment with its ReplicaSets, during one pass.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) limits: Limits,
    /// The ReplicaSet of the current template.
    pub(super) new: Option<Draft>,
    /// All others, oldest first.
    pub(super) old: Vec<Draft>,
    /// The ReplicaSet that this pass creates.
    pub(super) created: Option<Box<ReplicaSet>>,
    /// Old ReplicaSets beyond the history limit.
    pub(super) expired: Vec<Arc<ReplicaSet>>,
}

impl<'a> Rollout<'a> {
    /// Sorts the Deployment's ReplicaSets into the new one and the old ones.
    pub(super) fn new(deployment: &'a Deployment, mut replica_sets: Vec<Arc<ReplicaSet>>) -> Self {
        replica_sets.sort_by(|a, b| {
            let age = |set: &ReplicaSet| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone());
            age(a).cmp(&age(b))
        });
        let oldest_first: Vec<&ReplicaSet> = replica_sets.iter().map(|set| &**set).collect();
        let new = revision::position_of_new(deployment, &oldest_first);
        let new = new.map(|position| Draft::new(replica_sets.remove(position)));
        let old = replica_sets.into_iter().map(Draft::new).collect();
        let limits = Limits::of(deployment);
        Rollout { deployment, limits, new, old, created: None, expired: Vec::new() }
    }

    /// The new and the old ReplicaSets.
    pub(super) fn all(&self) -> impl Iterator<Item = &Draft> {
        self.new.iter().chain(&self.old)
    }

    /// The number that the new ReplicaSet has or gets.
    pub(super) fn new_revision(&self) -> i64 {
        let highest_old =
            self.old.iter().map(|set| revision::revision(&set.stored.metadata)).max().unwrap_or(0);
        let own = self.new.as_ref().map_or(0, |set| revision::revision(&set.stored.metadata));
        own.max(highest_old + 1)
    }

    /// Keeps the new ReplicaSet's annotations and `minReadySeconds` as the Deployment has them.
    pub(super) fn refresh_new(&mut self) {
        let number = self.new_revision();
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let Some(new) = &mut self.new else { return };
        let mut meta = new.stored.metadata.clone();
        if revision::update_annotations(&mut meta, self.deployment, number) {
            new.edit().metadata = meta;
        }
        let current = new.current().spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if current != min_ready {
            new.edit().spec.get_or_insert_default().min_ready_seconds = Some(min_ready);
        }
    }

    /// One step of a rolling update.
    pub(super) fn roll(&mut self) {
        if self.new.is_none() {
            self.create_new();
        } else if !self.grow_new() {
            self.shrink_old();
        }
    }

    /// One step of `Recreate`: first no old pod is left, then the new ones come.
    pub(super) fn recreate(&mut self, unfinished_old_pods: usize) {
        let mut shrunk = false;
        for set in self.old.iter_mut().filter(|set| set.replicas() > 0) {
            set.resize(0, &self.limits);
            shrunk = true;
        }
        if shrunk || unfinished_old_pods > 0 {
            return;
        }
        let replicas = self.limits.replicas;
        match &mut self.new {
            None => self.create_new(),
            Some(new) => new.resize(replicas, &self.limits),
        }
    }

    fn create_new(&mut self) {
        let mut created =
            Draft::new(Arc::new(revision::new_replica_set(self.deployment, self.new_revision())));
        let replicas = self.room_for_new(0);
        created.resize(replicas, &self.limits);
        self.created = created.edited;
    }

    /// How large the new ReplicaSet may be now, being `size` large.
    fn room_for_new(&self, size: i32) -> i32 {
        if !self.limits.rolling {
            return self.limits.replicas;
        }
        let total: i32 = self.all().map(Draft::replicas).sum();
        let room = self.limits.replicas + self.limits.surge - total;
        size + room.min(self.limits.replicas - size).max(0)
    }

    /// Sizes the new ReplicaSet; true when that changed its number of pods.
    fn grow_new(&mut self) -> bool {
        let Some(size) = self.new.as_ref().map(Draft::replicas) else { return false };
        let target = if size > self.limits.replicas { self.limits.replicas } else { self.room_for_new(size) };
        if let Some(new) = &mut self.new {
            new.resize(target, &self.limits);
        }
        target != size
    }

    /// Takes pods from the old ReplicaSets as far as enough others are available: first those that do not work anyway.
    fn shrink_old(&mut self) {
        let Some(new) = &self.new else { return };
        let total: i32 = self.all().map(Draft::replicas).sum();
        let min_available = self.limits.replicas - self.limits.unavailable;
        let new_not_available = new.replicas() - new.available();
        let mut budget = total - min_available - new_not_available;
        for set in self.old.iter_mut().filter(|set| set.replicas() > set.available()) {
            let fewer = budget.min(set.replicas() - set.available()).max(0);
            set.resize(set.replicas() - fewer, &self.limits);
            budget -= fewer;
        }
        let available: i32 = self.all().map(Draft::available).sum();
        let mut budget = available - min_available;
        for set in self.old.iter_mut().filter(|set| set.replicas() > 0) {
            let fewer = budget.min(set.replicas()).max(0);
            set.resize(set.replicas() - fewer, &self.limits);
            budget -= fewer;
        }
    }

    /// Marks empty old ReplicaSets beyond the history limit for deletion, the lowest revisions first.
    pub(super) fn expire_history(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let mut kept: Vec<&Draft> =
            self.old.iter().filter(|set| !facts::is_terminating(&set.stored.metadata)).collect();
        let surplus = kept.len().saturating_sub(limit);
        kept.sort_by_key(|set| revision::revision(&set.stored.metadata));
        let empty = kept.into_iter().take(surplus).filter(|set| is_empty(&set.stored));
        self.expired = empty.map(|set| set.stored.clone()).collect();
    }

    /// Everything this pass decided to write.
    pub(super) fn into_actions(self) -> Vec<Action> {
        let created = self.created.map(|replica_set| Action::Create { replica_set });
        let updated = self.new.into_iter().chain(self.old).filter_map(Draft::into_action);
        let expired = self.expired.into_iter().map(|replica_set| Action::Delete { replica_set });
        created.into_iter().chain(updated).chain(expired).collect()
    }
}

/// The wanted number of pods of a ReplicaSet.
pub(super) fn wanted(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// True when the ReplicaSet neither has nor wants pods, and its status says so of its current spec.
fn is_empty(replica_set: &ReplicaSet) -> bool {
    let status = replica_set.status.clone().unwrap_or_default();
    let observed = status.observed_generation.unwrap_or(0) >= replica_set.metadata.generation.unwrap_or(0);
    observed && status.replicas == 0 && wanted(replica_set) == 0
}
