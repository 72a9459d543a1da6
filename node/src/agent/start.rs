//! Brings up one container: its image, its environment, its folders, and the start itself. What fails on the way is
//! told as the reason the container waits for.

mod docker;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use isopod_spec::core::pod::annotations;
use isopod_spec::quantity::Amount;
use k8s_openapi::api::core::v1::{Container as Declared, Pod};
use tokio::sync::Semaphore;

use self::docker::Source;
use super::env::{self, Host, Inputs, Objects};
use super::events::{Events, Kind};
use super::hooks;
use super::pod::{Role, Slot, Termination, WaitingReason, spec};
use super::services::{Scope, Services};
use super::sources::Sources;
use super::workload::Workload;
use crate::docker::{Docker, Exec, OpenPort};
use crate::images::{Image, ImageError, Images, Ready};
use crate::local::{LocalPods, Outbound, PodIdentity, Registration};
use crate::logs::{Logs, PodRef};
use crate::probe::Target;
use crate::runtime::{Artifact, Container, ContainerSpec, Mount, PrepareError, Runtime};
use crate::volumes::Volumes;

/// Where an HTTP container answers that declares no port.
const DEFAULT_PORT: u16 = 80;
/// Containers brought up at a time, once they have their image; more would only take turns on the same cores.
const AT_A_TIME: usize = 32;
/// A termination message has so many bytes at most, and so much of a log at most, as upstream.
const MESSAGE_BYTES: usize = 4096;
const LOG_LINES: u64 = 80;
const LOG_BYTES: usize = 2048;
/// A container whose hook failed has this long to end.
const HOOK_GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// All that a container needs to be brought up. Shared by all starts.
pub struct Starter {
    /// Runs it.
    pub runtime: Runtime,
    /// Runs what is not WebAssembly, where this machine has it.
    pub docker: Option<Docker>,
    /// Gives its component.
    pub images: Images,
    /// Gives the ConfigMaps and Secrets it refers to.
    pub sources: Sources,
    /// Tells it of Services.
    pub services: Services,
    /// Gives its folders.
    pub volumes: Volumes,
    /// Keeps what it says.
    pub logs: Logs,
    /// Where its handler is registered.
    pub local: LocalPods,
    /// Its way out.
    pub outbound: Arc<dyn Outbound>,
    /// Where its start is told.
    pub events: Events,
    /// The machine.
    pub host: Host,
    turns: Semaphore,
}

/// Which container, of which pod.
#[derive(Clone)]
pub struct Request {
    /// The pod as last seen.
    pub pod: Arc<Pod>,
    /// The container in it.
    pub declared: Declared,
    /// Its place.
    pub slot: Slot,
    /// What it is in the pod.
    pub role: Role,
    /// The pod's address.
    pub address: IpAddr,
    /// How often it was started before.
    pub restart: u32,
    /// The id under which it ran when the agent last ended, if its runtime outlives the agent.
    pub resumes: Option<String>,
}

/// A container that runs.
pub struct Started {
    /// The container.
    pub container: Workload,
    /// For `imageID`; empty if it is known already.
    pub image_id: String,
    /// While these live, it answers at its ports.
    pub registrations: Vec<Registration>,
    /// And so do these.
    pub open_ports: Vec<OpenPort>,
}

/// What both runtimes have to know of a container.
struct Prepared {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    mounts: Vec<Mount>,
    config: Vec<(String, String)>,
}

/// Why a container did not start.
#[derive(Debug)]
pub struct Refused {
    /// For `state.waiting`.
    pub reason: WaitingReason,
    /// Its message.
    pub message: String,
}

impl Starter {
    /// Puts the parts together.
    #[allow(clippy::too_many_arguments, reason = "each part is a field of its own, given once by the wiring")]
    pub fn new(
        runtime: Runtime,
        images: Images,
        sources: Sources,
        services: Services,
        volumes: Volumes,
        logs: Logs,
        local: LocalPods,
        outbound: Arc<dyn Outbound>,
        events: Events,
        host: Host,
    ) -> Self {
        let turns = Semaphore::new(AT_A_TIME);
        let docker = None;
        Self {
            runtime,
            docker,
            images,
            sources,
            services,
            volumes,
            logs,
            local,
            outbound,
            events,
            host,
            turns,
        }
    }

