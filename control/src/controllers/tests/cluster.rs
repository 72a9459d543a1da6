//! A cluster in one process: a real store, everything the leader runs, and nodes that pretend to run pods.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use isopod_raft_store::{Config, KeyRange, Revision, Store};
use isopod_spec::registry;
use isopod_spec::resource::Resource;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus, Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::propagating;
use crate::api::{NodeApi, NodeUnreachable, ResponseBody};
use crate::bootstrap;
use crate::controllers::{NodeConfig, facts};
use crate::leader::{self, Singletons};
use crate::objects::{DeleteOptions, Objects, Policy, Propagation, try_decode};

/// What pods find as the cluster's certificate.
pub(super) const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----\n";
/// Generous: the tests share their machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Silence after which a node is given up: longer than a busy machine lets a test wait for its turn.
const GRACE: Duration = Duration::from_secs(60);
/// The same for tests of silence, and for nodes whose process is known to have ended.
const SHORT_GRACE: Duration = Duration::from_secs(2);
/// Nodes renew their Leases several times in the shortest grace.
const RENEWAL: Duration = Duration::from_millis(250);

/// Nodes that have no server of their own.
struct NoNodes;

impl NodeApi for NoNodes {
    fn get<'a>(
        &'a self,
        _: &'a Node,
        _: &'a str,
        _: http::HeaderMap,
    ) -> BoxFuture<'a, Result<http::Response<ResponseBody>, NodeUnreachable>> {
        Box::pin(async { Ok(http::Response::new(ResponseBody::default())) })
    }

    fn delete<'a>(
        &'a self,
        _: &'a Node,
        _: &'a str,
    ) -> BoxFuture<'a, Result<http::StatusCode, NodeUnreachable>> {
        Box::pin(async { Ok(http::StatusCode::OK) })
    }
}

/// A running cluster.
pub(super) struct Cluster {
    objects: Objects,
    silent: Arc<Mutex<HashSet<String>>>,
    first_revision: Revision,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    _dir: TempDir,
}

impl Cluster {
    /// Starts a cluster with so many nodes, named `node-0` and so on.
    pub(super) async fn start(nodes: usize) -> Cluster {
        Cluster::start_with(nodes, GRACE).await
    }

    /// The same, where silent nodes are given up soon.
    pub(super) async fn start_impatient(nodes: usize) -> Cluster {
        Cluster::start_with(nodes, SHORT_GRACE).await
    }

