//! A StatefulSet's status: how many pods there are, ready, available and of which version.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::members::{Health, Members};
use super::{Versions, partition};
use crate::controllers::facts::{self, count, some_count};
use crate::controllers::revisions::REVISION_LABEL;

/// The status that these pods give.
pub(super) fn of(set: &StatefulSet, members: &Members, versions: &Versions) -> StatefulSetStatus {
    let all = || members.all().filter(|pod| !facts::is_finished(pod));
    let of_version = |name: &str| {
        let active = all().filter(|pod| facts::is_active(pod));
        active.filter(|pod| facts::label(&pod.metadata, REVISION_LABEL) == Some(name)).count()
    };
    let ready = |pod: &Pod| facts::is_ready(pod) && facts::is_active(pod);
    let (ready, updated) = (all().filter(|pod| ready(pod)).count(), of_version(&versions.update.name));
    let available = members.slots.iter().filter(|slot| slot.health == Health::Well).count();
    let wanted = members.slots.len();
    let is_rolled_out =
        set.spec.as_ref().and_then(partition).is_some() && [updated, ready, all().count()] == [wanted; 3];
    let current = if is_rolled_out { &versions.update.name } else { &versions.current.name };
    let stored = set.status.as_ref();
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(all().count()),
        ready_replicas: some_count(count(ready)),
        available_replicas: Some(count(available)),
        current_replicas: some_count(count(of_version(current))),
        updated_replicas: some_count(count(updated)),
        current_revision: Some(current.clone()),
        update_revision: Some(versions.update.name.clone()),
        collision_count: stored.and_then(|status| status.collision_count).or(Some(0)),
        conditions: stored.and_then(|status| status.conditions.clone()),
    }
}
