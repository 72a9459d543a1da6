//! What happens between decoding and storing: defaults that need other objects, and checks against them.
//!
//! Admission reads the snapshot that its write is compared against: what it relied on becomes a compare of the
//! write's transaction, so that no race makes it wrong. All of it is pure; the store is only read through the
//! snapshot given.

pub(crate) mod addresses;
mod pods;
mod priority;
mod storage;
mod token_mount;

use isopod_raft_store::{Compare, Op, Snapshot};
use isopod_spec::registry;
use isopod_spec::resource::{Kind, Object, Resource};
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use self::addresses::Refusal;
pub use self::addresses::{InvalidRange, ServiceRange};
use crate::objects::stored::MetadataView;
use crate::objects::try_decode;

/// Settings of the cluster that admission needs.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The addresses of Services.
    pub service_range: ServiceRange,
}

/// What admission adds to the transaction of a write.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Additions {
    /// What must still be so when the write lands.
    pub(crate) compares: Vec<Compare>,
    /// What is written with it.
    pub(crate) ops: Vec<Op>,
}

/// Namespaces that live as long as the cluster.
const IMMORTAL: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Whether admission fills in something that another try must choose again.
pub(crate) fn assigns(kind: &Kind) -> bool {
    is_kind::<Service>(kind)
}

/// Admits a new object, prepared and not yet validated. `seed` chooses among what is free.
pub(crate) fn create(
    policy: &Policy,
    snapshot: &Snapshot,
    kind: &Kind,
    object: &mut dyn Object,
    seed: u32,
) -> Result<Additions, Status> {
    let mut additions = Additions::default();
    if kind.namespaced() {
        additions.compares.push(living_namespace(snapshot, kind, object)?);
    }
    if let Some(name) = &kind.defined_by {
        additions.compares.push(living_definition(snapshot, kind, name)?);
    }
    if object.get::<Pod>().is_some() {
        additions.compares.extend(admit_pod(snapshot, kind, object, seed)?);
    }
    if let Some(claim) = object.get_mut::<PersistentVolumeClaim>() {
        storage::default_class(snapshot, claim)?;
    }
    admit_priority_class(snapshot, kind, object)?;
    additions.join(admit_service(policy, snapshot, kind, object, None, seed)?);
    Ok(additions)
}

/// Admits a changed object, prepared and not yet validated, that is to replace `old`.
pub(crate) fn update(
    policy: &Policy,
    snapshot: &Snapshot,
    kind: &Kind,
    object: &mut dyn Object,
    old: &dyn Object,
    seed: u32,
) -> Result<Additions, Status> {
    admit_priority_class(snapshot, kind, object)?;
    if let (Some(claim), Some(old)) =
        (object.get::<PersistentVolumeClaim>(), old.get::<PersistentVolumeClaim>())
        && let Some(why) = storage::refuse_growth(snapshot, claim, old)?
    {
        return Err(Status::forbidden(kind, object.name(), why));
    }
    admit_service(policy, snapshot, kind, object, old.get::<Service>(), seed)
}

/// Whether an object of this name may be deleted at all.
pub(crate) fn may_delete(kind: &Kind, name: &str) -> Result<(), Status> {
    match is_kind::<Namespace>(kind) && IMMORTAL.contains(&name) {
        true => Err(Status::forbidden(kind, name, "this namespace may not be deleted")),
        false => Ok(()),
    }
}

/// What goes with an object that is removed.
pub(crate) fn delete(object: &dyn Object) -> Additions {
    object.get::<Service>().map(addresses::release).unwrap_or_default()
}

impl Additions {
    fn join(&mut self, other: Additions) {
        self.compares.extend(other.compares);
        self.ops.extend(other.ops);
    }
}

fn is_kind<T: Resource>(kind: &Kind) -> bool {
    kind.kind == T::KIND && kind.group == T::GROUP
}

/// Nothing comes into a namespace that is not there, or that is being emptied.
fn living_namespace(snapshot: &Snapshot, kind: &Kind, object: &dyn Object) -> Result<Compare, Status> {
    let (namespaces, name) = (registry::kind_of::<Namespace>(), object.namespace());
    let key = namespaces.key("", name);
    let Some(entry) = snapshot.get(&key) else { return Err(Status::not_found(&**namespaces, name)) };
    if MetadataView::of(&entry.value).deletion_timestamp.is_some() {
        return Err(Status::namespace_terminating(kind, object.name(), name));
    }
    Ok(Compare::Modified(key.into(), entry.modified))
}

/// Nothing comes of a kind that is not declared any more, or of which all objects are being deleted.
fn living_definition(snapshot: &Snapshot, kind: &Kind, name: &str) -> Result<Compare, Status> {
    let key = registry::kind_of::<CustomResourceDefinition>().key("", name);
    let entry = snapshot.get(&key).ok_or_else(Status::no_such_resource)?;
    if MetadataView::of(&entry.value).deletion_timestamp.is_some() {
        let mut status = Status::method_not_allowed(kind, "create");
        status.message = "create not allowed while custom resource definition is terminating".to_owned();
        return Err(status);
    }
    Ok(Compare::Modified(key.into(), entry.modified))
}

fn admit_pod(
    snapshot: &Snapshot,
    kind: &Kind,
    object: &mut dyn Object,
    seed: u32,
) -> Result<Option<Compare>, Status> {
    let (name, namespace) = (object.name().to_owned(), object.namespace().to_owned());
    let Some(pod) = object.get_mut::<Pod>() else { return Ok(None) };
    pods::complete(pod);
    let forbidden = |why: String| Status::forbidden(kind, &name, &why);
    let spec = pod.spec.get_or_insert_default();
    let priority = priority::find(snapshot, spec)?.map_err(forbidden)?;
    priority::give(spec, priority).map_err(forbidden)?;
    let account = pods::service_account(pod).to_owned();
    let key = registry::kind_of::<ServiceAccount>().key(&namespace, &account);
    let stored = snapshot.get(&key).map(try_decode::<ServiceAccount>).transpose()?;
    token_mount::add(pod, stored.as_ref(), seed.into());
    // The default account is made by a controller shortly after the namespace; a pod need not wait for it.
    if account == pods::DEFAULT_SERVICE_ACCOUNT {
        return Ok(None);
    }
    if stored.is_none() {
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        return Err(Status::forbidden(kind, &name, &why));
    }
    Ok(Some(Compare::Present(key.into())))
}

fn admit_priority_class(snapshot: &Snapshot, kind: &Kind, object: &dyn Object) -> Result<(), Status> {
    let Some(class) = object.get::<PriorityClass>() else { return Ok(()) };
    match priority::refuse_second_default(snapshot, class)? {
        Some(why) => Err(Status::forbidden(kind, object.name(), &why)),
        None => Ok(()),
    }
}

fn admit_service(
    policy: &Policy,
    snapshot: &Snapshot,
    kind: &Kind,
    object: &mut dyn Object,
    old: Option<&Service>,
    seed: u32,
) -> Result<Additions, Status> {
    let name = object.name().to_owned();
    let Some(service) = object.get_mut::<Service>() else { return Ok(Additions::default()) };
    addresses::assign(service, old, policy.service_range, snapshot, seed).map_err(|refusal| match refusal {
        Refusal::Invalid(errors) => Status::invalid(kind, &name, &errors),
        Refusal::Full(why) => Status::internal(why),
    })
}
