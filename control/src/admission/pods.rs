//! What a new Pod gets from the cluster: its service account and how long it stays on a node that is lost. Pure
//! functions over the Pod.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

/// Taints put on a node that is not well, and how many seconds a pod stays there by default: five minutes, as upstream,
/// on a node that says itself that it is not ready, and no longer than it took to be sure on one that is lost. Pods live
/// in the process of the node's agent, which is gone then.
const LOST_NODE_TAINTS: [(&str, i64); 2] =
    [("node.kubernetes.io/not-ready", 300), ("node.kubernetes.io/unreachable", 0)];

/// The service account of a pod that names none.
pub(crate) const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Fills in what the pod leaves to the cluster.
pub(crate) fn complete(pod: &mut Pod) {
    let Some(spec) = pod.spec.as_mut() else { return };
    name_service_account(spec);
    tolerations(spec);
}

/// The service account of a completed pod.
pub(crate) fn service_account(pod: &Pod) -> &str {
    let named = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    named.unwrap_or(DEFAULT_SERVICE_ACCOUNT)
}

fn name_service_account(spec: &mut PodSpec) {
    let given = [&spec.service_account_name, &spec.service_account]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty());
    let name = given.cloned().unwrap_or_else(|| DEFAULT_SERVICE_ACCOUNT.to_owned());
    spec.service_account = Some(name.clone());
    spec.service_account_name = Some(name);
}

fn tolerations(spec: &mut PodSpec) {
    for (taint, seconds) in LOST_NODE_TAINTS {
        let any = |value: &Option<String>| value.as_deref().is_none_or(str::is_empty);
        let tolerated = spec.tolerations.iter().flatten().any(|own| {
            (any(&own.key) || own.key.as_deref() == Some(taint))
                && (any(&own.effect) || own.effect.as_deref() == Some("NoExecute"))
        });
        if !tolerated {
            spec.tolerations.get_or_insert_default().push(Toleration {
                key: Some(taint.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(seconds),
                value: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(spec: PodSpec) -> PodSpec {
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        complete(&mut pod);
        pod.spec.expect("kept")
    }

    #[test]
    fn a_plain_pod_gets_account_and_tolerations() {
        let spec = completed(PodSpec::default());
        assert_eq!(spec.service_account_name.as_deref(), Some("default"));
        assert_eq!(spec.service_account.as_deref(), Some("default"));
        let tolerations = spec.tolerations.iter().flatten();
        let stays: Vec<_> =
            tolerations.filter_map(|own| Some((own.key.as_deref()?, own.toleration_seconds?))).collect();
        assert_eq!(stays, LOST_NODE_TAINTS);
    }

    #[test]
    fn what_the_author_says_is_kept() {
        let own = Toleration {
            key: Some("node.kubernetes.io/not-ready".to_owned()),
            operator: Some("Exists".to_owned()),
            ..Toleration::default()
        };
        let spec = PodSpec {
            service_account: Some("robot".to_owned()),
            tolerations: Some(vec![own.clone()]),
            ..PodSpec::default()
        };
        let spec = completed(spec);
        assert_eq!(spec.service_account_name.as_deref(), Some("robot"));
        let tolerations = spec.tolerations.expect("there");
        assert_eq!(tolerations.len(), 2);
        assert_eq!(tolerations[0], own);
        let all = Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() };
        let spec = completed(PodSpec { tolerations: Some(vec![all]), ..PodSpec::default() });
        assert_eq!(spec.tolerations.map(|own| own.len()), Some(1));
    }
}
