//! StatefulSets: the order in which pods come, go and are replaced, and what the status says of it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetOrdinals,
    StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, Pod, PodCondition, PodSpec, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use proptest::prelude::*;

use super::{Action, Observed, Plan, facts, plan, revisions};

/// A set and its pods, in a cluster that carries out plans.
struct World {
    set: StatefulSet,
    pods: Vec<Arc<Pod>>,
    revisions: Vec<Arc<ControllerRevision>>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
    created: usize,
    /// New pods are ready at once.
    is_quick: bool,
}

fn now() -> Timestamp {
    Timestamp::from_second(10_000).unwrap()
}

fn set(replicas: i32, change: impl FnOnce(&mut StatefulSetSpec)) -> World {
    let labels = Some([("app".to_owned(), "db".to_owned())].into());
    let mut spec = StatefulSetSpec {
        replicas: Some(replicas),
        service_name: Some("db".into()),
        selector: LabelSelector { match_labels: labels.clone(), ..LabelSelector::default() },
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
            spec: Some(PodSpec { containers: vec![Container::default()], ..PodSpec::default() }),
        },
        ..StatefulSetSpec::default()
    };
    change(&mut spec);
    let metadata = ObjectMeta { name: Some("db".into()), uid: Some("u".into()), ..ObjectMeta::default() };
    let set = StatefulSet { metadata, spec: Some(spec), status: None };
    World { set, pods: Vec::new(), revisions: Vec::new(), claims: Vec::new(), created: 0, is_quick: true }
}

impl World {
    fn plan(&self) -> Plan {
        let (pods, revisions, claims) = (self.pods.clone(), self.revisions.clone(), self.claims.clone());
        plan(&self.set, Observed { pods, revisions, claims }, now())
    }

    fn pass(&mut self) -> bool {
        let plan = self.plan();
        let is_met = plan.actions.is_empty() && plan.status.is_none();
        if let Some(status) = plan.status {
            self.set.status = Some(status);
        }
        plan.actions.into_iter().for_each(|action| self.carry_out(action));
        is_met
    }

    fn settle(&mut self) {
        assert!((0..100).any(|_| self.pass()), "no fixed point: {:?}", self.plan());
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Create { pods } => pods.into_iter().for_each(|pod| self.create(pod)),
            Action::Delete { pods } => {
                self.pods.retain(|own| pods.iter().all(|pod| pod.metadata.uid != own.metadata.uid));
            }
            Action::Revise(revisions::Change::Create(revision)) => self.revisions.push(Arc::from(revision)),
            Action::Revise(revisions::Change::Renumber(revision)) => {
                self.revisions.retain(|own| own.metadata.name != revision.metadata.name);
                self.revisions.push(Arc::from(revision));
            }
            Action::Revise(revisions::Change::Delete(revision)) => {
                self.revisions.retain(|own| own.metadata.name != revision.metadata.name);
            }
            Action::Claim { claims } => self.claims.extend(claims.into_iter().map(Arc::new)),
            Action::Reown { claims } => {
                for claim in claims {
                    self.claims.retain(|own| own.metadata.name != claim.metadata.name);
                    self.claims.push(Arc::new(claim));
                }
            }
            Action::Adopt { .. } | Action::Release { .. } => panic!("all pods are the set's"),
        }
    }

    fn create(&mut self, mut pod: Pod) {
        self.created += 1;
        pod.metadata.uid = Some(format!("p{}", self.created));
        pod.status.get_or_insert_default().phase = Some("Running".into());
        let pod = if self.is_quick { ready(pod) } else { pod };
        self.pods.push(Arc::new(pod));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(Pod) -> Pod) {
        let pod =
            self.pods.iter_mut().find(|pod| facts::name(&pod.metadata) == name).expect("there is such a pod");
        *pod = Arc::new(change((**pod).clone()));
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.pods.iter().map(|pod| facts::name(&pod.metadata)).collect();
        names.sort_unstable();
        names
    }

    fn set_image(&mut self, image: &str) {
        let template = &mut self.set.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }

    /// Which pods have this image.
    fn with_image(&self, image: &str) -> Vec<&str> {
        let has = |pod: &&Arc<Pod>| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image);
        let mut names: Vec<&str> =
            self.pods.iter().filter(has).map(|pod| facts::name(&pod.metadata)).collect();
        names.sort_unstable();
        names
    }

    /// (replicas, ready, updated, whether the rollout is over)
    fn status(&self) -> (i32, i32, i32, bool) {
        let status = self.set.status.clone().unwrap();
        let over = status.current_revision == status.update_revision;
        (status.replicas, status.ready_replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0), over)
    }
}

