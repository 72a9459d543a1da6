//! Controllers and scheduler together, over a real store, with nodes that only pretend to run pods.

mod cluster;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Endpoints, Event, Namespace, Node, Pod, PodSpec, PodTemplateSpec, Service,
    ServiceAccount, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use self::cluster::Cluster;
use super::facts;
use crate::objects::{DeleteOptions, Propagation};

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), namespace: Some("default".into()), ..ObjectMeta::default() }
}

fn deployment(name: &str, replicas: i32, image: &str) -> Deployment {
    let labels = Some([("app".to_owned(), name.to_owned())].into());
    let container = Container { name: "app".into(), image: Some(image.into()), ..Container::default() };
    Deployment {
        metadata: named(name),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector { match_labels: labels.clone(), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..ObjectMeta::default() }),
                spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// True when the rollout is over, as `kubectl rollout status` judges it.
fn is_rolled_out(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let reason = |kind: &str| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .and_then(|condition| condition.reason.clone())
    };
    status.observed_generation == deployment.metadata.generation
        && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(replicas); 3]
        && reason("Progressing").as_deref() == Some("NewReplicaSetAvailable")
}

async fn rolled_out(cluster: &Cluster, name: &str, replicas: i32) -> Deployment {
    cluster
        .until(&format!("{name} is rolled out"), async || {
            cluster
                .get::<Deployment>("default", name)
                .await
                .filter(|deployment| is_rolled_out(deployment, replicas))
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_pods_are_created_bound_and_counted_once() {
    let cluster = Cluster::start(20).await;
    cluster.create(deployment("web", 500, "v1")).await;
    let web = rolled_out(&cluster, "web", 500).await;
    assert_eq!(facts::annotation(&web.metadata, "deployment.kubernetes.io/revision"), Some("1"));
    let pods = cluster.list::<Pod>("default");
    assert_eq!(pods.len(), 500);
    assert_eq!(cluster.pods_created(), 500, "no pod was created twice and none was replaced");
    for node in cluster.list::<Node>("") {
        let name = node.metadata.name.unwrap();
        let here = pods.iter().filter(|pod| facts::node_name(pod) == Some(&name)).count();
        assert_eq!(here, 25, "pods of one owner are spread evenly");
    }
    let events = cluster.list::<Event>("default");
    let told = |reason: &str, message: &str| {
        events.iter().any(|event| {
            event.reason.as_deref() == Some(reason)
                && event.message.as_deref().is_some_and(|text| text.starts_with(message))
        })
    };
    assert!(told("ScalingReplicaSet", "Scaled up replica set web-"));
    assert!(told("SuccessfulCreate", "Created pod: web-"));
    assert!(told("Scheduled", "Successfully assigned default/web-"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_replaces_all_pods_and_comes_to_rest() {
    let cluster = Cluster::start(3).await;
    cluster.create(deployment("web", 10, "v1")).await;
    rolled_out(&cluster, "web", 10).await;
    cluster
        .change::<Deployment>("default", "web", |web| {
            web.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image =
                Some("v2".into());
        })
        .await;
    let web = rolled_out(&cluster, "web", 10).await;
    assert_eq!(facts::annotation(&web.metadata, "deployment.kubernetes.io/revision"), Some("2"));
    let images: Vec<_> = cluster
        .list::<Pod>("default")
        .into_iter()
        .filter(facts::is_active)
        .map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, ["v2"; 10]);
    assert_eq!(cluster.list::<ReplicaSet>("default").len(), 2);
    cluster.comes_to_rest().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_is_told_so_and_bound_when_a_node_comes() {
    let cluster = Cluster::start(0).await;
    cluster.create(deployment("web", 1, "v1")).await;
    cluster
        .until("the pod is refused", async || {
            let pod = cluster.list::<Pod>("default").pop()?;
            let condition = facts::pod_condition(&pod, "PodScheduled")?;
            (condition.reason.as_deref() == Some("Unschedulable")).then_some(())
        })
        .await;
    cluster.add_node("late").await;
    rolled_out(&cluster, "web", 1).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_deployment_deletes_what_it_owns() {
    let cluster = Cluster::start(3).await;
    cluster.create(deployment("web", 5, "v1")).await;
    rolled_out(&cluster, "web", 5).await;
    for (name, propagation) in [("web", Propagation::Background), ("again", Propagation::Foreground)] {
        if name == "again" {
            cluster.create(deployment(name, 5, "v1")).await;
            rolled_out(&cluster, name, 5).await;
        }
        cluster.delete::<Deployment>("default", name, Some(propagation)).await;
        cluster
            .until("nothing is left", async || {
                let sets = cluster.list::<ReplicaSet>("default").len();
                let pods = cluster.list::<Pod>("default").len();
                (sets + pods + cluster.list::<Deployment>("default").len() == 0).then_some(())
            })
            .await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaned_pods_live_on_and_are_adopted_again() {
    let cluster = Cluster::start(3).await;
    cluster.create(deployment("web", 3, "v1")).await;
    rolled_out(&cluster, "web", 3).await;
    let set = cluster.list::<ReplicaSet>("default").pop().unwrap();
    cluster.delete::<Deployment>("default", "web", Some(Propagation::Orphan)).await;
    cluster
        .until("the ReplicaSet is given up", async || {
            let set = cluster.get::<ReplicaSet>("default", facts::name(&set.metadata)).await?;
            let is_gone = cluster.get::<Deployment>("default", "web").await.is_none();
            (is_gone && facts::controller_of(&set.metadata).is_none()).then_some(())
        })
        .await;
    cluster.create(deployment("web", 3, "v1")).await;
    rolled_out(&cluster, "web", 3).await;
    let sets = cluster.list::<ReplicaSet>("default");
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].metadata.uid, set.metadata.uid);
    assert_eq!(cluster.pods_created(), 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_namespace_takes_everything_with_it() {
    let cluster = Cluster::start(1).await;
    let namespace = ObjectMeta { name: Some("shop".into()), ..ObjectMeta::default() };
    cluster.create(Namespace { metadata: namespace, ..Namespace::default() }).await;
    let inside = |name: &str| ObjectMeta { namespace: Some("shop".into()), ..named(name) };
    for number in 0..20 {
        cluster
            .create(ConfigMap { metadata: inside(&format!("map-{number}")), ..ConfigMap::default() })
            .await;
    }
    let mut web = deployment("web", 3, "v1");
    web.metadata.namespace = Some("shop".into());
    cluster.create(web).await;
    let mut held = ConfigMap { metadata: inside("held"), ..ConfigMap::default() };
    held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    cluster.create(held).await;
    cluster.delete::<Namespace>("", "shop", None).await;
    cluster
        .until("only the held object is left", async || {
            let namespace = cluster.get::<Namespace>("", "shop").await?;
            let conditions = namespace.status?.conditions?;
            let message = |kind: &str| {
                conditions
                    .iter()
                    .find(|c| c.type_ == kind && c.status == "True")
                    .and_then(|c| c.message.clone())
            };
            let remaining = message("NamespaceContentRemaining")?;
            message("NamespaceFinalizersRemaining")?;
            (remaining == "Some resources are remaining: configmaps has 1 resource instances").then_some(())
        })
        .await;
    cluster.change::<ConfigMap>("shop", "held", |held| held.metadata.finalizers = None).await;
    cluster
        .until("the namespace is gone", async || {
            cluster.get::<Namespace>("", "shop").await.is_none().then_some(())
        })
        .await;
    assert_eq!(cluster.list::<ServiceAccount>("shop").len(), 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_cluster_has_its_objects() {
    let cluster = Cluster::start(0).await;
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        cluster
            .until("each namespace has its account and root certificate", async || {
                cluster.get::<ServiceAccount>(namespace, "default").await?;
                let map = cluster.get::<ConfigMap>(namespace, "kube-root-ca.crt").await?;
                (map.data?.get("ca.crt")? == cluster::ROOT_CA).then_some(())
            })
            .await;
    }
    cluster
        .until("the API has a Service", async || {
            let service = cluster.get::<Service>("default", "kubernetes").await?;
            let slice = cluster.get::<EndpointSlice>("default", "kubernetes").await?;
            cluster.get::<Endpoints>("default", "kubernetes").await?;
            let address = slice.endpoints?.first()?.addresses.first()?.clone();
            let found = (service.spec?.cluster_ip?, address, slice.ports?.first()?.port?);
            (found == ("127.43.0.1".to_owned(), "127.0.0.1".to_owned(), 6443)).then_some(())
        })
        .await;
    cluster.comes_to_rest().await;
    cluster.delete::<ConfigMap>("default", "kube-root-ca.crt", None).await;
    cluster
        .until("it is put back", async || cluster.get::<ConfigMap>("default", "kube-root-ca.crt").await)
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_follow_pods() {
    let cluster = Cluster::start(2).await;
    cluster.create(deployment("web", 3, "v1")).await;
    let port = ServicePort { port: 80, ..ServicePort::default() };
    cluster
        .create(Service {
            metadata: named("web"),
            spec: Some(ServiceSpec {
                selector: Some([("app".to_owned(), "web".to_owned())].into()),
                ports: Some(vec![port]),
                ..ServiceSpec::default()
            }),
            status: None,
        })
        .await;
    rolled_out(&cluster, "web", 3).await;
    let ready = async |wanted: usize| {
        cluster
            .until("the slices and Endpoints list the ready pods", async || {
                let slices = cluster.list::<EndpointSlice>("default");
                let slices = slices.iter().filter(|slice| {
                    facts::label(&slice.metadata, super::endpoint_slice::SERVICE_NAME) == Some("web")
                });
                let endpoints: Vec<_> =
                    slices.flat_map(|slice| slice.endpoints.clone().unwrap_or_default()).collect();
                let ready = endpoints
                    .iter()
                    .filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true)));
                let old = cluster.get::<Endpoints>("default", "web").await?;
                let addresses = old.subsets?.first()?.addresses.clone()?.len();
                (ready.count() == wanted && endpoints.len() == wanted && addresses == wanted).then_some(())
            })
            .await;
    };
    ready(3).await;
    cluster.change::<Deployment>("default", "web", |web| web.spec.as_mut().unwrap().replicas = Some(2)).await;
    ready(2).await;
    cluster.delete::<Service>("default", "web", None).await;
    cluster
        .until("its slices are collected", async || {
            let slices = cluster.list::<EndpointSlice>("default").len();
            (slices == 1 && cluster.get::<Endpoints>("default", "web").await.is_none()).then_some(())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_silent_node_are_replaced_elsewhere() {
    let cluster = Cluster::start_impatient(2).await;
    cluster.create(deployment("web", 2, "v1")).await;
    rolled_out(&cluster, "web", 2).await;
    cluster.silence("node-0");
    cluster
        .until("the node is given up and its pod leaves", async || {
            let node = cluster.get::<Node>("", "node-0").await?;
            let taints = node.spec?.taints?;
            let pods = cluster.list::<Pod>("default");
            let lost = pods.iter().find(|pod| facts::node_name(pod) == Some("node-0"))?;
            let is_tainted = taints.iter().any(|taint| taint.key == "node.kubernetes.io/unreachable");
            (is_tainted && facts::is_terminating(&lost.metadata) && !facts::is_ready(lost)).then_some(())
        })
        .await;
    cluster
        .until("both pods are ready on the other node", async || {
            let pods = cluster.list::<Pod>("default").into_iter().filter(facts::is_active);
            let nodes: Option<Vec<String>> = pods
                .map(|pod| facts::node_name(&pod).filter(|_| facts::is_ready(&pod)).map(str::to_owned))
                .collect();
            (nodes? == ["node-1"; 2]).then_some(())
        })
        .await;
    rolled_out(&cluster, "web", 2).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_process_ended_is_given_up_long_before_a_silent_one() {
    let cluster = Cluster::start(3).await;
    cluster.silence("node-0");
    cluster.disconnect("node-1").await;
    let has_taint = |node: Option<Node>| {
        let taints = node.and_then(|node| node.spec?.taints).unwrap_or_default();
        taints
            .iter()
            .any(|taint| taint.key == "node.kubernetes.io/unreachable" && taint.effect == "NoExecute")
    };
    cluster
        .until("the node is given up", async || {
            has_taint(cluster.get::<Node>("", "node-1").await).then_some(())
        })
        .await;
    assert!(!has_taint(cluster.get::<Node>("", "node-0").await));
    cluster.stop().await;
}

/// Options that only name what becomes of dependents.
fn propagating(propagation: Option<Propagation>) -> DeleteOptions {
    DeleteOptions { propagation, ..DeleteOptions::default() }
}
