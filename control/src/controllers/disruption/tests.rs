//! Budgets: what may be evicted, by what is wanted and what is there.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(number: usize, ready: bool) -> Arc<Pod> {
    let condition = PodCondition {
        type_: "Ready".into(),
        status: if ready { "True" } else { "False" }.into(),
        ..PodCondition::default()
    };
    Arc::new(Pod {
        metadata: ObjectMeta { name: Some(format!("p{number}")), ..ObjectMeta::default() },
        status: Some(PodStatus {
            phase: Some("Running".into()),
            conditions: Some(vec![condition]),
            ..PodStatus::default()
        }),
        ..Pod::default()
    })
}

/// So many pods that are ready, then so many that are not.
fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
    (0..ready + unready).map(|number| pod(number, number < ready)).collect()
}

fn budget(min_available: Option<IntOrString>, max_unavailable: Option<IntOrString>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: ObjectMeta { generation: Some(3), ..ObjectMeta::default() },
        spec: Some(PodDisruptionBudgetSpec { min_available, max_unavailable, ..Default::default() }),
        status: None,
    }
}

fn percent(text: &str) -> Option<IntOrString> {
    Some(IntOrString::String(text.to_owned()))
}

fn number(number: i32) -> Option<IntOrString> {
    Some(IntOrString::Int(number))
}

fn status(
    budget: &PodDisruptionBudget,
    ready: usize,
    unready: usize,
    scale: usize,
) -> PodDisruptionBudgetStatus {
    let observed = Observed { pods: pods(ready, unready), expected: Ok(scale) };
    plan(budget, &observed, at(1000)).status.unwrap()
}

#[test]
fn what_may_go_is_what_is_healthy_beyond_what_must_stay() {
    for (budget, ready, unready, scale, desired, allowed) in [
        (budget(number(2), None), 3, 0, 0, 2, 1),
        (budget(number(2), None), 2, 1, 0, 2, 0),
        (budget(number(0), None), 3, 0, 0, 0, 3),
        (budget(percent("50%"), None), 5, 0, 5, 3, 2),
        (budget(percent("100%"), None), 5, 0, 5, 5, 0),
        (budget(None, number(1)), 5, 0, 5, 4, 1),
        (budget(None, number(1)), 4, 1, 5, 4, 0),
        (budget(None, number(9)), 4, 1, 5, 0, 4),
        (budget(None, percent("25%")), 5, 0, 5, 3, 2),
        (budget(None, number(1)), 0, 0, 0, 0, 0),
    ] {
        let status = status(&budget, ready, unready, scale);
        let found = (status.desired_healthy, status.disruptions_allowed);
        assert_eq!(found, (Some(desired), Some(allowed)), "{:?} {ready} {unready}", budget.spec);
        assert_eq!((status.observed_generation, status.current_healthy), (Some(3), Some(count(ready))));
        let condition = &status.conditions.unwrap()[0];
        assert_eq!(condition.reason, if allowed > 0 { "SufficientPods" } else { "InsufficientPods" });
    }
}

#[test]
fn an_eviction_counts_until_its_pod_is_gone_or_was_not_evicted_after_all() {
    let mut budget = budget(number(1), None);
    let noted =
        [("p0", 950), ("p9", 950), ("p1", 800)].map(|(name, second)| (name.to_owned(), Time(at(second))));
    let noted = Some(noted.into());
    budget.status = Some(PodDisruptionBudgetStatus { disrupted_pods: noted, ..Default::default() });
    let plan = plan(&budget, &Observed { pods: pods(3, 0), expected: Ok(0) }, at(1000));
    let status = plan.status.unwrap();
    let left: Vec<String> = status.disrupted_pods.unwrap().into_keys().collect();
    assert_eq!(left, ["p0"], "p9 is gone, and p1 is still there after a long time");
    assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(1)));
    assert_eq!(plan.again_after, Some(Duration::from_secs(70)));
}

#[test]
fn nothing_may_go_while_it_is_unknown_how_many_there_should_be() {
    let budget = budget(None, number(1));
    let expected = Err("DaemonSet/agent does not implement the scale subresource".to_owned());
    let status = plan(&budget, &Observed { pods: pods(3, 0), expected }, at(1000)).status.unwrap();
    assert_eq!(status.disruptions_allowed, Some(0));
    assert_eq!(status.conditions.unwrap()[0].reason, "SyncFailed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// A status that was written is not written again, and never allows more than leaves the wanted number.
    #[test]
    fn every_budget_comes_to_rest(
        least in 0..8_i32, as_percent in any::<bool>(), inverse in any::<bool>(), ready in 0..8_usize, unready in 0..8_usize,
    ) {
        let amount = if as_percent { percent(&format!("{}%", least * 12)) } else { number(least) };
        let mut budget = if inverse { budget(None, amount) } else { budget(amount, None) };
        let scale = ready + unready;
        let status = status(&budget, ready, unready, scale);
        let (allowed, desired) = (status.disruptions_allowed.unwrap(), status.desired_healthy.unwrap());
        prop_assert!(allowed == 0 || status.current_healthy.unwrap() - allowed >= desired);
        budget.status = Some(status);
        let observed = Observed { pods: pods(ready, unready), expected: Ok(scale) };
        prop_assert_eq!(plan(&budget, &observed, at(2000)).status, None);
    }
}
