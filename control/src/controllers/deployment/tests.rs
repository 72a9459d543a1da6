//! Rollouts step by step, and the properties that hold for all of them.

mod world;

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use k8s_openapi::api::apps::v1::{DeploymentStrategy, ReplicaSetCondition};
use proptest::prelude::*;

use super::rollout::wanted;
use super::{Action, facts, revision};
use world::{World, world};

fn check(world: &mut World, expected: Expect) {
    expected.assert_eq(&world.story());
}

#[test]
fn a_new_deployment_gets_a_replica_set() {
    check(
        &mut world(3),
        expect![[r#"
            create v1 of 3
            revision 1
            Progressing=True NewReplicaSetCreated
            Available=False MinimumReplicasUnavailable
            --
            Progressing=True NewReplicaSetAvailable
            Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn a_new_image_is_rolled_out_within_surge_and_unavailability() {
    let mut world = world(3);
    world.settle();
    world.set_image("v2");
    check(
        &mut world,
        expect![[r#"
        create v2 of 1
        revision 2
        Progressing=True NewReplicaSetCreated
        Available=True MinimumReplicasAvailable
        --
        resize v1 3 → 2
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v2 1 → 2
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v1 2 → 1
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v2 2 → 3
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v1 1 → 0
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn without_surge_old_pods_go_first() {
    let mut world = world(2);
    world.strategy(0, 1);
    world.settle();
    world.set_image("v2");
    check(
        &mut world,
        expect![[r#"
        create v2 of 0
        revision 2
        Progressing=True NewReplicaSetCreated
        Available=True MinimumReplicasAvailable
        --
        resize v1 2 → 1
        --
        resize v2 0 → 1
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v1 1 → 0
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v2 1 → 2
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn recreate_waits_until_no_old_pod_runs() {
    let mut world = world(2);
    world.spec().strategy = Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    world.settle();
    world.set_image("v2");
    world.apply(world.plan());
    world.run_pods(|_, wanted| wanted);
    world.unfinished_pods = vec![("rs-1".into(), 1)];
    world.settle();
    assert_eq!(world.replica_sets.len(), 1, "an old pod still runs");
    world.unfinished_pods.clear();
    check(
        &mut world,
        expect![[r#"
        create v2 of 2
        revision 2
        Progressing=True NewReplicaSetCreated
        Available=False MinimumReplicasUnavailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn a_change_to_recreate_in_mid_rollout_with_another_size_comes_to_its_end() {
    let mut world = world(4);
    world.settle();
    world.set_image("v2");
    world.apply(world.plan());
    world.run_pods(|_, wanted| wanted);
    world.spec().strategy = Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    world.spec().replicas = Some(2);
    world.settle();
    assert_eq!(world.replica_sets.iter().map(|set| wanted(set)).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn going_back_to_an_earlier_template_gives_its_replica_set_the_next_number() {
    let mut world = world(2);
    world.settle();
    world.set_image("v2");
    world.settle();
    world.set_image("v1");
    check(
        &mut world,
        expect![[r#"
        resize v1 0 → 1
        revision 3
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable
        --
        resize v2 2 → 1
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v1 1 → 2
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v2 1 → 0
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
    let annotations = world.replica_sets[0].metadata.annotations.clone().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn scaling_alone_makes_no_new_replica_set() {
    let mut world = world(2);
    world.settle();
    world.spec().replicas = Some(5);
    check(
        &mut world,
        expect![[r#"
        resize v1 2 → 5
        Progressing=True NewReplicaSetAvailable
        Available=False MinimumReplicasUnavailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
    world.spec().replicas = Some(0);
    check(
        &mut world,
        expect![[r#"
        resize v1 5 → 0
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn scaling_in_mid_rollout_keeps_the_shares() {
    let mut world = world(10);
    world.strategy(3, 2);
    world.settle();
    world.set_image("v2");
    for _ in 0..2 {
        world.apply(world.plan());
        // The new pods do not come up.
        world.run_pods(|set, wanted| if set.metadata.uid.as_deref() == Some("rs-1") { wanted } else { 0 });
    }
    world.spec().replicas = Some(20);
    let plan = world.plan();
    expect![[r#"
        resize v2 3 → 5
        resize v1 8 → 18
        Progressing=True ReplicaSetUpdated
        Available=False MinimumReplicasUnavailable"#]]
    .assert_eq(&world.describe(&plan));
    world.apply(plan);
    assert_eq!(world.wanted_total(), 23);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = world(2);
    world.settle();
    world.spec().paused = Some(true);
    world.set_image("v2");
    world.spec().replicas = Some(3);
    check(
        &mut world,
        expect![[r#"
        resize v1 2 → 3
        Progressing=Unknown DeploymentPaused
        Available=False MinimumReplicasUnavailable
        --
        Progressing=Unknown DeploymentPaused
        Available=True MinimumReplicasAvailable"#]],
    );
    world.spec().paused = Some(false);
    check(
        &mut world,
        expect![[r#"
        create v2 of 1
        revision 2
        Progressing=True NewReplicaSetCreated
        Available=True MinimumReplicasAvailable
        --
        resize v1 3 → 2
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v2 1 → 2
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v1 2 → 1
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v2 2 → 3
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        resize v1 1 → 0
        Progressing=True ReplicaSetUpdated
        Available=True MinimumReplicasAvailable
        --
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn no_progress_until_the_deadline_is_a_failure_and_progress_ends_it() {
    let mut world = world(1);
    world.apply(world.plan());
    world.run_pods(|_, _| 0);
    world.apply(world.plan());
    let waiting = world.plan();
    assert_eq!((waiting.actions.len(), &waiting.status), (0, &None));
    let again = waiting.again_after.expect("the deadline has to be watched");
    assert!(again <= Duration::from_secs(600) && again > Duration::from_secs(590), "{again:?}");
    world.now += 700;
    let late = world.plan();
    expect![[r#"
        Progressing=False ProgressDeadlineExceeded
        Available=False MinimumReplicasUnavailable"#]]
    .assert_eq(&world.describe(&late));
    world.apply(late);
    assert_eq!(world.plan().again_after, None);
    world.run_pods(|_, wanted| wanted);
    check(
        &mut world,
        expect![[r#"
        Progressing=True NewReplicaSetAvailable
        Available=True MinimumReplicasAvailable"#]],
    );
}

#[test]
fn a_failure_of_the_replica_set_is_shown() {
    let mut world = world(1);
    world.settle();
    world.run_pods(|_, _| 0);
    let status = Arc::make_mut(&mut world.replica_sets[0]).status.as_mut().unwrap();
    status.conditions = Some(vec![ReplicaSetCondition {
        type_: "ReplicaFailure".into(),
        status: "True".into(),
        reason: Some("FailedCreate".into()),
        message: Some("pods \"web-\" is forbidden: no".into()),
        ..ReplicaSetCondition::default()
    }]);
    let plan = world.plan();
    expect![[r#"
        Progressing=True NewReplicaSetAvailable
        Available=False MinimumReplicasUnavailable
        ReplicaFailure=True FailedCreate"#]]
    .assert_eq(&world.describe(&plan));
}

#[test]
fn only_the_newest_replica_sets_are_kept() {
    let mut world = world(1);
    world.spec().revision_history_limit = Some(2);
    for version in 1..=5 {
        world.set_image(&format!("v{version}"));
        world.settle();
    }
    let revisions: Vec<i64> =
        world.replica_sets.iter().map(|set| revision::revision(&set.metadata)).collect();
    assert_eq!(revisions, [3, 4, 5]);
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let mut world = world(1);
    world.settle();
    let set = Arc::make_mut(&mut world.replica_sets[0]);
    facts::release(set, "d-uid");
    check(&mut world, expect!["adopt v1"]);
    assert!(facts::is_controlled_by(&world.replica_sets[0].metadata, "d-uid"));
    let set = Arc::make_mut(&mut world.replica_sets[0]);
    set.metadata.labels = Some([("app".to_owned(), "other".to_owned())].into());
    let plan = world.plan();
    expect!["release v1"].assert_eq(&world.describe(&plan));
}

#[test]
fn a_deployment_that_is_being_deleted_changes_nothing() {
    let mut world = world(3);
    world.settle();
    world.set_image("v2");
    world.deployment.metadata.deletion_timestamp = Some(world.time());
    assert_eq!(world.plan().actions, []);
}

#[test]
fn names_are_stable_between_releases() {
    let plan = world(1).plan();
    let Some(Action::Create { replica_set }) = plan.actions.first() else { panic!("{plan:?}") };
    expect!["web-78887498c7"].assert_eq(facts::name(&replica_set.metadata));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pods come up in any order, the image and the size change at any time: bounds hold, and the end is reached.
    #[test]
    fn every_rollout_keeps_its_bounds_and_ends(
        replicas in 0..12_i32,
        surge in 0..4_i32,
        unavailable in 0..4_i32,
        steps in proptest::collection::vec((0..12_i32, 0..12_i32, prop::option::weighted(0.1, 0..4_u8), prop::option::weighted(0.1, 0..12_i32)), 1..40),
    ) {
        let mut world = world(replicas);
        world.strategy(surge, unavailable);
        world.settle();
        let (surge, unavailable) = if surge + unavailable == 0 { (0, 1) } else { (surge, unavailable) };
        let mut largest = replicas;
        for (old_up, new_up, image, size) in steps {
            if let Some(image) = image {
                world.set_image(&format!("v{image}"));
            }
            if let Some(size) = size {
                world.spec().replicas = Some(size);
                largest = largest.max(size);
            }
            let before = world.clone();
            world.apply(world.plan());
            let wanted_now = world.deployment.spec.as_ref().unwrap().replicas.unwrap();
            prop_assert!(world.wanted_total() <= largest + surge, "{} pods wanted", world.wanted_total());
            let min_available = (wanted_now - unavailable).max(0);
            if size.is_none() && before.available_total() >= min_available {
                prop_assert!(world.available_total() >= min_available);
            }
            world.run_pods(|set, _| if set.metadata.uid.as_deref() == Some("rs-1") { old_up } else { new_up });
        }
        world.settle();
        let replicas = world.deployment.spec.as_ref().unwrap().replicas.unwrap();
        prop_assert_eq!(world.wanted_total(), replicas);
        let status = world.deployment.status.clone().unwrap();
        prop_assert_eq!(status.updated_replicas.unwrap_or(0), replicas);
        let reasons: Vec<_> = status.conditions.iter().flatten().filter_map(|c| c.reason.as_deref()).collect();
        prop_assert!(reasons.contains(&"NewReplicaSetAvailable"), "{:?}", reasons);
    }
}
