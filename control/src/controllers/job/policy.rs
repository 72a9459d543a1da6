//! What a Job's failure policy says of a failed pod: the first rule that fits decides.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::controllers::facts;

/// What a failure counts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of those that the Job may have.
    Counts,
    /// None at all: the pod is replaced.
    Ignored,
    /// The end of the Job, with this message.
    FailsJob(String),
}

/// Judges a failed pod.
pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        let Some(what) = fits(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignored,
            "FailJob" => {
                let (namespace, name) = (facts::namespace(&pod.metadata), facts::name(&pod.metadata));
                Verdict::FailsJob(format!(
                    "{what} for pod {namespace}/{name} matching FailJob rule at index {index}"
                ))
            }
            _ => Verdict::Counts,
        };
    }
    Verdict::Counts
}

/// What of the pod the rule fits.
fn fits(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    if let Some(codes) = &rule.on_exit_codes {
        return exit_code(codes, pod);
    }
    let pattern = rule.on_pod_conditions.iter().flatten().find(|pattern| {
        let status = pattern.status.as_deref().unwrap_or("True");
        facts::pod_condition(pod, &pattern.type_).is_some_and(|condition| condition.status == status)
    });
    pattern.map(|pattern| format!("Pod condition {}", pattern.type_))
}

fn exit_code(codes: &PodFailurePolicyOnExitCodesRequirement, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let named = all.filter(|own| codes.container_name.as_ref().is_none_or(|name| own.name == *name));
    let mut failed = named.filter_map(|own| failure(own).map(|code| (own, code)));
    let (container, code) =
        failed.find(|(_, code)| codes.values.contains(code) == (codes.operator == "In"))?;
    Some(format!("Container {} failed with exit code {code}", container.name))
}

fn failure(container: &ContainerStatus) -> Option<i32> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    Some(ended.exit_code).filter(|code| *code != 0)
}