    async fn start_with(nodes: usize, grace: Duration) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let (store, driver) = Store::open(Config::new(dir.path())).await.unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let token = shutdown.clone();
        tasks.spawn(async move { driver.run(token).await.unwrap() });
        let policy = Policy { service_range: "127.43.0.0/16".parse().unwrap() };
        let service_address = policy.service_range.first();
        let objects = Objects::new(store, policy);
        let config = leader::Config {
            member: objects.store().id(),
            nodes: NodeConfig { grace, grace_disconnected: SHORT_GRACE },
            bootstrap: bootstrap::Config {
                api: "0.0.0.0:6443".parse().unwrap(),
                service_address,
                root_ca_pem: ROOT_CA.to_owned(),
            },
        };
        tasks.spawn(Singletons::new(objects.clone(), Arc::new(NoNodes), config).run(shutdown.clone()));
        let silent = Arc::new(Mutex::new(HashSet::new()));
        let first_revision = objects.store().snapshot().revision();
        let mut cluster = Cluster { objects, silent, first_revision, shutdown, tasks, _dir: dir };
        cluster
            .until("the namespaces exist", async || {
                let account =
                    cluster.get::<k8s_openapi::api::core::v1::ServiceAccount>("default", "default").await;
                account.and(cluster.get::<k8s_openapi::api::core::v1::Namespace>("", "kube-node-lease").await)
            })
            .await;
        for number in 0..nodes {
            cluster.add_node(&format!("node-{number}")).await;
        }
        let (kubelet, token) = (Kubelet::of(&cluster), cluster.shutdown.clone());
        cluster.tasks.spawn(async move { token.run_until_cancelled(kubelet.run_pods()).await.unwrap_or(()) });
        let (kubelet, token) = (Kubelet::of(&cluster), cluster.shutdown.clone());
        cluster
            .tasks
            .spawn(async move { token.run_until_cancelled(kubelet.renew_leases()).await.unwrap_or(()) });
        cluster
    }

    /// Ends everything and waits for it.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// A node with room for many pods.
    pub(super) async fn add_node(&self, name: &str) {
        let amounts = [("cpu", "64"), ("memory", "64Gi"), ("pods", "1000")];
        let amounts = amounts.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
        let status = NodeStatus { allocatable: Some(amounts.into()), ..NodeStatus::default() };
        let mut node = self.create(Node { metadata: meta("", name), ..Node::default() }).await;
        node.status = Some(with_ready(status));
        self.objects.update_status(&node).await.unwrap();
        self.create(Lease { metadata: meta("kube-node-lease", name), spec: Some(LeaseSpec::default()) })
            .await;
    }

    /// The node renews its Lease no more, and does nothing for its pods.
    pub(super) fn silence(&self, node: &str) {
        self.silent.lock().unwrap().insert(node.to_owned());
    }

    /// A member has seen that the node's process ended, which is silent from now on.
    pub(super) async fn disconnect(&self, node: &str) {
        self.silence(node);
        self.change::<Lease>("kube-node-lease", node, |lease| {
            let annotations = lease.metadata.annotations.get_or_insert_default();
            annotations.insert("isopod.dev/connection".into(), "over".into());
        })
        .await;
    }

    pub(super) async fn create<T: Resource>(&self, object: T) -> T {
        self.objects.create(object).await.unwrap()
    }

    pub(super) async fn get<T: Resource>(&self, namespace: &str, name: &str) -> Option<T> {
        self.objects.get(namespace, name).await.unwrap()
    }

    pub(super) fn list<T: Resource>(&self, namespace: &str) -> Vec<T> {
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        self.objects.list(&self.objects.store().snapshot(), namespace)
    }

    /// Changes an object, again if somebody comes between.
    pub(super) async fn change<T: Resource>(&self, namespace: &str, name: &str, change: impl Fn(&mut T)) {
        self.until("the change is written", async || {
            let mut object = self.get::<T>(namespace, name).await.expect("the object exists");
            change(&mut object);
            self.objects.update(&object).await.ok()
        })
        .await;
    }

    pub(super) async fn delete<T: Resource>(
        &self,
        namespace: &str,
        name: &str,
        propagation: Option<Propagation>,
    ) {
        self.objects.delete::<T>(namespace, name, &propagating(propagation)).await.unwrap();
    }

    /// Tries until there is an answer.
    pub(super) async fn until<R>(&self, what: &str, mut attempt: impl AsyncFnMut() -> Option<R>) -> R {
        let mut applied =
            self.objects.store().watch(KeyRange::all(), self.objects.store().snapshot().revision()).unwrap();
        let tries = async {
            loop {
                if let Some(answer) = attempt().await {
                    return answer;
                }
                // Something may also be due to time alone.
                let _ = tokio::time::timeout(Duration::from_millis(100), applied.next()).await;
            }
        };
        tokio::time::timeout(DEADLINE, tries)
            .await
            .unwrap_or_else(|_| panic!("it never came to this: {what}"))
    }

    /// Waits until nothing is written any more but the nodes' Leases.
    pub(super) async fn comes_to_rest(&self) {
        let leases = registry::kind_of::<Lease>().prefix(None);
        let mut quiet = 0;
        let mut watch =
            self.objects.store().watch(KeyRange::all(), self.objects.store().snapshot().revision()).unwrap();
        self.until("the cluster comes to rest", async || {
            let events = tokio::time::timeout(Duration::from_millis(200), watch.next()).await;
            let is_quiet = match events {
                Ok(events) => events.unwrap().iter().all(|event| event.key.starts_with(&leases)),
                Err(_) => true,
            };
            quiet = if is_quiet { quiet + 1 } else { 0 };
            (quiet == 5).then_some(())
        })
        .await;
    }

    /// How many pods were ever created.
    pub(super) fn pods_created(&self) -> usize {
        let events = self
            .objects
            .store()
            .watch(KeyRange::prefix(registry::kind_of::<Pod>().prefix(None)), self.first_revision);
        let mut watch = events.unwrap();
        let mut created = 0;
        let end = self.objects.store().snapshot().revision();
        while watch.progress() < end {
            let Some(Ok(events)) = futures::FutureExt::now_or_never(watch.next()) else { break };
            created += events.iter().filter(|event| event.previous.is_none()).count();
        }
        created
    }
}

