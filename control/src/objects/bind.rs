//! Binding pods to nodes: the scheduler's write, and the `binding` subresource.

use futures::future::join_all;
use isopod_spec::core::pod::binding;
use isopod_spec::registry;
use isopod_spec::resource::{Target, Typed};
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{Binding, Pod};
use k8s_openapi::jiff::Timestamp;

use super::{Change, Commit, Objects, Written, typed};

impl Objects {
    /// Gives a pod its node: `metadata` names the pod (and its uid, so that another of the same name is not
    /// bound), `target` the node. A pod that has a node already, or is being deleted, is a Conflict.
    pub async fn bind(&self, binding: &Binding) -> Result<Pod, Status> {
        let namespace = binding.metadata.namespace.as_deref().unwrap_or_default();
        self.bind_object(namespace, binding, Commit::Write).await.map(typed)
    }

    /// [`Objects::bind`] for many at once: the writes share Raft entries. Answers are in the order given.
    pub async fn bind_many(&self, bindings: &[Binding]) -> Vec<Result<Pod, Status>> {
        join_all(bindings.iter().map(|binding| self.bind(binding))).await
    }

    /// Binds the pod that `metadata.name` names in `namespace`.
    pub(crate) async fn bind_object(
        &self,
        namespace: &str,
        binding: &Binding,
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