    /// Runs images that are not WebAssembly, too.
    pub fn with_docker(mut self, docker: Option<Docker>) -> Self {
        self.docker = docker;
        self
    }

    /// Brings it up.
    pub async fn start(&self, request: &Request) -> Result<Started, Refused> {
        let started = self.try_start(request).await;
        if let Err(refused) = &started {
            self.tell_refused(request, refused);
        }
        started
    }

    async fn try_start(&self, request: &Request) -> Result<Started, Refused> {
        if let Some(class) = other_runtime(&request.pod) {
            let message = format!(
                "runtimeClassName {class:?} is not offered by this node: it runs \"wasm\" and, with Docker, \"docker\""
            );
            return Err(Refused { reason: WaitingReason::CreateContainerError, message });
        }
        if let Some(found) = self.found(request).await? {
            return Ok(found);
        }
        match self.source(request).await? {
            Source::Wasm(ready) => {
                self.tell_pulled(request, &ready);
                self.start_wasm(request, &ready.image).await
            }
            Source::Docker(image) => self.start_docker(request, &image).await,
        }
    }

    async fn start_wasm(&self, request: &Request, image: &Image) -> Result<Started, Refused> {
        let artifact = self.artifact(image).await?;
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let spec = self.container_spec(request, image, artifact).await?;
        self.tell(request, Kind::Normal, "Created", format!("Created container: {}", request.declared.name));
        let container = self.runtime.start(spec, self.outbound.clone()).map_err(|error| Refused {
            reason: WaitingReason::RunContainerError,
            message: error.to_string(),
        })?;
        let registrations = self.register(request, &container)?;
        self.tell_host_ports(request);
        self.after_start(request, None).await?;
        self.tell(request, Kind::Normal, "Started", format!("Started container {}", request.declared.name));
        let (container, image_id) = (Workload::Wasm(container), image.id.clone());
        Ok(Started { container, image_id, registrations, open_ports: Vec::new() })
    }

    fn tell_pulled(&self, request: &Request, ready: &Ready) {
        let name = request.declared.image.as_deref().unwrap_or_default();
        let told = match ready.pulled_in {
            None => format!("Container image \"{name}\" already present on machine"),
            Some(time) => {
                let time = format!("{}ms", time.as_millis());
                let size = ready.image.size;
                format!(
                    "Successfully pulled image \"{name}\" in {time} ({time} including waiting). Image size: {size} bytes."
                )
            }
        };
        self.tell(request, Kind::Normal, "Pulled", told);
    }

    async fn artifact(&self, image: &Image) -> Result<Arc<Artifact>, Refused> {
        if let Some(artifact) = self.runtime.cached(&image.digest) {
            return Ok(artifact);
        }
        let bytes = self.images.bytes(image).await.map_err(|error| refused_image(&error))?;
        self.runtime.prepare(&image.digest, bytes).await.map_err(|error| refused_artifact(image, &error))
    }

    /// What the objects and the pod say, for either runtime.
    async fn prepare(
        &self,
        request: &Request,
        image_env: &[(String, String)],
        entrypoint: &[String],
        cmd: &[String],
    ) -> Result<Prepared, Refused> {
        let namespace = request.pod.metadata.namespace.clone().unwrap_or_default();
        let not_configured =
            |message: String| Refused { reason: WaitingReason::CreateContainerConfigError, message };
        let objects = self.sources.fetch(&namespace, &env::references(&request.declared)).await;
        let objects = objects.map_err(|error| not_configured(error.to_string()))?;
        let own_only = spec(&request.pod).enable_service_links == Some(false);
        let scope = if own_only { Scope::ApiServer } else { Scope::Namespace };
        let inputs = Inputs {
            pod: &request.pod,
            container: &request.declared,
            address: request.address,
            host: &self.host,
            objects: &objects,
            links: self.services.variables(&namespace, scope),
            image: image_env,
        };
        let variables = env::environment(&inputs).map_err(|error| not_configured(error.to_string()))?;
        let (program, args) = env::command_line(&request.declared, entrypoint, cmd, &variables);
        let mounts = self.volumes.mounts(&inputs, &variables).await.map_err(|error| {
            self.events.pod(&request.pod, None, Kind::Warning, "FailedMount", error.to_string());
            Refused { reason: WaitingReason::ContainerCreating, message: String::new() }
        })?;
        let config = config_values(&request.declared, &objects);
        Ok(Prepared { program, args, env: variables.into_iter().collect(), mounts, config })
    }

