//! Eviction: deleting a pod as far as its disruption budget allows. `kubectl drain` and autoscalers of nodes ask for it.
//!
//! [`judge`] is pure. An eviction that a budget pays for is first written into the budget, compared against the version
//! that was judged: two evictions at once cannot both have the last of it.

use isopod_spec::registry;
use isopod_spec::resource::Target;
use isopod_spec::selector::Selector;
use isopod_spec::status::{Cause, Reason, Status};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::jiff::Timestamp;

use super::{Commit, DeleteOptions, Objects, TRIES_MAX};
use crate::controllers::facts;

/// Evictions that a budget remembers while their pods are still there.
const DISRUPTED_MAX: usize = 2000;
/// A budget that changed a moment ago has its numbers after so many seconds.
const RETRY_SECONDS: u32 = 10;
/// Nobody knows when there will be more: the client is given no time, which it would wait in vain without telling its user.
const NO_TIME: u32 = 0;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// What a budget says to an eviction.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The pod may go, and the budget is not charged.
    Free,
    /// The pod may go once this status is written.
    Charged(Box<PodDisruptionBudget>),
    /// Not now, and why.
    Refused(Status),
}

impl Objects {
    /// Deletes a pod if its disruption budget allows; returns it as it was.
    pub(crate) async fn evict(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        commit: Commit,
    ) -> Result<Pod, Status> {
        let kind = registry::kind_of::<Pod>();
        for _ in 0..TRIES_MAX {
            // The newest state: what was decided by this member's last request must be seen.
            self.linearizable().await?;
            let pod = self.get::<Pod>(namespace, name).await?;
            let pod = pod.ok_or_else(|| Status::not_found(&**kind, name))?;
            let budgets = self.list(&self.store.snapshot(), Some(namespace));
            match judge(&pod, &budgets, Timestamp::now()) {
                Verdict::Refused(status) => return Err(status),
                Verdict::Free => {}
                Verdict::Charged(_) if commit == Commit::DryRun => {}
                Verdict::Charged(budget) => match self.replace(&*budget, Target::Status).await {
                    Ok(_) => {}
                    Err(status) if status.reason == Reason::Conflict => continue,
                    Err(status) => return Err(status),
                },
            }
            if commit == Commit::Write {
                self.mark_evicted(&pod).await?;
            }
            let uid = options.uid.clone().or_else(|| pod.metadata.uid.clone());
            let options = DeleteOptions { uid, ..options.clone() };
            self.delete_object(kind, namespace, name, &options, commit).await?;
            return Ok(pod);
        }
        Err(Status::server_timeout(&**kind, "evict", 1))
    }

    /// Says in the pod's status why it goes. Whoever writes it at the same time has the newer word.
    async fn mark_evicted(&self, pod: &Pod) -> Result<(), Status> {
        let mut pod = pod.clone();
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|own| own.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("EvictionByEvictionAPI".to_owned()),
            message: Some("Eviction API: evicting".to_owned()),
            last_transition_time: Some(facts::stamp(Timestamp::now())),
            ..PodCondition::default()
        });
        match self.update_status(&pod).await {
            Ok(_) => Ok(()),
            Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => Ok(()),
            Err(status) => Err(status),
        }
    }
}

fn judge(pod: &Pod, budgets: &[PodDisruptionBudget], now: Timestamp) -> Verdict {
    let is_pending = facts::phase(pod) == "Pending";
    if is_pending || facts::is_finished(pod) || facts::is_terminating(&pod.metadata) {
        return Verdict::Free;
    }
    let mut own = budgets.iter().filter(|budget| covers(budget, pod));
    let Some(budget) = own.next() else { return Verdict::Free };
    if own.next().is_some() {
        let cause = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Verdict::Refused(Status::internal(cause));
    }
    let name = facts::name(&budget.metadata);
    let status = budget.status.clone().unwrap_or_default();
    if !facts::is_ready(pod) && spares_unready(budget, &status) {
        return Verdict::Free;
    }
    if status.observed_generation < budget.metadata.generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Verdict::Refused(refusal(&why, RETRY_SECONDS));
    }
    if status.disrupted_pods.as_ref().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        let why = format!("DisruptedPods map too big for {name}: too many evictions not confirmed");
        return Verdict::Refused(refusal(&why, NO_TIME));
    }
    let allowed = status.disruptions_allowed.unwrap_or(0);
    if allowed <= 0 {
        let (desired, current) = (status.desired_healthy.unwrap_or(0), status.current_healthy.unwrap_or(0));
        let why =
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
        return Verdict::Refused(refusal(&why, NO_TIME));
    }
    let mut charged = budget.clone();
    let status = charged.status.get_or_insert_default();
    status.disruptions_allowed = Some(allowed - 1);
    let disrupted = status.disrupted_pods.get_or_insert_default();
    disrupted.insert(facts::name(&pod.metadata).to_owned(), facts::stamp(now));
    Verdict::Charged(Box::new(charged))
}