fn meta(namespace: &str, name: &str) -> ObjectMeta {
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    ObjectMeta { name: Some(name.to_owned()), namespace, ..ObjectMeta::default() }
}

fn with_ready(mut status: NodeStatus) -> NodeStatus {
    let conditions =
        [("Ready", "True"), ("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False")];
    status.conditions = Some(
        conditions
            .map(|(kind, value)| NodeCondition {
                type_: kind.to_owned(),
                status: value.to_owned(),
                ..NodeCondition::default()
            })
            .into(),
    );
    status
}

/// Pretends to be every node.
struct Kubelet {
    objects: Objects,
    silent: Arc<Mutex<HashSet<String>>>,
}

impl Kubelet {
    fn of(cluster: &Cluster) -> Kubelet {
        Kubelet { objects: cluster.objects.clone(), silent: cluster.silent.clone() }
    }

    async fn run_pods(self) {
        let pods = KeyRange::prefix(registry::kind_of::<Pod>().prefix(None));
        let mut watch = self.objects.store().watch(pods, Revision::FIRST).unwrap();
        let mut started = 0_u32;
        while let Ok(events) = watch.next().await {
            let writes = events.iter().filter_map(|event| {
                started += 1;
                let pod = try_decode::<Pod>(event.entry.as_ref()?).unwrap();
                Some(self.run_pod(pod, started))
            });
            futures::future::join_all(writes).await;
        }
    }

    /// One step of a pod's life. An outdated step fails, and the change that outdated it brings the next.
    async fn run_pod(&self, mut pod: Pod, number: u32) {
        let Some(node) = facts::node_name(&pod).map(str::to_owned) else { return };
        if self.silent.lock().unwrap().contains(&node) {
            return;
        }
        if facts::is_terminating(&pod.metadata) {
            let options = DeleteOptions {
                uid: pod.metadata.uid.clone(),
                grace_period_seconds: Some(0),
                ..DeleteOptions::default()
            };
            let (namespace, name) = (facts::namespace(&pod.metadata), facts::name(&pod.metadata));
            let _ = self.objects.delete::<Pod>(namespace, name, &options).await;
            return;
        }
        if facts::is_ready(&pod) {
            return;
        }
        let address = format!("127.42.{}.{}", number / 200 % 250, number % 200 + 1);
        let ready = PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: Some(facts::stamp(Timestamp::now())),
            ..PodCondition::default()
        };
        let mut conditions = pod.status.take().and_then(|status| status.conditions).unwrap_or_default();
        conditions.retain(|condition| condition.type_ != "Ready");
        conditions.push(ready);
        pod.status = Some(PodStatus {
            phase: Some("Running".into()),
            pod_ip: Some(address.clone()),
            pod_ips: Some(vec![PodIP { ip: address }]),
            conditions: Some(conditions),
            ..PodStatus::default()
        });
        let _ = self.objects.update_status(&pod).await;
    }

    async fn renew_leases(self) {
        let mut ticks = tokio::time::interval(RENEWAL);
        loop {
            ticks.tick().await;
            let leases: Vec<Lease> =
                self.objects.list(&self.objects.store().snapshot(), Some("kube-node-lease"));
            for mut lease in leases {
                if self.silent.lock().unwrap().contains(facts::name(&lease.metadata)) {
                    continue;
                }
                lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
                let _ = self.objects.update(&lease).await;
            }
        }
    }
}
