//! Binding pods to nodes: the scheduler's write, and the `binding` subresource.

use futures::future::join_all;
use isopod_spec::registry;
use isopod_spec::resource::{Target, Typed};
use isopod_spec::status::{GroupResource, Status};
use k8s_openapi::api::core::v1::Pod;

use super::{Change, Commit, Objects, Written, typed};

/// The scheduler's decision about one pod.
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

/// What conflicts of a binding are about.
const BINDING: GroupResource<'static> = GroupResource { group: "", resource: "pods/binding" };

impl Objects {
    /// Gives a pod its node. A pod that has one already is a Conflict.
    pub async fn bind(&self, binding: &Binding) -> Result<Pod, Status> {
        self.bind_object(binding, Commit::Write).await.map(typed)
    }

    /// [`Objects::bind`] for many at once: the writes share Raft entries. Answers are in the order given.
    pub async fn bind_many(&self, bindings: &[Binding]) -> Vec<Result<Pod, Status>> {
        join_all(bindings.iter().map(|binding| self.bind(binding))).await
    }

    pub(crate) async fn bind_object(&self, binding: &Binding, commit: Commit) -> Result<Written, Status> {
        let change = Change {
            kind: registry::kind_of::<Pod>(),
            namespace: &binding.namespace,
            name: &binding.name,
            target: Target::Binding,
            commit,
        };
        self.update_object(&change, |current| {
            let pod = current.object.get::<Pod>().expect("the key is a pod's");
            bound(pod.clone(), binding).map(|pod| Box::new(Typed(pod)) as _)
        })
        .await
    }
}

/// The pod with its node, unless it cannot be bound any more.
fn bound(mut pod: Pod, binding: &Binding) -> Result<Pod, Status> {
    let name = &binding.name;
    if let (Some(wanted), Some(found)) = (&binding.uid, &pod.metadata.uid)
        && wanted != found
    {
        return Err(Status::precondition_failed(BINDING, name, "UID", wanted, found));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let why = format!("pod {name} is being deleted, cannot be assigned to a host");
        return Err(Status::conflict(BINDING, name, &why));
    }
    let spec = pod.spec.get_or_insert_default();
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        let why = format!("pod {name} is already assigned to node \"{node}\"");
        return Err(Status::conflict(BINDING, name, &why));
    }
    spec.node_name = Some(binding.node.clone());
    Ok(pod)
}
