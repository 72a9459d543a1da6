//! Brings up a Docker container, or takes up one that an earlier life of the agent started.

use std::net::SocketAddr;

use super::{Refused, Request, Started, Starter, declared_ports, pod_ref, refused_image};
use crate::agent::events::Kind;
use crate::agent::pod::WaitingReason;
use crate::agent::workload::Workload;
use crate::docker::{Docker, DockerError, Image, Limits, OpenPort, PullError, Run, Sandbox, Wanted};
use crate::images::{CLUSTER_REGISTRY, ImageError, PullPolicy, Ready, registry_of};
use crate::{docker, images};

/// What a container is made of.
pub(super) enum Source {
    Wasm(Ready),
    Docker(Box<Image>),
}

impl Starter {
    /// The image, from whichever runtime's store has it or gets it.
    pub(super) async fn source(&self, request: &Request) -> Result<Source, Refused> {
        let name = request.declared.image.as_deref().unwrap_or_default();
        let policy = PullPolicy::of(request.declared.image_pull_policy.as_deref(), name);
        let insists = super::runtime_class(&request.pod);
        let here = self.images.present(name).is_some() && insists != Some("docker");
        if let Some(docker) = self.docker.as_ref().filter(|_| insists != Some("wasm") && !here) {
            let known = if policy == PullPolicy::Always { None } else { present(docker, name).await? };
            if let Some(image) = known {
                let told = format!("Container image \"{name}\" already present on machine");
                self.tell(request, Kind::Normal, "Pulled", told);
                return Ok(Source::Docker(Box::new(image)));
            }
        }
        let asks = !here || policy == PullPolicy::Always;
        if asks && policy != PullPolicy::Never {
            self.tell(request, Kind::Normal, "Pulling", format!("Pulling image \"{name}\""));
        }
        let credentials =
            if asks { self.sources.credentials(&request.pod).await } else { Default::default() };
        if insists != Some("docker") || policy == PullPolicy::Never {
            match self.images.ensure(name, policy, credentials.clone()).await {
                Ok(ready) => return Ok(Source::Wasm(ready)),
                Err(error) => match &*error {
                    ImageError::NotWasm { .. } if self.docker.is_some() && insists != Some("wasm") => {}
                    _ => return Err(refused_image(&error)),
                },
            }
        }
        let docker = self.docker.as_ref().ok_or_else(no_docker)?;
        let image = self.pull(request, docker, name, &credentials).await?;
        Ok(Source::Docker(Box::new(image)))
    }

    async fn pull(
        &self,
        request: &Request,
        docker: &Docker,
        name: &str,
        credentials: &images::Credentials,
    ) -> Result<Image, Refused> {
        let started = std::time::Instant::now();
        let registry = registry_of(name);
        let pulled = if registry == CLUSTER_REGISTRY {
            let archive = self.images.archive(name, docker.architecture()).await;
            let archive = archive.map_err(|error| refused_image(&error))?;
            docker.load(name, archive).await
        } else {
            docker.pull(name, credentials.for_host(&registry)).await
        };
        let image = pulled.map_err(|error| match error {
            PullError::Denied(why) | PullError::Refused(why) => {
                Refused { reason: WaitingReason::ErrImagePull, message: why }
            }
        })?;
        let (time, size) = (format!("{}ms", started.elapsed().as_millis()), image.size);
        let told = format!(
            "Successfully pulled image \"{name}\" in {time} ({time} including waiting). Image size: {size} bytes."
        );
        self.tell(request, Kind::Normal, "Pulled", told);
        Ok(image)
    }

    /// The container of this run that is there already. One that the API says ran and that is gone has ended.
    pub(super) async fn found(&self, request: &Request) -> Result<Option<Started>, Refused> {
        let uid = request.pod.metadata.uid.as_deref().unwrap_or_default();
        let Some(docker) = &self.docker else {
            return if request.resumes.is_some() { Err(no_docker()) } else { Ok(None) };
        };
        if request.resumes.is_none() && !docker.knows(uid) {
            return Ok(None);
        }
        let (name, attempt) = (&request.declared.name, request.restart);
        let found = docker.find(uid, name, attempt).await.map_err(not_started)?;
        match (found, &request.resumes) {
            (Some(found), None) if found.unstarted => {
                docker.discard(found).await.map_err(not_started)?;
                Ok(None)
            }
            (Some(found), _) => {
                let logged = {
                    let (logs, pod, name) = (self.logs.clone(), pod_ref(&request.pod), name.clone());
                    let read = move || logs.last_time(&pod, &name, attempt);
                    tokio::task::spawn_blocking(read).await.ok().flatten()
                };
                let sandbox = docker.sandbox(&request.pod, request.address).await.map_err(no_sandbox)?;
                let logs = self.logs.open(&pod_ref(&request.pod), name, attempt);
                let container = docker.follow_found(found, Run { uid, name, attempt }, logs, logged).await;
                let container = container.map_err(not_started)?;
                Ok(Some(self.up(request, container, &sandbox, String::new())))
            }
            (None, Some(id)) => Ok(Some(Started {
                container: Workload::Docker(docker.lost(id)),
                image_id: String::new(),
                registrations: Vec::new(),
                open_ports: Vec::new(),
            })),
            (None, None) => Ok(None),
        }
    }

