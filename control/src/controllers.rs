//! Controllers: each brings one kind of object from what is to what is wanted.
//!
//! A controller is a pure plan over observed objects, in a file of its own; the runner is the one loop that watches,
//! queues, plans and applies. Plans are level-driven: they see the whole state and are never told what changed.

mod claim;
mod cluster_roles;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
pub(crate) mod endpoint_slice;
mod endpoints;
pub(crate) mod event_expiry;
pub(crate) mod facts;
mod garbage;
pub(crate) mod job;
mod namespace;
mod namespace_defaults;
mod node_lifecycle;
pub(crate) mod outcome;
mod pod_collector;
pub(crate) mod pods;
mod replica_set;
mod revisions;
pub(crate) mod runner;
mod stateful_set;
mod taint_eviction;
#[cfg(test)]
mod tests;
pub(crate) mod volumes;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::replica_set::shell::ReplicaSetController;
use self::runner::{Controller, Shell};
use crate::cache::feed::Feed;
use crate::custom::controller::DefinitionController;
use crate::leader::Config;

#[cfg(test)]
pub(crate) use self::cluster_roles::rules as aggregated_rules;
pub use self::node_lifecycle::Config as NodeConfig;

/// Starts every controller. **A new controller is one line here.**
pub(crate) fn spawn_all(
    tasks: &mut JoinSet<&'static str>,
    shell: &Shell,
    feed: &mut Feed,
    config: &Config,
    shutdown: &CancellationToken,
) {
    let mut starter = Starter { tasks, shell, feed, shutdown };
    starter.start(deployment::shell::DeploymentController);
    starter.start(ReplicaSetController::<ReplicaSet>::default());
    starter.start(ReplicaSetController::<ReplicationController>::default());
    starter.start(stateful_set::shell::StatefulSetController);
    starter.start(daemon_set::shell::DaemonSetController);
    starter.start(cron_job::shell::CronJobController::default());
    starter.start(job::shell::JobController);
    starter.start(volumes::claims::shell::ClaimController::default());
    starter.start(volumes::reclaim::shell::VolumeController);
    starter.start(volumes::ephemeral::EphemeralController);
    starter.start(disruption::shell::DisruptionController);
    starter.start(endpoint_slice::shell::EndpointSliceController);
    starter.start(endpoints::shell::EndpointsController);
    starter.start(namespace::shell::NamespaceController);
    starter.start(namespace_defaults::NamespaceDefaults::new(&config.bootstrap.root_ca_pem));
    starter.start(garbage::shell::GarbageCollector::default());
    starter.start(node_lifecycle::shell::NodeLifecycle::new(config.nodes));
    starter.start(taint_eviction::TaintEviction);
    starter.start(pod_collector::PodCollector::default());
    starter.start(cluster_roles::ClusterRoles);
    starter.start(DefinitionController::default());
}

struct Starter<'a> {
    tasks: &'a mut JoinSet<&'static str>,
    shell: &'a Shell,
    feed: &'a mut Feed,
    shutdown: &'a CancellationToken,
}

impl Starter<'_> {
    fn start<C: Controller>(&mut self, controller: C) {
        let batches = self.feed.subscribe();
        let (shell, shutdown) = (self.shell.clone(), self.shutdown.clone());
        self.tasks.spawn(async {
            runner::run(controller, shell, batches, shutdown).await;
            C::NAME
        });
    }
}
