//! The node lifecycle controller: when nodes were last heard of, and how plans are carried out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, ObjectReference, Pod};
use tokio::time::Instant;

use super::{Config, Hearing, Plan, Refuge, plan};
use crate::cache::{Change, Delta, ObjectKey, View};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::events::{Level, Occurrence, reference};
use crate::membership::presence;

/// The namespace of the Leases that nodes renew.
const LEASES: &str = "kube-node-lease";

/// Reason of the events about a silent node.
const NOT_READY: &str = "NodeNotReady";

/// Every node is looked at this often though nothing changes, so that a member that was itself held up notices.
const LOOK: Duration = Duration::from_secs(5);
/// When nothing was looked at for so long, this member was held up (stopped, or starved): what it did not hear meanwhile
/// tells nothing about the nodes.
const HELD_UP: Duration = Duration::from_secs(15);
/// Whoever was heard within this time may take pods of others: a Lease is renewed twice in it.
const LATELY: Duration = Duration::from_secs(20);

/// Watches over nodes.
#[derive(Debug)]
pub(crate) struct NodeLifecycle {
    config: Config,
    /// The last that this member saw of each node.
    heard: HashMap<ObjectKey, Sign>,
    /// When this controller last did anything.
    worked: Instant,
    /// Nodes that this controller has not told of yet.
    new: HashSet<ObjectKey>,
}

/// The last that was seen of a node.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// It said that it lives.
    Alive(Instant),
    /// Its connection ended.
    Disconnected(Instant),
}

impl Sign {
    fn at(self) -> Instant {
        match self {
            Sign::Alive(at) | Sign::Disconnected(at) => at,
        }
    }

    fn now(self) -> Sign {
        match self {
            Sign::Alive(_) => Sign::Alive(Instant::now()),
            Sign::Disconnected(_) => Sign::Disconnected(Instant::now()),
        }
    }
}

/// A plan, and the node it was made for.
#[derive(Debug)]
pub(crate) struct Job {
    node: Arc<Node>,
    plan: Plan,
    is_new: bool,
}

impl NodeLifecycle {
    pub(crate) fn new(config: Config) -> Self {
        NodeLifecycle { config, heard: HashMap::new(), worked: Instant::now(), new: HashSet::new() }
    }

    /// Forgets how long nodes have been silent when this member could not hear them.
    fn notice_pause(&mut self) {
        let paused = self.worked.elapsed();
        self.worked = Instant::now();
        if paused >= HELD_UP && !self.heard.is_empty() {
            tracing::warn!(?paused, "this member was held up: all nodes are given their time again");
            self.heard.values_mut().for_each(|sign| *sign = sign.now());
        }
    }

    fn hear_node(&mut self, delta: &Delta<Node>) {
        match (&delta.old, &delta.new) {
            (_, None) => drop(self.heard.remove(&delta.key)),
            // Its Lease may have been seen before.
            (None, Some(_)) => {
                self.heard.entry(delta.key.clone()).or_insert_with(|| Sign::Alive(Instant::now()));
            }
            (Some(old), Some(new)) if heartbeat(old) == heartbeat(new) => {}
            _ => drop(self.heard.insert(delta.key.clone(), Sign::Alive(Instant::now()))),
        }
    }

    fn hearing(&mut self, key: &ObjectKey, view: &View) -> Hearing {
        let sign = *self.heard.entry(key.clone()).or_insert_with(|| Sign::Alive(Instant::now()));
        let grace = match sign {
            Sign::Alive(_) => self.config.grace,
            Sign::Disconnected(_) => self.config.grace_disconnected,
        };
        match grace.saturating_sub(sign.at().elapsed()) {
            left if !left.is_zero() => Hearing::Heard(left),
            _ if view.nodes.iter().any(|(other, node)| other != key && self.is_refuge(other, node)) => {
                Hearing::Silent(Refuge::Somewhere)
            }
            _ => Hearing::Silent(Refuge::Nowhere),
        }
    }

    fn is_refuge(&self, key: &ObjectKey, node: &Node) -> bool {
        let lately = LATELY.min(self.config.grace);
        let is_heard = matches!(self.heard.get(key), Some(Sign::Alive(at)) if at.elapsed() < lately);
        is_heard && has_ready(node, "True")
    }
}