    /// Makes and starts a new container.
    pub(super) async fn start_docker(&self, request: &Request, image: &Image) -> Result<Started, Refused> {
        let docker = self.docker.as_ref().ok_or_else(no_docker)?;
        let (pod, declared) = (&request.pod, &request.declared);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let prepared = self.prepare(request, &image.env, &image.entrypoint, &image.cmd).await?;
        let sandbox = docker.sandbox(pod, request.address).await.map_err(|error| {
            let message = format!("Failed to create pod sandbox: {error}");
            self.events.pod(pod, None, Kind::Warning, "FailedCreatePodSandBox", message);
            no_sandbox(error)
        })?;
        docker.remove_others(uid, &declared.name).await.map_err(not_started)?;
        let mut command = vec![prepared.program];
        command.extend(prepared.args);
        if declared.command.as_ref().is_none_or(Vec::is_empty) && image.entrypoint.is_empty() {
            // Without either, the first word is not a program but the container's name.
            command.remove(0);
        }
        let wanted = Wanted {
            pod,
            declared,
            attempt: request.restart,
            image,
            command,
            env: prepared.env,
            mounts: prepared.mounts,
            limits: limits(request).map_err(not_configured)?,
        };
        let id = docker.make(&wanted, &sandbox).await.map_err(|error| match error {
            DockerError::Call(message) => {
                Refused { reason: WaitingReason::CreateContainerConfigError, message }
            }
            other => not_started(other),
        })?;
        self.tell(request, Kind::Normal, "Created", format!("Created container: {}", declared.name));
        docker.start(&id).await.map_err(not_started)?;
        let logs = self.logs.open(&pod_ref(pod), &declared.name, request.restart);
        let container =
            docker.follow_new(id, Run { uid, name: &declared.name, attempt: request.restart }, logs).await;
        let container = container.map_err(not_started)?;
        let started = self.up(request, container, &sandbox, image.shown.clone());
        self.tell_host_ports(request);
        if let Err(refused) = self.after_start(request, started.container.exec()).await {
            started.container.stop(crate::agent::start::HOOK_GRACE).await;
            return Err(refused);
        }
        self.tell(request, Kind::Normal, "Started", format!("Started container {}", declared.name));
        Ok(started)
    }

    /// Opens the ports that the container declares.
    fn up(
        &self,
        request: &Request,
        container: docker::Container,
        sandbox: &Sandbox,
        image_id: String,
    ) -> Started {
        let mut open_ports = Vec::new();
        if let Some(network) = sandbox.network() {
            for port in declared_ports(&request.declared) {
                match OpenPort::open(SocketAddr::new(request.address, port), network.clone()) {
                    Ok(open) => open_ports.push(open),
                    Err(error) => {
                        let message = format!(
                            "Cannot listen on {}:{port} of this machine: {error}. The cluster reaches it all the same",
                            request.address
                        );
                        self.tell(request, Kind::Warning, "ListenFailed", message);
                    }
                }
            }
        }
        Started { container: Workload::Docker(container), image_id, registrations: Vec::new(), open_ports }
    }
}

async fn present(docker: &Docker, name: &str) -> Result<Option<Image>, Refused> {
    let found = docker.image(name).await;
    found.map_err(|error| Refused { reason: WaitingReason::ErrImagePull, message: error.to_string() })
}

fn limits(request: &Request) -> Result<Limits, String> {
    let millis = super::amount(&request.declared, "cpu", super::Bound::Request)?;
    let limit = super::cpu_limit(&request.declared)?;
    let asked = millis.and_then(|amount| u32::try_from(amount.milli_value()).ok());
    Ok(Limits {
        memory: super::memory_limit(&request.declared)?,
        cpu_millis: limit,
        // As upstream: a limit without a request asks for as much.
        cpu_request_millis: asked.or(limit).unwrap_or(0),
    })
}

fn no_docker() -> Refused {
    let message =
        "the image is not WebAssembly, and this node has no Docker: start the node where a Docker daemon \
                   runs, or name its socket with --docker"
            .to_owned();
    Refused { reason: WaitingReason::CreateContainerError, message }
}

fn no_sandbox(_: DockerError) -> Refused {
    // Told as an event of the pod.
    Refused { reason: WaitingReason::ContainerCreating, message: String::new() }
}

fn not_started(error: DockerError) -> Refused {
    Refused { reason: WaitingReason::RunContainerError, message: error.to_string() }
}

fn not_configured(message: String) -> Refused {
    Refused { reason: WaitingReason::CreateContainerConfigError, message }
}
