//! EndpointSlices: for each Service with a selector, the addresses and ports of its pods.
//!
//! [`plan`] is pure and changes as few slices as it can: every node's proxy reads each change.

pub(crate) mod desired;
mod pack;
pub(crate) mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::facts;

/// Label with the name of the Service that a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label with the program that keeps a slice; slices of others are left alone.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Our value of [`MANAGED_BY`]; clients know it from Kubernetes.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Label of slices of a Service without cluster address.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// What a plan is made from, besides the Service.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The pods of the Service's namespace that its selector matches.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Zones of nodes, by node name.
    pub(crate) zones: BTreeMap<String, String>,
    /// The slices that this controller keeps for the Service.
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
}

/// One write that brings the slices nearer to the Service's pods.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Creates a slice, to be named by the server.
    Create { slice: Box<EndpointSlice> },
    /// Replaces a slice's labels, ports and endpoints.
    Update { slice: Box<EndpointSlice> },
    /// Deletes a slice that is no longer needed.
    Delete { slice: Arc<EndpointSlice> },
}

/// The slices that have to change so that they list exactly the Service's pods.
pub(crate) fn plan(service: &Service, observed: &Observed) -> Vec<Action> {
    if !is_kept(service) || facts::is_terminating(&service.metadata) {
        return Vec::new();
    }
    let wanted = desired::groups(service, &observed.pods, &observed.zones);
    pack::pack(service, wanted, &observed.slices)
}

/// True for a Service whose slices come from its selector. Without one, its user keeps the slices.
pub(crate) fn is_kept(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() != Some("ExternalName")
        && spec.selector.as_ref().is_some_and(|pairs| !pairs.is_empty())
}
