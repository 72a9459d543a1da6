//! What the agent knows of one pod: the object as last seen and the state of each container. Plain data, so that
//! the plan and the status are functions of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus,
};

use super::backoff::Backoff;

/// A pod bound to this node.
#[derive(Clone, Debug)]
pub struct PodState {
    /// The object as last seen, without what the agent has no use for.
    pub pod: Arc<Pod>,
    /// The address of the pod, once it has one; kept until the object is gone.
    pub address: Option<IpAddr>,
    /// When this node took the pod up; kept over restarts of the agent.
    pub start_time: Timestamp,
    /// When this process first saw the pod.
    pub seen_at: Timestamp,
    /// Init containers in their order, then the others.
    pub containers: Vec<ContainerState>,
    /// Why the pod as a whole failed (deadline, eviction): its containers are stopped and never started again.
    pub failure: Option<Failure>,
    /// The API holds a final phase: whatever happened, nothing is started any more.
    pub finished: bool,
    /// The object is gone from the API; only its containers remain to be stopped.
    pub removed: bool,
}

/// Which container of a pod: an index into [`PodState::containers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// Why a pod as a whole failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// For `status.reason`: `DeadlineExceeded`, `Evicted`.
    pub reason: &'static str,
    /// For `status.message`.
    pub message: String,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// When it runs.
    pub role: Role,
    /// What it does now.
    pub phase: Phase,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended the time before, for `lastState`.
    pub last: Option<Termination>,
    /// What `image:` was resolved to, once it was.
    pub image_id: String,
    /// The startup probe passed, or there is none.
    pub started: bool,
    /// The readiness probe passes, or there is none.
    pub ready: bool,
    /// Why it must be stopped and started again, when a probe says so.
    pub unhealthy: Option<String>,
    /// How long it has to stop then, where the probe says so itself.
    pub unhealthy_grace: Option<Duration>,
    /// The id under which it ran when the agent last ended, if its runtime outlives the agent: to be found again.
    pub resumes: Option<String>,
    /// Between an exit and the next start.
    pub crashes: Backoff,
    /// Between failures to get its image.
    pub pulls: Backoff,
}

/// When a container runs in the life of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Once, to its end, before those after it.
    Init,
    /// From its turn among the init containers until the others have ended.
    Sidecar,
    /// With the others, once initialisation is done.
    Main,
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It has not run in this life of the agent; `blocked` says what keeps it from starting, if anything does.
    Waiting {
        /// The failure of the last try to start it.
        blocked: Option<Blocked>,
    },
    /// It is being brought up: image, environment, volumes, start.
    Starting {
        /// Since when.
        since: Timestamp,
    },
    /// It runs.
    Running(Running),
    /// It runs, and was asked to stop.
    Stopping {
        /// As what it runs.
        running: Running,
        /// When it is ended by force.
        deadline: Timestamp,
    },
    /// It ended.
    Terminated(Termination),
}

/// Why a container could not be started, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// The reason for `state.waiting`.
    pub reason: WaitingReason,
    /// Its message.
    pub message: String,
    /// When the try failed.
    pub since: Timestamp,
    /// Not before this.
    pub retry_at: Timestamp,
}

/// The reasons of `state.waiting` that a failed start leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingReason {
    /// The image could not be fetched.
    ErrImagePull,
    /// `imagePullPolicy: Never` and the image is not on the node.
    ErrImageNeverPull,
    /// `image:` is not a reference.
    InvalidImageName,
    /// Something that the container's configuration refers to is missing.
    CreateContainerConfigError,
    /// What was fetched cannot be run here.
    CreateContainerError,
    /// The runtime refused to start it.
    RunContainerError,
    /// What the pod wanted done after the start failed, so that it was stopped again.
    PostStartHookError,
    /// A volume could not be made ready: like upstream, the container is still being created.
    ContainerCreating,
}

impl WaitingReason {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InvalidImageName => "InvalidImageName",
            Self::CreateContainerConfigError => "CreateContainerConfigError",
            Self::CreateContainerError => "CreateContainerError",
            Self::RunContainerError => "RunContainerError",
            Self::PostStartHookError => "PostStartHookError",
            Self::ContainerCreating => "ContainerCreating",
        }
    }
}

