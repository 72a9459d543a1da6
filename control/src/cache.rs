//! What controllers and the scheduler see: the objects they work on, decoded once per revision and indexed.
//!
//! One [`feed`] follows the store and hands out [`Batch`]es: what changed, and the whole [`View`] after it. All kinds
//! stand at the same revision, so a component that has seen the revision of its own write sees everything before it.

pub(crate) mod feed;
mod key;
mod shelf;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use isopod_raft_store::{Entry, Revision, Snapshot};
use isopod_spec::registry::{self, Kinds};
use isopod_spec::resource::{Kind, Resource};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::StorageClass;

use crate::controllers::{facts, volumes};
pub(crate) use key::ObjectKey;
pub(crate) use shelf::Shelf;

/// A kind that is kept decoded.
pub(crate) trait Cached: Resource {
    /// Where its objects are.
    fn shelf(view: &View) -> &Shelf<Self>;
    /// The same, to change it.
    fn shelf_mut(view: &mut View) -> &mut Shelf<Self>;
    /// Erases the kind of a change.
    fn change(delta: Delta<Self>) -> Change;
    /// By what else than key and owner its objects are looked for.
    fn place(&self) -> Option<String> {
        None
    }
}

/// A change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Delta<T> {
    pub(crate) key: ObjectKey,
    /// `None` when the object was created.
    pub(crate) old: Option<Arc<T>>,
    /// `None` when the object was deleted.
    pub(crate) new: Option<Arc<T>>,
}

impl<T> Delta<T> {
    /// The object before and after, as far as it existed.
    pub(crate) fn both(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(&self.new)
    }

    /// The newest state, which for a deleted object is its last.
    pub(crate) fn latest(&self) -> Option<&Arc<T>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

/// Changes up to a revision, and the view at that revision.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) view: View,
    pub(crate) changes: Vec<Change>,
    /// The kinds that are served at the view's revision.
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) raw: Raw,
}

/// The same changes for those who look at objects of all kinds.
#[derive(Debug)]
pub(crate) enum Raw {
    /// The whole state was read; what is not in it does not exist.
    Whole(Snapshot),
    /// These keys changed, in this order.
    Events(Vec<Located>),
}

/// A change of a key of the registry.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) kind: Arc<Kind>,
    pub(crate) key: ObjectKey,
    /// The new entry; `None` when the key was deleted.
    pub(crate) entry: Option<Arc<Entry>>,
}

/// Declares the cached kinds: a shelf of the view, a variant of [`Change`], and how events reach them.
macro_rules! cached {
    ($($shelf:ident: $kind:ident $(by $place:path)?),+ $(,)?) => {
        /// Decoded objects at one revision. Cloning costs a few pointers per kind; a clone never changes.
        #[derive(Clone)]
        pub(crate) struct View {
            /// The revision this is the state of.
            pub(crate) revision: Revision,
            $(pub(crate) $shelf: Shelf<$kind>,)+
        }

        impl Default for View {
            fn default() -> Self {
                View { revision: Revision::default(), $($shelf: Shelf::new(<$kind as Cached>::place),)+ }
            }
        }

        /// A change of one object of any kind.
        #[derive(Debug, Clone)]
        pub(crate) enum Change {
            $($kind(Delta<$kind>),)+
            /// An object of a kind that is not cached.
            Other { kind: Arc<Kind>, key: ObjectKey },
        }

        impl Change {
            /// Which object changed.
            pub(crate) fn key(&self) -> &ObjectKey {
                match self {
                    $(Change::$kind(delta) => &delta.key,)+
                    Change::Other { key, .. } => key,
                }
            }
        }

        $(impl Cached for $kind {
            fn shelf(view: &View) -> &Shelf<Self> {
                &view.$shelf
            }
            fn shelf_mut(view: &mut View) -> &mut Shelf<Self> {
                &mut view.$shelf
            }
            fn change(delta: Delta<Self>) -> Change {
                Change::$kind(delta)
            }
            $(fn place(&self) -> Option<String> {
                $place(self)
            })?
        })+

        /// The cached kinds, erased.
        pub(crate) fn sources() -> Vec<feed::Source> {
            vec![$(feed::Source::of::<$kind>(registry::kind_of::<$kind>()),)+]
        }
    };
}

cached! {
    pods: Pod by node_of,
    nodes: Node,
    namespaces: Namespace,
    services: Service,
    endpoints: Endpoints,
    endpoint_slices: EndpointSlice by service_of,
    deployments: Deployment,
    replica_sets: ReplicaSet,
    replication_controllers: ReplicationController,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    controller_revisions: ControllerRevision,
    jobs: Job,
    cron_jobs: CronJob,
    pod_disruption_budgets: PodDisruptionBudget,
    leases: Lease,
    cluster_roles: ClusterRole,
    persistent_volumes: PersistentVolume by class_of_volume,
    persistent_volume_claims: PersistentVolumeClaim by class_waited_for,
    storage_classes: StorageClass,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("revision", &self.revision)
            .field("pods", &self.pods.len())
            .finish_non_exhaustive()
    }
}

fn node_of(pod: &Pod) -> Option<String> {
    facts::node_name(pod).map(str::to_owned)
}

fn class_of_volume(volume: &PersistentVolume) -> Option<String> {
    Some(volumes::class_of_volume(volume).to_owned())
}

/// The class of a claim that has no volume yet.
fn class_waited_for(claim: &PersistentVolumeClaim) -> Option<String> {
    volumes::volume_name(claim).is_none().then(|| volumes::class_of(claim).to_owned())
}

/// `namespace/service`.
fn service_of(slice: &EndpointSlice) -> Option<String> {
    let service = facts::label(&slice.metadata, crate::controllers::endpoint_slice::SERVICE_NAME)?;
    Some(format!("{}/{service}", facts::namespace(&slice.metadata)))
}
