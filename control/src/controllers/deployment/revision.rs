//! Which ReplicaSet stands for which template: finding it, naming it, numbering it.

use std::fmt::Write as _;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::controllers::facts::{self, StringMap};

/// Label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// Annotation with the number of the rollout, on Deployment and ReplicaSet.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation with earlier numbers of a ReplicaSet that was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotation with the Deployment's `replicas` when this ReplicaSet was last sized.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation with `replicas` + surge at that time: the base of proportional scaling.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that do not belong on its ReplicaSets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// As in Kubernetes: the history annotation stays below this many bytes.
const REVISION_HISTORY_BYTES: usize = 2000;
/// Letters of generated names: no vowels, so no words.
const NAME_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The ReplicaSet, if any, whose template is the Deployment's; the oldest of several.
pub(super) fn position_of_new(deployment: &Deployment, oldest_first: &[&ReplicaSet]) -> Option<usize> {
    let wanted = &deployment.spec.as_ref()?.template;
    oldest_first.iter().position(|replica_set| {
        let template = replica_set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.is_some_and(|template| same_template(template, wanted))
    })
}

/// Equality of templates apart from the hash label.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    fn without_hash(template: &PodTemplateSpec) -> (Option<ObjectMeta>, StringMap) {
        let mut metadata = template.metadata.clone().unwrap_or_default();
        let mut labels = metadata.labels.take().unwrap_or_default();
        labels.remove(HASH_LABEL);
        (Some(metadata), labels)
    }
    a.spec == b.spec && without_hash(a) == without_hash(b)
}

/// The number in the revision annotation; 0 when there is none.
pub(crate) fn revision(meta: &ObjectMeta) -> i64 {
    facts::annotation(meta, REVISION).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A number in one of the size annotations.
pub(super) fn number(meta: &ObjectMeta, annotation: &str) -> Option<i32> {
    facts::annotation(meta, annotation)?.parse().ok()
}

/// Writes an annotation; true when that changed something.
pub(super) fn annotate(meta: &mut ObjectMeta, key: &str, value: String) -> bool {
    if facts::annotation(meta, key) == Some(&value) {
        return false;
    }
    meta.annotations.get_or_insert_default().insert(key.to_owned(), value);
    true
}

/// Brings the annotations of the new ReplicaSet up to date: those of the Deployment, and its number, which only grows.
/// True when that changed something.
pub(super) fn update_annotations(meta: &mut ObjectMeta, deployment: &Deployment, number: i64) -> bool {
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            changed |= annotate(meta, key, value.clone());
        }
    }
    let before = revision(meta);
    if before >= number {
        return changed;
    }
    annotate(meta, REVISION, number.to_string());
    if before > 0 {
        let mut history: Vec<String> = facts::annotation(meta, REVISION_HISTORY)
            .map(|history| history.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        history.push(before.to_string());
        while history.len() > 1 && history.join(",").len() > REVISION_HISTORY_BYTES {
            history.remove(0);
        }
        annotate(meta, REVISION_HISTORY, history.join(","));
    }
    true
}

/// A ReplicaSet for the Deployment's template, not yet sized.
pub(super) fn new_replica_set(deployment: &Deployment, number: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template;
    let template_labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    template_labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = template_labels.clone();
    let mut selector: LabelSelector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let owner = facts::controller_reference("apps/v1", "Deployment", &deployment.metadata);
    let mut replica_set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", facts::name(&deployment.metadata))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    };
    update_annotations(&mut replica_set.metadata, deployment, number);
    replica_set
}

/// A short name for a template: the same for the same template and collision count, in every release.
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut text = serde_json::to_string(template).expect("a template has string keys only");
    if let Some(collisions) = collisions {
        write!(text, "{collisions}").expect("writing to a String cannot fail");
    }
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(NAME_ALPHABET[usize::from(digit) % 27])).collect()
}
