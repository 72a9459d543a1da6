//! A Deployment with its ReplicaSets and a clock: plans are carried out on it, and told in words.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetStatus, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controllers::deployment::rollout::wanted;
use crate::controllers::deployment::{Action, Observed, Plan, facts, plan, revision};

/// A Deployment and its ReplicaSets, as a store would hold them, with a clock.
#[derive(Clone)]
pub(super) struct World {
    pub(super) deployment: Deployment,
    pub(super) replica_sets: Vec<Arc<ReplicaSet>>,
    pub(super) unfinished_pods: Vec<(String, usize)>,
    pub(super) now: i64,
}

pub(super) fn world(replicas: i32) -> World {
    let labels = Some([("app".to_owned(), "web".to_owned())].into());
    let spec = DeploymentSpec {
        replicas: Some(replicas),
        progress_deadline_seconds: Some(600),
        revision_history_limit: Some(10),
        selector: LabelSelector { match_labels: labels.clone(), ..LabelSelector::default() },
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
            spec: Some(PodSpec { containers: vec![container("v1")], ..PodSpec::default() }),
        },
        ..DeploymentSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some("web".into()),
        namespace: Some("shop".into()),
        uid: Some("d-uid".into()),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    let deployment = Deployment { metadata, spec: Some(spec), status: None };
    World { deployment, replica_sets: Vec::new(), unfinished_pods: Vec::new(), now: 1000 }
}

fn container(image: &str) -> Container {
    Container { name: "app".into(), image: Some(image.into()), ..Container::default() }
}

impl World {
    pub(super) fn spec(&mut self) -> &mut DeploymentSpec {
        *self.deployment.metadata.generation.get_or_insert(0) += 1;
        self.deployment.spec.as_mut().unwrap()
    }

    pub(super) fn set_image(&mut self, image: &str) {
        self.spec().template.spec.as_mut().unwrap().containers = vec![container(image)];
    }

    pub(super) fn strategy(&mut self, surge: i32, unavailable: i32) {
        let rolling_update = Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(surge)),
            max_unavailable: Some(IntOrString::Int(unavailable)),
        });
        self.spec().strategy =
            Some(DeploymentStrategy { type_: Some("RollingUpdate".into()), rolling_update });
    }

    pub(super) fn plan(&self) -> Plan {
        let observed = Observed {
            replica_sets: self.replica_sets.clone(),
            unfinished_pods: self.unfinished_pods.iter().cloned().collect(),
        };
        plan(&self.deployment, observed, Timestamp::from_second(self.now).unwrap())
    }

    pub(super) fn set_mut(&mut self, name: &str) -> &mut ReplicaSet {
        let set = self.replica_sets.iter_mut().find(|set| set.metadata.name.as_deref() == Some(name));
        Arc::make_mut(set.expect("the plan names stored sets"))
    }

    /// Writes what a plan says.
    pub(super) fn apply(&mut self, plan: Plan) {
        for action in plan.actions {
            match action {
                Action::Create { mut replica_set } => {
                    replica_set.metadata.uid = Some(format!("rs-{}", self.replica_sets.len() + 1));
                    replica_set.metadata.creation_timestamp = Some(self.time());
                    replica_set.metadata.generation = Some(1);
                    self.now += 1;
                    self.replica_sets.push(Arc::new(*replica_set));
                }
                Action::Update { replica_set, .. } => {
                    let name = facts::name(&replica_set.metadata).to_owned();
                    *self.set_mut(&name) = *replica_set;
                }
                Action::Delete { replica_set } => {
                    self.replica_sets.retain(|set| set.metadata.uid != replica_set.metadata.uid);
                }
                Action::Adopt { replica_set } => {
                    let owner =
                        facts::controller_reference("apps/v1", "Deployment", &self.deployment.metadata);
                    facts::adopt(self.set_mut(facts::name(&replica_set.metadata)), owner);
                }
                Action::Release { replica_set } => {
                    facts::release(self.set_mut(facts::name(&replica_set.metadata)), "d-uid");
                }
                Action::SetRevision { revision } => {
                    revision::annotate(&mut self.deployment.metadata, revision::REVISION, revision);
                }
            }
        }
        if plan.status.is_some() {
            self.deployment.status = plan.status;
        }
    }

    pub(super) fn time(&self) -> Time {
        Time(Timestamp::from_second(self.now).unwrap())
    }

    /// All ReplicaSets get their pods, available as far as `available` (of the name and the wanted number) says.
    pub(super) fn run_pods(&mut self, available: impl Fn(&ReplicaSet, i32) -> i32) {
        for set in &mut self.replica_sets {
            let set = Arc::make_mut(set);
            let wanted = wanted(set);
            let ready = Some(available(set, wanted).clamp(0, wanted)).filter(|ready| *ready > 0);
            let conditions = set.status.take().and_then(|status| status.conditions);
            set.status = Some(ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: ready,
                available_replicas: ready,
                observed_generation: set.metadata.generation,
                conditions,
                ..ReplicaSetStatus::default()
            });
        }
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            self.run_pods(|_, wanted| wanted);
            let plan = self.plan();
            if plan.actions.is_empty() && plan.status.is_none() {
                return;
            }
            self.apply(plan);
        }
        panic!("no fixed point after 100 passes: {:?}", self.plan());
    }

    /// One plan in words.
    pub(super) fn describe(&self, plan: &Plan) -> String {
        let mut lines: Vec<String> = plan.actions.iter().map(|action| self.describe_action(action)).collect();
        let conditions = plan.status.iter().flat_map(|status| status.conditions.iter().flatten());
        for condition in conditions {
            let reason = condition.reason.as_deref().unwrap_or_default();
            lines.push(format!("{}={} {reason}", condition.type_, condition.status));
        }
        lines.join("\n")
    }

    pub(super) fn describe_action(&self, action: &Action) -> String {
        let image = |set: &ReplicaSet| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template.unwrap().spec.as_ref().unwrap().containers[0].image.clone().unwrap()
        };
        match action {
            Action::Create { replica_set } => {
                format!("create {} of {}", image(replica_set), wanted(replica_set))
            }
            Action::Update { replica_set, resize: Some(resize) } => {
                format!("resize {} {} → {}", image(replica_set), resize.from, resize.to)
            }
            Action::Update { replica_set, resize: None } => format!("annotate {}", image(replica_set)),
            Action::Delete { replica_set } => format!("delete {}", image(replica_set)),
            Action::Adopt { replica_set } => format!("adopt {}", image(replica_set)),
            Action::Release { replica_set } => format!("release {}", image(replica_set)),
            Action::SetRevision { revision } => format!("revision {revision}"),
        }
    }

    /// Goes on until nothing changes, all pods coming up at once, and tells every step.
    pub(super) fn story(&mut self) -> String {
        let mut story = Vec::new();
        loop {
            let plan = self.plan();
            if plan.actions.is_empty() && plan.status.is_none() {
                return story.join("\n--\n");
            }
            story.push(self.describe(&plan));
            self.apply(plan);
            self.run_pods(|_, wanted| wanted);
            assert!(story.len() < 50, "no fixed point: {story:?}");
        }
    }

    pub(super) fn wanted_total(&self) -> i32 {
        self.replica_sets.iter().map(|set| wanted(set)).sum()
    }

    pub(super) fn available_total(&self) -> i32 {
        let available = |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.available_replicas);
        self.replica_sets.iter().map(|set| available(set).unwrap_or(0).min(wanted(set))).sum()
    }
}
