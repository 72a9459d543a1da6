//! A volume for a claim that no existing one suits.

use k8s_openapi::api::core::v1::{
    LocalVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Action, Observed, reference, tell};
use crate::controllers::facts;
use crate::controllers::volumes::{
    DELAYED, FOLDER, HOSTNAME, PROVISIONED_BY, PROVISIONER, SELECTED_NODE, annotate, class_of, spec_of,
};
use crate::events::Level;

/// A class whose volumes somebody makes by hand.
const BY_HAND: &str = "kubernetes.io/no-provisioner";
/// Annotations of a claim: who is to make its volume.
const MAKERS: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];

pub(super) fn plan(claim: &PersistentVolumeClaim, observed: &Observed) -> Vec<Action> {
    let class = match (class_of(claim), &observed.class) {
        ("", _) => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            return vec![tell("FailedBinding", message.to_owned())];
        }
        (name, None) => return vec![failed(format!("storageclass.storage.k8s.io \"{name}\" not found"))],
        (_, Some(class)) => class,
    };
    match class.provisioner.as_str() {
        PROVISIONER => ours(claim, class, observed),
        BY_HAND => vec![tell("FailedBinding", "no persistent volumes available for this claim".to_owned())],
        other => foreign(claim, other),
    }
}

fn failed(message: String) -> Action {
    Action::Tell(Level::Warning, "ProvisioningFailed", message)
}

/// Somebody else makes it, and hears of the claim by its annotation.
fn foreign(claim: &PersistentVolumeClaim, provisioner: &str) -> Vec<Action> {
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    let mut actions = vec![tell("ExternalProvisioning", message)];
    let is_marked = |key: &&str| facts::annotation(&claim.metadata, key) == Some(provisioner);
    if !MAKERS.iter().all(is_marked) {
        let mut claim = claim.clone();
        annotate(&mut claim.metadata, &MAKERS.map(|key| (key, provisioner)));
        actions.push(Action::PutClaim(Box::new(claim)));
    }
    actions
}

fn ours(claim: &PersistentVolumeClaim, class: &StorageClass, observed: &Observed) -> Vec<Action> {
    let name = facts::name(&class.metadata);
    let refuse =
        |why: &str| vec![failed(format!("failed to provision volume with StorageClass \"{name}\": {why}"))];
    if let Some(why) = unfit(claim, class) {
        return refuse(why);
    }
    let Some(node) = &observed.node else {
        // The node is gone: the scheduler has to choose another one.
        let mut claim = claim.clone();
        claim.metadata.annotations.iter_mut().for_each(|own| drop(own.remove(SELECTED_NODE)));
        return vec![Action::PutClaim(Box::new(claim))];
    };
    let Some(folder) = facts::annotation(&node.metadata, FOLDER) else {
        return refuse(&format!("node {} makes no volumes", facts::name(&node.metadata)));
    };
    let volume = volume(claim, class, node, folder);
    let made = format!("Successfully provisioned volume {}", facts::name(&volume.metadata));
    vec![
        tell(
            "Provisioning",
            format!(
                "provisioner \"{PROVISIONER}\" is provisioning volume for claim \"{}/{}\"",
                facts::namespace(&claim.metadata),
                facts::name(&claim.metadata)
            ),
        ),
        Action::CreateVolume(Box::new(volume)),
        tell("ProvisioningSucceeded", made),
    ]
}

/// What a folder of a node cannot be.
fn unfit(claim: &PersistentVolumeClaim, class: &StorageClass) -> Option<&'static str> {
    let wanted = spec_of(claim);
    if class.volume_binding_mode.as_deref() != Some(DELAYED) {
        Some(
            "volumeBindingMode must be WaitForFirstConsumer: a volume is a folder of the node of its first pod",
        )
    } else if wanted.volume_mode.as_deref() == Some("Block") {
        Some("volumeMode Block is not offered: a volume is a folder")
    } else if wanted.access_modes.iter().flatten().any(|mode| mode == "ReadWriteMany") {
        Some("accessMode ReadWriteMany is not offered: a volume is a folder of one node")
    } else if wanted.selector.is_some() {
        Some("claim.Spec.Selector is not supported for dynamic provisioning")
    } else if wanted.data_source.is_some() || wanted.data_source_ref.is_some() {
        Some("data sources are not supported")
    } else {
        None
    }
}

fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &Node,
    folder: &str,
) -> PersistentVolume {
    let name = format!("pvc-{}", facts::uid(&claim.metadata));
    let labels = node.metadata.labels.as_ref();
    let host = labels.and_then(|labels| labels.get(HOSTNAME)).map(String::as_str);
    let host = host.unwrap_or_else(|| facts::name(&node.metadata)).to_owned();
    let requirement = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![host]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), match_fields: None };
    let wanted = spec_of(claim);
    let mut metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    annotate(&mut metadata, &[(PROVISIONED_BY, PROVISIONER)]);
    PersistentVolume {
        metadata,
        spec: Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes.clone(),
            capacity: wanted.resources.as_ref().and_then(|resources| resources.requests.clone()),
            claim_ref: Some(reference(claim)),
            local: Some(LocalVolumeSource {
                path: format!("{}/{name}", folder.trim_end_matches('/')),
                fs_type: None,
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            mount_options: class.mount_options.clone(),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}
