//! What a node may do beyond what a path can tell: it may write its own Node, its own Lease and its own pods.
//!
//! The rules of upstream's NodeRestriction. Other callers are not looked at.

use isopod_spec::resource::{Kind, Object};
use isopod_spec::status::Status;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::security::Identity;

/// May the caller create this object?
pub(crate) fn create(identity: &Identity, kind: &Kind, object: &dyn Object) -> Result<(), Status> {
    let Some(node) = identity.node() else { return Ok(()) };
    let name = object.name();
    let named_after_it = object.get::<Node>().is_some() || object.get::<Lease>().is_some();
    match named_after_it && name != node {
        true => {
            let what = kind.singular.as_str();
            let why = format!("node {node:?} is not allowed to modify {what} {name:?}");
            Err(Status::forbidden(kind, name, &why))
        }
        false => Ok(()),
    }
}

/// May the caller change or delete this object, as it is stored?
pub(crate) fn change(identity: &Identity, kind: &Kind, stored: &dyn Object) -> Result<(), Status> {
    let (Some(node), Some(pod)) = (identity.node(), stored.get::<Pod>()) else { return Ok(()) };
    let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    match bound == node {
        true => Ok(()),
        false => {
            let why = format!("node {node:?} can only change pods with spec.nodeName set to itself");
            Err(Status::forbidden(kind, stored.name(), &why))
        }
    }
}

#[cfg(test)]
mod tests {
    use isopod_spec::registry;
    use isopod_spec::resource::Typed;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn node() -> Identity {
        Identity { user: "system:node:n1".to_owned(), groups: vec!["system:nodes".to_owned()] }
    }

    #[test]
    fn a_node_writes_what_is_its_own() {
        let own = |name: &str| -> Typed<Node> {
            Typed(serde_json::from_value(json!({"metadata": {"name": name}})).expect("a node"))
        };
        let pod = |node: &str| -> Typed<Pod> {
            let whole = json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": []}});
            Typed(serde_json::from_value(whole).expect("a pod"))
        };
        let nodes = registry::kind_of::<Node>();
        assert_eq!(create(&node(), nodes, &own("n1")), Ok(()));
        let refused = create(&node(), nodes, &own("n2")).expect_err("another node");
        assert_eq!(
            refused.message,
            "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
        );
        assert_eq!(create(&Identity::control_plane(), nodes, &own("n2")), Ok(()));
        let pods = registry::kind_of::<Pod>();
        assert_eq!(change(&node(), pods, &pod("n1")), Ok(()));
        assert_eq!(change(&node(), pods, &pod("n2")).expect_err("another's pod").code, 403);
        assert_eq!(change(&node(), registry::kind_of::<ConfigMap>(), &Typed(ConfigMap::default())), Ok(()));
    }
}