fn ready(mut pod: Pod) -> Pod {
    pod.status.get_or_insert_default().conditions = Some(vec![PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        last_transition_time: Some(Time(Timestamp::from_second(9_000).unwrap())),
        ..PodCondition::default()
    }]);
    pod
}

fn unready(mut pod: Pod) -> Pod {
    pod.status.get_or_insert_default().conditions = None;
    pod
}

fn rolling(partition: i32) -> StatefulSetUpdateStrategy {
    let rolling = RollingUpdateStatefulSetStrategy { partition: Some(partition), max_unavailable: None };
    StatefulSetUpdateStrategy { type_: Some("RollingUpdate".into()), rolling_update: Some(rolling) }
}

#[test]
fn pods_come_one_after_the_other_and_each_waits_for_the_one_before() {
    let mut world = set(3, |_| {});
    world.is_quick = false;
    world.settle();
    assert_eq!(world.names(), ["db-0"]);
    world.change("db-0", ready);
    world.settle();
    assert_eq!(world.names(), ["db-0", "db-1"]);
    world.change("db-1", ready);
    world.settle();
    assert_eq!((world.names().len(), world.status()), (3, (3, 2, 3, true)));
    let pod = &world.pods[2];
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-2"), Some("db")));
    assert_eq!(facts::label(&pod.metadata, "statefulset.kubernetes.io/pod-name"), Some("db-2"));
    assert_eq!(facts::label(&pod.metadata, "apps.kubernetes.io/pod-index"), Some("2"));
}

#[test]
fn a_parallel_set_waits_for_nobody_and_numbers_may_begin_elsewhere() {
    let mut world = set(3, |spec| {
        spec.pod_management_policy = Some("Parallel".into());
        spec.ordinals = Some(StatefulSetOrdinals { start: Some(5) });
    });
    world.is_quick = false;
    world.settle();
    assert_eq!((world.names(), world.status()), (vec!["db-5", "db-6", "db-7"], (3, 0, 3, true)));
}

#[test]
fn the_highest_number_goes_first_and_only_while_all_before_it_are_well() {
    let mut world = set(3, |_| {});
    world.settle();
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    world.change("db-0", unready);
    world.settle();
    assert_eq!(world.names().len(), 3, "the pods that stay are not well");
    world.change("db-0", ready);
    world.pass();
    assert_eq!(world.names(), ["db-0", "db-1"]);
    world.settle();
    assert_eq!((world.names(), world.status()), (vec!["db-0"], (1, 1, 1, true)));
}

#[test]
fn a_pod_that_has_ended_comes_again_under_its_name() {
    let mut world = set(2, |_| {});
    world.settle();
    world.change("db-0", |mut pod| {
        pod.status.get_or_insert_default().phase = Some("Failed".into());
        pod
    });
    world.settle();
    assert_eq!((world.names(), world.created), (vec!["db-0", "db-1"], 3));
}

#[test]
fn a_new_template_reaches_the_pods_from_the_highest_number_down() {
    let mut world = set(3, |_| {});
    world.settle();
    world.set_image("v2");
    world.is_quick = false;
    world.settle();
    assert_eq!((world.with_image("v2"), world.status()), (vec!["db-2"], (3, 2, 1, false)));
    world.change("db-2", ready);
    world.is_quick = true;
    world.settle();
    assert_eq!((world.with_image("v2").len(), world.status()), (3, (3, 3, 3, true)));
    assert_eq!(world.revisions.len(), 2);
}

#[test]
fn a_partition_keeps_the_low_numbers_as_they_are_even_when_they_come_again() {
    let mut world = set(3, |spec| spec.update_strategy = Some(rolling(2)));
    world.set_image("v1");
    world.settle();
    world.set_image("v2");
    world.settle();
    assert_eq!((world.with_image("v2"), world.status()), (vec!["db-2"], (3, 3, 1, false)));
    world.pods.retain(|pod| facts::name(&pod.metadata) != "db-0");
    world.settle();
    assert_eq!(world.with_image("v1"), ["db-0", "db-1"]);
    world.set.spec.as_mut().unwrap().update_strategy = Some(rolling(0));
    world.settle();
    assert_eq!((world.with_image("v2").len(), world.status().3), (3, true));
}

#[test]
fn on_delete_waits_for_whoever_deletes() {
    let mut world = set(2, |spec| {
        spec.update_strategy =
            Some(StatefulSetUpdateStrategy { type_: Some("OnDelete".into()), rolling_update: None });
    });
    world.settle();
    world.set_image("v2");
    world.settle();
    assert_eq!(world.with_image("v2"), [""; 0]);
    world.pods.retain(|pod| facts::name(&pod.metadata) != "db-1");
    world.settle();
    assert_eq!(world.with_image("v2"), ["db-1"]);
}