/// A budget without selector covers nothing.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|chosen| Selector::of(Some(chosen)).matches(pod.metadata.labels.as_ref()))
}

/// A pod that serves nobody may go as long as enough others do, or whenever the budget's author says so.
fn spares_unready(budget: &PodDisruptionBudget, status: &PodDisruptionBudgetStatus) -> bool {
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    let (current, desired) = (status.current_healthy.unwrap_or(0), status.desired_healthy.unwrap_or(0));
    policy == Some("AlwaysAllow") || (current >= desired && desired > 0)
}

fn refusal(why: &str, seconds: u32) -> Status {
    let mut status = Status::too_many_requests(VIOLATES, seconds);
    let cause =
        Cause { reason: "DisruptionBudget".to_owned(), message: why.to_owned(), field: String::new() };
    status.details_mut().causes.push(cause);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodStatus;
    use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

    fn pod(phase: &str, ready: bool) -> Pod {
        let condition = PodCondition {
            type_: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            ..PodCondition::default()
        };
        Pod {
            metadata: ObjectMeta {
                name: Some("web-1".into()),
                labels: Some([("app".to_owned(), "web".to_owned())].into()),
                ..ObjectMeta::default()
            },
            status: Some(PodStatus {
                phase: Some(phase.into()),
                conditions: Some(vec![condition]),
                ..PodStatus::default()
            }),
            ..Pod::default()
        }
    }

    /// A budget for these labels that wants two healthy pods and has `current`.
    fn budget(label: Option<&str>, current: i32, policy: Option<&str>) -> PodDisruptionBudget {
        let selector = label.map(|label| LabelSelector {
            match_labels: Some([("app".to_owned(), label.to_owned())].into()),
            ..LabelSelector::default()
        });
        PodDisruptionBudget {
            metadata: ObjectMeta { name: Some("b".into()), generation: Some(1), ..ObjectMeta::default() },
            spec: Some(PodDisruptionBudgetSpec {
                selector,
                unhealthy_pod_eviction_policy: policy.map(str::to_owned),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: Some(PodDisruptionBudgetStatus {
                observed_generation: Some(1),
                desired_healthy: Some(2),
                current_healthy: Some(current),
                disruptions_allowed: Some((current - 2).max(0)),
                ..PodDisruptionBudgetStatus::default()
            }),
        }
    }

    fn verdict(pod: &Pod, budgets: &[PodDisruptionBudget]) -> String {
        match judge(pod, budgets, Timestamp::UNIX_EPOCH) {
            Verdict::Free => "free".to_owned(),
            Verdict::Charged(budget) => {
                let status = budget.status.unwrap();
                format!(
                    "charged, {} left, {} gone",
                    status.disruptions_allowed.unwrap(),
                    status.disrupted_pods.unwrap().len()
                )
            }
            Verdict::Refused(status) => {
                let causes = &status.details.as_ref().unwrap().causes;
                format!("{} {}", status.code, causes[0].message)
            }
        }
    }

    #[test]
    fn a_budget_is_charged_until_nothing_is_left_of_it() {
        let ready = pod("Running", true);
        for (budgets, expected) in [
            (vec![], "free"),
            (vec![budget(Some("other"), 0, None)], "free"),
            (vec![budget(None, 0, None)], "free"),
            (vec![budget(Some("web"), 3, None)], "charged, 0 left, 1 gone"),
            (
                vec![budget(Some("web"), 2, None)],
                "429 The disruption budget b needs 2 healthy pods and has 2 currently",
            ),
            (
                vec![budget(Some("web"), 9, None), budget(Some("web"), 9, None)],
                "500 This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ),
        ] {
            assert_eq!(verdict(&ready, &budgets), expected);
        }
        let mut newer = budget(Some("web"), 9, None);
        newer.metadata.generation = Some(2);
        assert_eq!(
            verdict(&ready, &[newer]),
            "429 The disruption budget b is still being processed by the server."
        );
    }

    #[test]
    fn pods_that_serve_nobody_are_not_charged_for() {
        let full = |policy| [budget(Some("web"), 1, policy)];
        for phase in ["Pending", "Succeeded", "Failed"] {
            assert_eq!(verdict(&pod(phase, false), &full(None)), "free", "{phase}");
        }
        let unready = pod("Running", false);
        assert!(verdict(&unready, &full(None)).starts_with("429"));
        assert_eq!(verdict(&unready, &full(Some("AlwaysAllow"))), "free");
        assert_eq!(verdict(&unready, &[budget(Some("web"), 2, None)]), "free");
        let mut leaving = pod("Running", true);
        leaving.metadata.deletion_timestamp = Some(facts::stamp(Timestamp::UNIX_EPOCH));
        assert_eq!(verdict(&leaving, &full(None)), "free");
    }
}
