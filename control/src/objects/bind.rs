//! Binding pods to nodes: the scheduler's write, and the `binding` subresource.

use bytes::Bytes;
use futures::future::join_all;
use isopod_raft_store::{Compare, Op, Txn};
use isopod_spec::core::pod::binding;
use isopod_spec::registry;
use isopod_spec::resource::{self, Object as _, Target, Typed};
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{self as core, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::accounts::put_together;
use super::{Change, Commit, Objects, Written, typed};

/// The decision that a pod runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid; when given, another pod of the same name is not bound.
    pub uid: Option<String>,
    /// The node.
    pub node: String,
}

impl From<&Binding> for core::Binding {
    fn from(binding: &Binding) -> core::Binding {
        let metadata = ObjectMeta {
            namespace: Some(binding.namespace.clone()),
            name: Some(binding.name.clone()),
            uid: binding.uid.clone(),
            ..ObjectMeta::default()
        };
        let target = ObjectReference { name: Some(binding.node.clone()), ..ObjectReference::default() };
        core::Binding { metadata, target }
    }
}

impl Objects {
    /// Gives a pod its node. A pod that has one already, or is being deleted, is a Conflict.
    pub async fn bind(&self, binding: &Binding) -> Result<Pod, Status> {
        self.bind_object(&binding.namespace, &binding.into(), Commit::Write).await.map(typed)
    }

    /// [`Objects::bind`] for a pod as it was seen a moment ago: unless somebody has written it since, it need not be read
    /// and checked again.
    pub(crate) async fn bind_seen(&self, pod: &Pod, node: &str) -> Result<(), Status> {
        let meta = &pod.metadata;
        let binding = Binding {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
            node: node.to_owned(),
        };
        let seen = meta.resource_version.as_deref().and_then(|version| version.parse().ok());
        let key = Bytes::from(registry::kind_of::<Pod>().key(&binding.namespace, &binding.name));
        let snapshot = self.store.snapshot();
        // Who owns what of the pod is no part of what the scheduler has seen.
        let stored = snapshot.get(&key).filter(|entry| seen == Some(entry.modified.0));
        if let Some(stored) = stored {
            let mut bound = pod.clone();
            binding::bind(&mut bound, &(&binding).into(), Timestamp::now())?;
            let account = resource::split(&stored.value).managed;
            let value = put_together(Typed(bound).to_stored(), account)?;
            let compares = vec![Compare::Modified(key.clone(), stored.modified)];
            let txn = Txn { compares, ops: vec![Op::Put(key, value)] };
            if self.propose(txn).await?.failed.is_none() {
                return Ok(());
            }
        }
        self.bind(&binding).await.map(drop)
    }

    /// [`Objects::bind`] for many at once: the writes share Raft entries. Answers are in the order given.
    pub async fn bind_many(&self, bindings: &[Binding]) -> Vec<Result<Pod, Status>> {
        join_all(bindings.iter().map(|binding| self.bind(binding))).await
    }

    /// Binds the pod that `metadata.name` names in `namespace`.
    pub(crate) async fn bind_object(
        &self,
        namespace: &str,
        binding: &core::Binding,
        commit: Commit,
    ) -> Result<Written, Status> {
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let kind = registry::kind_of::<Pod>();
        let change = Change { kind, namespace, name, target: Target::Binding, commit };
        self.update_object(&change, |current| {
            let mut pod = current.object.get::<Pod>().expect("the key is a pod's").clone();
            binding::bind(&mut pod, binding, Timestamp::now())?;
            Ok(Box::new(Typed(pod)))
        })
        .await
    }
}