/// A container that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// `wasmtime://…`
    pub id: String,
    /// Since when.
    pub started_at: Timestamp,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// The id it ran under.
    pub id: String,
    /// 0 is success.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// What it left to say.
    pub message: String,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl PodState {
    /// What is known of a pod seen for the first time. A container that the API says was running ran in an earlier
    /// life of this agent and ended with it.
    pub fn first_seen(pod: Arc<Pod>, now: Timestamp) -> Self {
        let empty = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&empty);
        let containers = each_container(spec(&pod))
            .map(|(container, role)| ContainerState::recall(container, role, status, now))
            .collect();
        let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        Self {
            address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            start_time: status.start_time.as_ref().map_or(now, |time| time.0),
            seen_at: now,
            containers,
            failure: None,
            finished,
            removed: false,
            pod,
        }
    }

    /// The container's state.
    pub fn container(&self, slot: Slot) -> &ContainerState {
        &self.containers[slot.0]
    }

    /// The container's state, to change it.
    pub fn container_mut(&mut self, slot: Slot) -> &mut ContainerState {
        &mut self.containers[slot.0]
    }

    /// The container as the pod declares it.
    pub fn declared(&self, slot: Slot) -> &Container {
        let spec = spec(&self.pod);
        let inits = spec.init_containers.as_deref().unwrap_or_default();
        inits.get(slot.0).unwrap_or_else(|| &spec.containers[slot.0 - inits.len()])
    }

    /// All of them in order, with where they are.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &ContainerState)> {
        self.containers.iter().enumerate().map(|(index, state)| (Slot(index), state))
    }

    /// The pod's rule on what to do with a container that ended.
    pub fn restart_policy(&self) -> RestartPolicy {
        match spec(&self.pod).restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }

    /// Whether a container that ended this way is started again.
    pub fn restarts(&self, role: Role, exit_code: i32) -> bool {
        match (role, self.restart_policy()) {
            (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
            (_, RestartPolicy::Never) => false,
            (Role::Init, _) | (Role::Main, RestartPolicy::OnFailure) => exit_code != 0,
        }
    }

    /// When a graceful deletion must have come to its end; `None` while nobody asked for one.
    pub fn deletion_deadline(&self) -> Option<Timestamp> {
        self.pod.metadata.deletion_timestamp.as_ref().map(|time| time.0)
    }

    /// Whether the pod is on its way out, whatever the cause: nothing more is started.
    pub fn is_ending(&self) -> bool {
        self.removed || self.finished || self.failure.is_some() || self.deletion_deadline().is_some()
    }

    /// How long its containers have to stop when the cause is not a deletion.
    pub fn grace(&self) -> Duration {
        let seconds = spec(&self.pod).termination_grace_period_seconds.unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
    }

    /// Whether all init containers did their part.
    pub fn is_initialized(&self) -> bool {
        self.containers.iter().all(|container| match container.role {
            Role::Init => matches!(&container.phase, Phase::Terminated(end) if end.exit_code == 0),
            Role::Sidecar => container.is_up() && container.started,
            Role::Main => true,
        })
    }
}

/// What `spec.restartPolicy` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// Unless it was 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl ContainerState {
    fn recall(container: &Container, role: Role, status: &PodStatus, now: Timestamp) -> Self {
        let known = match role {
            Role::Main => &status.container_statuses,
            Role::Init | Role::Sidecar => &status.init_container_statuses,
        };
        let known = known.iter().flatten().find(|known| known.name == container.name);
        let mut state = Self {
            name: container.name.clone(),
            role,
            phase: Phase::Waiting { blocked: None },
            restarts: 0,
            last: None,
            image_id: String::new(),
            started: false,
            ready: false,
            unhealthy: None,
            unhealthy_grace: None,
            resumes: None,
            crashes: Backoff::default(),
            pulls: Backoff::default(),
        };
        if let Some(known) = known {
            state.take_up(known, now);
        }
        state
    }

    fn take_up(&mut self, known: &ContainerStatus, now: Timestamp) {
        self.restarts = u32::try_from(known.restart_count).unwrap_or(0);
        self.image_id.clone_from(&known.image_id);
        let ended = |terminated: &ContainerStateTerminated| Termination::recall(terminated, now);
        self.last = known.last_state.as_ref().and_then(|last| last.terminated.as_ref()).map(ended);
        let Some(state) = &known.state else { return };
        if let Some(terminated) = &state.terminated {
            self.phase = Phase::Terminated(ended(terminated));
        } else if let Some(running) = &state.running {
            let id = known.container_id.clone().unwrap_or_default();
            if id.starts_with("docker://") {
                // Docker goes on without the agent.
                self.resumes = Some(id);
                return;
            }
            self.phase =
                Phase::Terminated(Termination::lost(id, running.started_at.as_ref().map(|t| t.0), now));
        } else if let Some(last) = self.last.take() {
            // It waited for its next start.
            self.phase = Phase::Terminated(last);
        }
    }

    /// Whether it may be running, but is yet to be found again.
    pub fn is_to_be_found(&self) -> bool {
        self.resumes.is_some() && matches!(self.phase, Phase::Waiting { .. })
    }

    /// Whether it holds something of the runtime.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Running(_) | Phase::Stopping { .. })
    }
}

impl Termination {
    /// Of a container that ran when the agent last ended, so that nobody saw how it ended.
    fn lost(id: String, started_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            id,
            exit_code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: "The container ran in an earlier life of the node agent and ended with it".to_owned(),
            started_at,
            finished_at: now,
        }
    }

    fn recall(terminated: &ContainerStateTerminated, now: Timestamp) -> Self {
        Self {
            id: terminated.container_id.clone().unwrap_or_default(),
            exit_code: terminated.exit_code,
            reason: terminated.reason.clone().unwrap_or_default(),
            message: terminated.message.clone().unwrap_or_default(),
            started_at: terminated.started_at.as_ref().map(|time| time.0),
            finished_at: terminated.finished_at.as_ref().map_or(now, |time| time.0),
        }
    }
}

/// The pod's spec; a pod that is bound to a node always has one.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().expect("a pod is only accepted with its spec")
}

/// Init containers in order, then the others.
pub fn each_container(spec: &PodSpec) -> impl Iterator<Item = (&Container, Role)> {
    let inits = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (container, if sidecar { Role::Sidecar } else { Role::Init })
    });
    inits.chain(spec.containers.iter().map(|container| (container, Role::Main)))
}
