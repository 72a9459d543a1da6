//! What a pod wants of a node, worked out once per pod.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeAffinity, Pod, PodSpec, Toleration};

use super::resources::Request;
use crate::controllers::facts::{self, StringMap};

/// A port of the host that a container wants for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HostPort {
    pub(super) protocol: String,
    /// Empty for all addresses.
    pub(super) address: String,
    pub(super) port: i32,
}

impl HostPort {
    /// True when both cannot be had on one node.
    pub(super) fn collides(&self, other: &HostPort) -> bool {
        let same_address =
            self.address.is_empty() || other.address.is_empty() || self.address == other.address;
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

/// Pods of one template want the same, so verdicts are shared between them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wants {
    pub(super) request: Request,
    pub(super) ports: BTreeSet<HostPort>,
    pub(super) node_selector: StringMap,
    pub(super) node_affinity: Option<NodeAffinity>,
    pub(super) tolerations: Vec<Toleration>,
    /// The uid of the pod's controller: its pods are spread over nodes.
    pub(super) owner: Option<Arc<str>>,
}

impl Wants {
    pub(super) fn of(pod: &Pod) -> Wants {
        let spec = pod.spec.clone().unwrap_or_default();
        Wants {
            request: Request::of(pod),
            ports: host_ports(&spec),
            node_selector: spec.node_selector.unwrap_or_default(),
            node_affinity: spec.affinity.and_then(|affinity| affinity.node_affinity),
            tolerations: spec.tolerations.unwrap_or_default(),
            owner: facts::controller_of(&pod.metadata).map(|owner| Arc::from(owner.uid.as_str())),
        }
    }
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            address: port
                .host_ip
                .clone()
                .filter(|address| address != "0.0.0.0" && address != "::")
                .unwrap_or_default(),
            port: port.host_port.filter(|port| *port > 0)?,
        })
    });
    wanted.collect()
}