impl Controller for NodeLifecycle {
    const NAME: &'static str = "node-controller";
    type Plan = Job;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        self.notice_pause();
        match change {
            Change::Node(delta) => {
                self.hear_node(delta);
                match (&delta.old, &delta.new) {
                    (None, Some(_)) => drop(self.new.insert(delta.key.clone())),
                    (_, None) => drop(self.new.remove(&delta.key)),
                    _ => {}
                }
                wake(delta.key.clone());
            }
            Change::Lease(delta) if delta.key.namespace() == LEASES && delta.new.is_some() => {
                let key = ObjectKey::new("", delta.key.name());
                let is_over = delta.new.as_ref().is_some_and(|lease| presence::is_over(&lease.metadata));
                let was_given_up = view.nodes.get(&key).is_some_and(|node| has_ready(node, "Unknown"));
                let sign = if is_over { Sign::Disconnected } else { Sign::Alive };
                self.heard.insert(key.clone(), sign(Instant::now()));
                // A renewal of a living node is the most frequent write of all and changes nothing.
                if is_over || was_given_up {
                    wake(key);
                }
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Job> {
        self.notice_pause();
        let Some(node) = view.nodes.get(key) else { return Planned::nothing() };
        let hearing = self.hearing(key, view);
        let pods: Vec<Arc<Pod>> = match hearing {
            Hearing::Heard(_) => Vec::new(),
            Hearing::Silent(_) => view.pods.in_place(key.name()).cloned().collect(),
        };
        let plan = plan(node, hearing, &pods, now);
        let again_after = Some(plan.again_after.map_or(LOOK, |after| after.min(LOOK)));
        let is_new = self.new.remove(key);
        let plan = (is_new || !plan.is_met()).then(|| Job { node: node.clone(), plan, is_new });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, Job { node, plan, is_new }: Job) -> Result<(), Status> {
        let mut node = (*node).clone();
        if is_new {
            let name = facts::name(&node.metadata);
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            tell(&shell, reference(&node), Level::Normal, "RegisteredNode", message);
        }
        if let Some(taints) = plan.taints {
            node.spec.get_or_insert_default().taints = Some(taints).filter(|taints| !taints.is_empty());
            let status = node.status.take();
            node = Node { status, ..shell.objects.update(&node).await? };
        }
        if let Some(status) = plan.status {
            give_up(&shell, &mut node, status).await?;
        }
        for pod in plan.unready {
            match make_unready(&shell, &pod).await {
                Err(status) if outcome::is_gone(&status) => {}
                // Of a changed pod it has to be asked again whether it counts as ready.
                made => made?,
            }
        }
        Ok(())
    }
}

/// When the node itself last reported its state.
fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().filter_map(|condition| condition.last_heartbeat_time.as_ref()).map(|time| time.0).max()
}

fn has_ready(node: &Node, status: &str) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == status)
}

async fn give_up(shell: &Shell, node: &mut Node, status: NodeStatus) -> Result<(), Status> {
    node.status = Some(status);
    *node = shell.objects.update_status(node).await?;
    let name = facts::name(&node.metadata);
    tracing::warn!(node = name, "a node has fallen silent");
    let message = format!("Node {name} status is now: NodeNotReady");
    tell(shell, reference(node), Level::Warning, NOT_READY, message);
    Ok(())
}

async fn make_unready(shell: &Shell, pod: &Arc<Pod>) -> Result<(), Status> {
    let mut pod = (**pod).clone();
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    for ready in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        ready.status = "False".to_owned();
        ready.last_transition_time = Some(facts::stamp(Timestamp::now()));
    }
    shell.objects.update_status(&pod).await?;
    tell(shell, reference(&pod), Level::Warning, NOT_READY, "Node is not ready".to_owned());
    Ok(())
}

fn tell(shell: &Shell, about: ObjectReference, level: Level, reason: &'static str, message: String) {
    let component = NodeLifecycle::NAME;
    shell.recorder.record(Occurrence { component, about, level, reason, message });
}