#[test]
fn going_back_gives_the_old_revision_a_new_number_and_old_ones_are_forgotten() {
    let mut world = set(1, |spec| spec.revision_history_limit = Some(1));
    for image in ["v1", "v2", "v1"] {
        world.set_image(image);
        world.settle();
    }
    let mut numbers: Vec<i64> = world.revisions.iter().map(|own| own.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
    for image in ["v3", "v4"] {
        world.set_image(image);
        world.settle();
    }
    assert_eq!(world.revisions.len(), 2, "the one in use and one more");
}

fn claiming(replicas: i32, deleted: &str, scaled: &str) -> World {
    set(replicas, |spec| {
        let metadata = ObjectMeta { name: Some("data".into()), ..ObjectMeta::default() };
        spec.volume_claim_templates =
            Some(vec![PersistentVolumeClaim { metadata, ..PersistentVolumeClaim::default() }]);
        spec.persistent_volume_claim_retention_policy =
            Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(deleted.into()),
                when_scaled: Some(scaled.into()),
            });
    })
}

impl World {
    /// Each claim with the kind and name of its owner.
    fn owners(&self) -> Vec<String> {
        let shown = self.claims.iter().map(|claim| {
            let owners = claim.metadata.owner_references.iter().flatten();
            let owners: Vec<String> = owners.map(|own| format!("{} {}", own.kind, own.name)).collect();
            format!("{}: {}", facts::name(&claim.metadata), owners.join(", "))
        });
        let mut shown: Vec<String> = shown.collect();
        shown.sort();
        shown
    }
}

#[test]
fn each_pod_has_a_claim_of_its_own_that_outlives_it() {
    let mut world = claiming(2, "Retain", "Retain");
    world.settle();
    assert_eq!(world.owners(), ["data-db-0: ", "data-db-1: "]);
    let volumes = world.pods[1].spec.as_ref().unwrap().volumes.clone().unwrap();
    assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-1");
    assert_eq!(volumes[0].name, "data");
    let labels = world.claims[0].metadata.labels.clone().unwrap();
    assert_eq!(labels["app"], "db");
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    world.settle();
    assert_eq!(world.owners(), ["data-db-0: ", "data-db-1: "]);
}

#[test]
fn claims_go_with_the_set_or_with_the_pod_that_is_too_much() {
    for (deleted, scaled, before, after) in [
        ("Delete", "Retain", "StatefulSet db", "StatefulSet db"),
        ("Retain", "Delete", "", "Pod db-1"),
        ("Delete", "Delete", "StatefulSet db", "Pod db-1"),
    ] {
        let mut world = claiming(2, deleted, scaled);
        world.settle();
        assert_eq!(world.owners()[1], format!("data-db-1: {before}"), "{deleted} {scaled}");
        world.set.spec.as_mut().unwrap().replicas = Some(1);
        world.settle();
        assert_eq!(world.names(), ["db-0"]);
        assert_eq!(world.owners()[0], format!("data-db-0: {before}"), "{deleted} {scaled}");
        assert_eq!(world.owners()[1], format!("data-db-1: {after}"), "{deleted} {scaled}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to its pods and to its wish, the set comes to rest with the pods that it wants, all of the newest
    /// template, and never two of a name.
    #[test]
    fn every_set_reaches_its_pods(
        parallel in any::<bool>(),
        steps in proptest::collection::vec((0..5_u8, 0..5_i32), 0..20),
    ) {
        let mut world = set(2, |spec| spec.pod_management_policy = parallel.then(|| "Parallel".to_owned()));
        for (step, number) in steps {
            match step {
                0 => world.set.spec.as_mut().unwrap().replicas = Some(number),
                1 => world.set_image(&format!("v{number}")),
                2 => world.pods.retain(|pod| facts::name(&pod.metadata) != format!("db-{number}")),
                3 => if let Some(name) = world.pods.first().map(|pod| facts::name(&pod.metadata).to_owned()) {
                    world.change(&name, |mut pod| {
                        pod.status.get_or_insert_default().phase = Some("Failed".into());
                        pod
                    });
                },
                _ => { world.pass(); }
            }
            let mut names = world.names();
            names.dedup();
            prop_assert_eq!(names.len(), world.pods.len());
        }
        world.settle();
        let wanted = world.set.spec.clone().unwrap().replicas.unwrap();
        let expected: Vec<String> = (0..wanted).map(|number| format!("db-{number}")).collect();
        prop_assert_eq!(world.names(), expected);
        prop_assert_eq!(world.status(), (wanted, wanted, wanted, true));
    }
}