    async fn container_spec(
        &self,
        request: &Request,
        image: &Image,
        artifact: Arc<Artifact>,
    ) -> Result<ContainerSpec, Refused> {
        let not_configured =
            |message: String| Refused { reason: WaitingReason::CreateContainerConfigError, message };
        let instances = annotations::instances(request.pod.metadata.annotations.as_ref());
        let instances = instances.map_err(|error| not_configured(error.to_string()))?;
        let prepared = self.prepare(request, &image.env, &image.entrypoint, &image.cmd).await?;
        let pod = pod_ref(&request.pod);
        Ok(ContainerSpec {
            pod: identity(&request.pod, request.address),
            name: prepared.program,
            artifact,
            args: prepared.args,
            env: prepared.env,
            mounts: prepared.mounts,
            memory_limit_bytes: memory_limit(&request.declared).map_err(not_configured)?,
            cpu_limit_millis: cpu_limit(&request.declared).map_err(not_configured)?,
            config: prepared.config,
            instances,
            logs: self.logs.open(&pod, &request.declared.name, request.restart),
        })
    }

    /// Makes an HTTP container answer at the ports it declares.
    fn register(&self, request: &Request, container: &Container) -> Result<Vec<Registration>, Refused> {
        let Some(handler) = container.handler() else { return Ok(Vec::new()) };
        let pod = Arc::new(identity(&request.pod, request.address));
        let mut registrations = Vec::new();
        for port in ports(&request.declared) {
            if self.local.lookup(SocketAddr::new(request.address, port)).is_some() {
                let message = format!("port {port} of the pod is in use by another of its containers");
                return Err(Refused { reason: WaitingReason::RunContainerError, message });
            }
            registrations.push(self.local.register(pod.clone(), port, handler.clone()));
        }
        Ok(registrations)
    }

    /// The scheduler keeps host ports apart, but nothing listens on them: better said than found out.
    fn tell_host_ports(&self, request: &Request) {
        let ports = request.declared.ports.iter().flatten().filter_map(|port| port.host_port);
        for port in ports.filter(|port| *port != 0) {
            let message = format!(
                "hostPort {port} is kept for the pod, but not opened: it answers at its own address; use a Service of type NodePort"
            );
            self.tell(request, Kind::Warning, "HostPortNotOpened", message);
        }
    }

    /// The hook that the pod wants run before the container counts as started.
    async fn after_start(&self, request: &Request, exec: Option<Exec>) -> Result<(), Refused> {
        let target =
            Target { local: self.local.clone(), address: request.address, from: self.host.address, exec };
        let done = hooks::after_start(&request.declared, &target).await;
        done.map_err(|error| {
            let message = format!("PostStartHook failed: {error}");
            self.tell(request, Kind::Warning, "FailedPostStartHook", message.clone());
            Refused { reason: WaitingReason::PostStartHookError, message }
        })
    }

    /// The end with a message for it: what the runtime says, or if the pod wants that, the end of its log.
    pub(super) async fn last_words(
        &self,
        pod: &Pod,
        declared: &Declared,
        mut end: Termination,
    ) -> Termination {
        let from_log = declared.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if from_log && end.exit_code != 0 && end.message.is_empty() {
            let pod = pod_ref(pod);
            end.message = self.logs.end_of(&pod, &declared.name, LOG_LINES, LOG_BYTES).await;
        }
        end.message.truncate(end.message.floor_char_boundary(MESSAGE_BYTES));
        end
    }

    fn tell_refused(&self, request: &Request, refused: &Refused) {
        let Refused { reason, message } = refused;
        let image = request.declared.image.as_deref().unwrap_or_default();
        let said = match reason {
            WaitingReason::ErrImagePull => {
                let failed = format!("Failed to pull image \"{image}\": {message}");
                self.tell(request, Kind::Warning, "Failed", failed);
                "Error: ErrImagePull".to_owned()
            }
            WaitingReason::InvalidImageName => {
                let failed = format!("Failed to apply default image tag \"{image}\": {message}");
                self.tell(request, Kind::Warning, "InspectFailed", failed);
                "Error: InvalidImageName".to_owned()
            }
            WaitingReason::ErrImageNeverPull => {
                self.tell(request, Kind::Warning, "ErrImageNeverPull", message.clone());
                "Error: ErrImageNeverPull".to_owned()
            }
            // Told where it happened.
            WaitingReason::ContainerCreating | WaitingReason::PostStartHookError => return,
            WaitingReason::CreateContainerConfigError
            | WaitingReason::CreateContainerError
            | WaitingReason::RunContainerError => format!("Error: {message}"),
        };
        self.tell(request, Kind::Warning, "Failed", said);
    }

