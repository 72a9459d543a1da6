//! Binding pods to nodes: the scheduler's write, and the `binding` subresource.

use futures::future::join_all;
use isopod_spec::core::pod::binding;
use isopod_spec::registry;
use isopod_spec::resource::{Target, Typed};
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{self as core, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

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
