//! Who makes room for whom.

use expect_test::expect;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::picture::Picture;
use super::{bound, created, deleted, labelled, node, one, picture, pod, selector, with};
use crate::cache::{Change, ObjectKey};

fn ranked(pod: Pod, priority: i32) -> Pod {
    with(pod, |spec| spec.priority = Some(priority))
}

/// A pod that takes one of four cpus of a node.
fn quarter(name: &str, priority: i32) -> Pod {
    ranked(pod(name, &[("cpu", "1")]), priority)
}

fn four(name: &str) -> Node {
    node(name, "4", "4Gi", "110")
}

fn started(mut pod: Pod, second: i64) -> Pod {
    let second = jiff::Timestamp::from_second(second).unwrap();
    pod.status.get_or_insert_default().start_time = Some(Time(second));
    pod
}

/// On `n1` four pods of priorities 1 to 4.
fn full() -> Picture {
    let there = [1, 2, 3, 4].map(|priority| bound(quarter(&format!("p{priority}"), priority), "n1"));
    picture(&[four("n1")], &there)
}

#[test]
fn the_least_important_pods_leave_and_no_more_than_needed() {
    let half = |priority| ranked(pod("new", &[("cpu", "2")]), priority);
    expect![[r#"0/1 nodes are available: 1 Insufficient cpu. n1 without ["p2", "p1"]"#]]
        .assert_eq(&one(&mut full(), half(10)));
    expect![[r#"0/1 nodes are available: 1 Insufficient cpu. n1 without ["p1"]"#]]
        .assert_eq(&one(&mut full(), quarter("new", 2)));
    expect!["0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."].assert_eq(&one(&mut full(), quarter("new", 1)));
    expect!["0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu."].assert_eq(&one(&mut full(), half(2)));
    let patient = with(half(10), |spec| spec.preemption_policy = Some("Never".into()));
    expect![
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    ]
    .assert_eq(&one(&mut full(), patient));
    let huge = ranked(pod("new", &[("cpu", "5")]), 10);
    expect!["0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."].assert_eq(&one(&mut full(), huge));
}

#[test]
fn the_node_that_loses_least_is_taken() {
    let whole = |name: &str, priority, node: &str| bound(ranked(pod(name, &[("cpu", "4")]), priority), node);
    let half = |name: &str, priority, node: &str| bound(ranked(pod(name, &[("cpu", "2")]), priority), node);
    let nodes = ["n1", "n2", "n3"].map(four);
    let new = || ranked(pod("new", &[("cpu", "4")]), 10);
    for (what, there, expected) in [
        (
            "the lowest of the highest priorities",
            vec![whole("a", 5, "n1"), whole("b", 3, "n2"), whole("c", 4, "n3")],
            "n2",
        ),
        (
            "the least sum",
            vec![
                half("a", 5, "n1"),
                half("b", 5, "n1"),
                half("c", 5, "n2"),
                half("d", 1, "n2"),
                half("e", 5, "n3"),
                half("f", 2, "n3"),
            ],
            "n2",
        ),
        (
            "fewer pods",
            vec![
                half("a", 5, "n1"),
                half("b", 5, "n1"),
                whole("c", 5, "n2"),
                half("e", 5, "n3"),
                half("f", 5, "n3"),
            ],
            "n2",
        ),
        (
            "who started last",
            vec![
                started(whole("a", 5, "n1"), 10),
                started(whole("b", 5, "n2"), 30),
                started(whole("c", 5, "n3"), 20),
            ],
            "n2",
        ),
    ] {
        let chosen = one(&mut picture(&nodes, &there), new());
        assert!(chosen.contains(&format!(" {expected} without ")), "{what}: {chosen}");
    }
}

fn budget(app: &str, allowed: i32) -> Change {
    let budget = PodDisruptionBudget {
        metadata: pod(app, &[]).metadata,
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(selector(&[("app", app)])),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: Some(PodDisruptionBudgetStatus {
            disruptions_allowed: Some(allowed),
            ..PodDisruptionBudgetStatus::default()
        }),
    };
    Change::PodDisruptionBudget(created(&budget.metadata, &budget))
}

#[test]
fn budgets_are_kept_where_that_is_possible() {
    let guarded = |name: &str, node: &str| labelled(bound(quarter(name, 1), node), &[("app", "db")]);
    let plain = |name: &str, node: &str| bound(quarter(name, 5), node);
    let mut one_node = picture(
        &[four("n1")],
        &[guarded("g1", "n1"), guarded("g2", "n1"), plain("a", "n1"), plain("b", "n1")],
    );
    one_node.observe_other(&budget("db", 1));
    expect![[r#"0/1 nodes are available: 1 Insufficient cpu. n1 without ["g1"]"#]]
        .assert_eq(&one(&mut one_node, quarter("new", 10)));
    let mut none_left = picture(
        &[four("n1")],
        &[guarded("g1", "n1"), guarded("g2", "n1"), plain("a", "n1"), plain("b", "n1")],
    );
    none_left.observe_other(&budget("db", 0));
    expect![[r#"0/1 nodes are available: 1 Insufficient cpu. n1 without ["b"]"#]]
        .assert_eq(&one(&mut none_left, quarter("new", 10)));
    let whole = ranked(pod("new", &[("cpu", "4")]), 10);
    let mut two = picture(&[four("n1"), four("n2")], &[guarded("g1", "n1"), plain("a", "n2")]);
    two.observe_other(&budget("db", 0));
    expect![[r#"0/2 nodes are available: 2 Insufficient cpu. n2 without ["a"]"#]]
        .assert_eq(&one(&mut two, whole.clone()));
    let mut must = picture(&[four("n1")], &[guarded("g1", "n1")]);
    must.observe_other(&budget("db", 0));
    expect![[r#"0/1 nodes are available: 1 Insufficient cpu. n1 without ["g1"]"#]]
        .assert_eq(&one(&mut must, whole));
}

#[test]
fn room_is_kept_for_the_pod_until_it_can_come() {
    let victim = bound(ranked(pod("old", &[("cpu", "4")]), 0), "n1");
    let mut picture = picture(&[four("n1")], std::slice::from_ref(&victim));
    let new = || ranked(pod("new", &[("cpu", "4")]), 10);
    assert!(one(&mut picture, new()).contains("n1 without"));
    expect!["0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node."].assert_eq(&one(&mut picture, new()));
    picture.observe_pod(&deleted(&victim.metadata, &victim));
    // Whoever matters less finds no room, and nobody to send away.
    assert!(
        one(&mut picture, quarter("small", 5)).starts_with("0/1 nodes are available: 1 Insufficient cpu.")
    );
    assert_eq!(one(&mut picture, new()), "n1");
}

#[test]
fn who_matters_more_takes_room_that_is_kept_for_others() {
    let victim = bound(ranked(pod("old", &[("cpu", "4")]), 0), "n1");
    let mut picture = picture(&[four("n1")], std::slice::from_ref(&victim));
    assert!(one(&mut picture, ranked(pod("new", &[("cpu", "4")]), 10)).contains("n1 without"));
    picture.observe_pod(&deleted(&victim.metadata, &victim));
    assert_eq!(one(&mut picture, quarter("more", 20)), "n1");
}

#[test]
fn a_victim_that_stays_after_all_counts_again() {
    let victim = bound(ranked(pod("old", &[("cpu", "4")]), 0), "n1");
    let mut picture = picture(&[four("n1")], std::slice::from_ref(&victim));
    let new = ranked(pod("new", &[("cpu", "4")]), 10);
    assert!(one(&mut picture, new.clone()).contains(r#"without ["old"]"#));
    picture.spare(&ObjectKey::of(&victim.metadata));
    picture.unassume(&ObjectKey::of(&new.metadata));
    assert!(one(&mut picture, new).contains(r#"without ["old"]"#));
}