    fn tell(&self, request: &Request, kind: Kind, reason: &'static str, message: String) {
        self.events.pod(&request.pod, Some((&request.declared.name, request.role)), kind, reason, message);
    }
}

/// The name under which a pod's logs are kept.
pub fn pod_ref(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// Who a pod is, to the network and the runtimes.
pub fn identity(pod: &Pod, addr: IpAddr) -> PodIdentity {
    let PodRef { namespace, name, uid } = pod_ref(pod);
    PodIdentity { namespace, name, uid, addr }
}

/// What a component reads through `wasi:config`: the text of the ConfigMaps that the container takes its environment
/// from, also under names that no variable can have. As in the environment, the last one wins.
fn config_values(declared: &Declared, objects: &Objects) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for source in declared.env_from.iter().flatten() {
        let map = source.config_map_ref.as_ref().and_then(|map| objects.config_maps.get(&map.name));
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let data = map.and_then(|map| map.data.as_ref()).into_iter().flatten();
        values.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
    }
    values
}

/// The ports that a container answers HTTP on.
pub fn ports(declared: &Declared) -> Vec<u16> {
    let numbers = declared_ports(declared);
    if numbers.is_empty() { vec![DEFAULT_PORT] } else { numbers }
}

/// The TCP ports that a container declares.
fn declared_ports(declared: &Declared) -> Vec<u16> {
    let ports = declared.ports.iter().flatten();
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    let mut numbers: Vec<u16> = tcp.filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The runtime that the pod insists on.
fn runtime_class(pod: &Pod) -> Option<&str> {
    spec(pod).runtime_class_name.as_deref().filter(|class| !class.is_empty())
}

/// The runtime that the pod insists on, if it is none of ours.
fn other_runtime(pod: &Pod) -> Option<&str> {
    runtime_class(pod).filter(|class| !matches!(*class, "wasm" | "docker"))
}

fn memory_limit(declared: &Declared) -> Result<Option<u64>, String> {
    Ok(amount(declared, "memory", Bound::Limit)?.and_then(|amount| u64::try_from(amount.value()).ok()))
}

fn cpu_limit(declared: &Declared) -> Result<Option<u32>, String> {
    Ok(amount(declared, "cpu", Bound::Limit)?.and_then(|amount| u32::try_from(amount.milli_value()).ok()))
}

/// What a container says of a resource.
#[derive(Clone, Copy)]
enum Bound {
    Limit,
    Request,
}

fn amount(declared: &Declared, resource: &str, bound: Bound) -> Result<Option<Amount>, String> {
    let resources = declared.resources.as_ref();
    let (amounts, word) = match bound {
        Bound::Limit => (resources.and_then(|resources| resources.limits.as_ref()), "limit"),
        Bound::Request => (resources.and_then(|resources| resources.requests.as_ref()), "request"),
    };
    let Some(quantity) = amounts.and_then(|amounts| amounts.get(resource)) else { return Ok(None) };
    Amount::try_from(quantity).map(Some).map_err(|error| format!("invalid {resource} {word}: {error}"))
}

fn refused_image(error: &ImageError) -> Refused {
    let reason = match error {
        ImageError::InvalidName { .. } => WaitingReason::InvalidImageName,
        ImageError::NeverPull { .. } => WaitingReason::ErrImageNeverPull,
        ImageError::NotWasm { .. } | ImageError::Layout { .. } => WaitingReason::CreateContainerError,
        ImageError::NotFound { .. }
        | ImageError::Denied { .. }
        | ImageError::Registry { .. }
        | ImageError::Untrue { .. }
        | ImageError::TooLarge { .. }
        | ImageError::Disk { .. } => WaitingReason::ErrImagePull,
    };
    Refused { reason, message: error.to_string() }
}

fn refused_artifact(image: &Image, error: &PrepareError) -> Refused {
    let message = format!("image \"{}\" cannot be run: {error}", image.reference);
    Refused { reason: WaitingReason::CreateContainerError, message }
}
