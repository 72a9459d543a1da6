//! Wasm containers in wasmtime.
//!
//! The agent prepares an artifact once per digest and starts containers of it. An HTTP container is a row in a
//! table until it is asked something: each request gets a fresh instance, which is gone with it. A command is a
//! process that runs in a task. Whatever a guest does (traps, spins, fills its memory, floods its log), it does to
//! itself: guests yield by epochs, are refused memory beyond their limit, and touch only what they were granted.

mod adapt;
mod artifact;
mod cache;
mod command;
mod container;
mod cpu;
mod digest;
mod engine;
mod failure;
mod guest;
mod http;
pub mod inspect;
mod limits;
mod lookup;
mod memory;
mod offer;
mod outgoing;
mod output;
mod ticker;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};

use self::artifact::{Artifacts, CompileLimits, Entry};
use self::cache::CodeCache;
use self::command::Command;
use self::container::{Kind, TrapLog};
use self::cpu::Cpu;
use self::engine::Host;
use self::guest::Grants;
use self::http::HttpContainer;
use self::limits::HostLimits;
use self::ticker::Ticker;
use crate::local::Outbound;

pub use isopod_spec::core::pod::annotations::{Instances, Reuse};

pub use self::artifact::{Artifact, PrepareError};
pub use self::container::{Container, ContainerSpec, Reason, State, Traps};
pub use self::guest::{Access, Mount};
pub use self::world::{MissingImport, World};

/// Settings of the runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where compiled code is kept. Must belong to this user alone, else nothing is kept.
    pub cache_dir: PathBuf,
    /// Instances that may live at once; the host's limits may allow fewer.
    pub live_instances: u32,
    /// Artifacts compiled at once.
    pub compile_parallel: usize,
    /// Size of an artifact at most.
    pub compile_bytes: usize,
    /// How long compiling one artifact may take.
    pub compile_time: Duration,
}

impl Config {
    /// The defaults, with compiled code kept in `cache_dir`.
    pub fn new(cache_dir: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache_dir,
            // Each slot costs the idle process 2 KB. Instances live for milliseconds, except those of commands.
            live_instances: 2_000,
            // Half of the cores go on serving.
            compile_parallel: cores.div_ceil(2),
            // A Python interpreter with its libraries has 40 MB.
            compile_bytes: 128 << 20,
            compile_time: Duration::from_secs(120),
        }
    }
}

/// The host allows no instances, or the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Not enough memory maps or address space.
    #[error(
        "this host has no room for instances: raise vm.max_map_count or the limit of address space (ulimit -v)"
    )]
    NoRoom,
    /// The engine refused its settings, or could not reserve its pools.
    #[error("the engine cannot start: {0}")]
    Engine(String),
    /// The thread that interrupts guests could not be started.
    #[error("cannot start the thread that interrupts guests")]
    Ticker(#[source] std::io::Error),
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// As many instances live as this node allows.
    #[error("all {live_instances} instances of this node are in use")]
    AtCapacity {
        /// How many that is.
        live_instances: u32,
    },
}

/// The runtime of this process: to be made once. A cheap clone is another handle.
#[derive(Clone)]
pub struct Runtime {
    host: Arc<Host>,
    artifacts: Artifacts,
    live_instances: u32,
}

impl Runtime {
    /// Starts the engine. Must be called within a Tokio runtime, where the containers will run.
    pub fn new(config: Config) -> Result<Self, RuntimeError> {
        let live_instances = HostLimits::read().live_instances(config.live_instances);
        if live_instances == 0 {
            return Err(RuntimeError::NoRoom);
        }
        if live_instances < config.live_instances {
            tracing::warn!(live_instances, wanted = config.live_instances, "this host limits live instances");
        }
        let engine = engine::engine(live_instances).map_err(engine_error)?;
        let cache = CodeCache::open(&config.cache_dir, &engine)
            .inspect_err(|error| {
                let path = config.cache_dir.display();
                tracing::warn!(%path, %error, "compiled code is not kept");
            })
            .ok();
        let limits = CompileLimits {
            parallel: config.compile_parallel.max(1),
            bytes: config.compile_bytes,
            time: config.compile_time,
        };
        let artifacts = Artifacts::new(engine.clone(), cache, limits).map_err(engine_error)?;
        let host = Host {
            ticker: Ticker::start(engine.clone()).map_err(RuntimeError::Ticker)?,
            engine,
            instances: Arc::new(Semaphore::new(live_instances as usize)),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            trapped: AtomicU64::new(0),
            out_of_memory: AtomicU64::new(0),
            handle: tokio::runtime::Handle::current(),
        };
        Ok(Self { host: Arc::new(host), artifacts, live_instances })
    }

    /// Makes an artifact ready to start: checked, adapted if it is a core module, compiled on a thread apart or
    /// loaded from the disk, and linked. Done once per digest, however many ask.
    pub async fn prepare(&self, digest: &str, bytes: Bytes) -> Result<Arc<Artifact>, PrepareError> {
        self.artifacts.prepare(digest, bytes).await
    }

    /// The artifact of a digest if it is ready in memory, as it is while any container runs it.
    pub fn cached(&self, digest: &str) -> Option<Arc<Artifact>> {
        self.artifacts.get(digest)
    }

    /// Starts a container. One that serves is ready at once; a command begins to run.
    pub fn start(&self, spec: ContainerSpec, outbound: Arc<dyn Outbound>) -> Result<Container, StartError> {
        let logs = spec.logs.clone();
        let mut args = vec![spec.name];
        args.extend(spec.args);
        let grants = Arc::new(Grants {
            pod: spec.pod,
            args,
            env: spec.env,
            mounts: spec.mounts,
            memory_limit_bytes: spec.memory_limit_bytes,
            logs: spec.logs,
            config: spec.config.into_iter().collect(),
            outbound,
        });
        let state = watch::Sender::new(State::Running { started_at: Timestamp::now() });
        let cpu = Arc::new(Cpu::new(spec.cpu_limit_millis));
        let log = TrapLog::new();
        let traps = log.subscribe();
        let kind = match &spec.artifact.entry {
            Entry::Http(component) => {
                let (host, component) = (self.host.clone(), component.clone());
                Kind::Http(HttpContainer::new(host, component, grants, cpu.clone(), log, spec.instances))
            }
            Entry::Command(component) => {
                let Ok(instance) = self.host.instances.clone().try_acquire_owned() else {
                    return Err(StartError::AtCapacity { live_instances: self.live_instances });
                };
                let (host, component) = (self.host.clone(), component.clone());
                Kind::Command(Command::start(host, component, grants, cpu.clone(), state.clone(), instance))
            }
        };
        Ok(Container::new(kind, cpu, state, traps, logs))
    }

    /// Instances that live now: of commands that run, and of requests that are being answered.
    pub fn instances_in_use(&self) -> u32 {
        let free = u32::try_from(self.host.instances.available_permits()).unwrap_or(u32::MAX);
        self.live_instances.saturating_sub(free)
    }

    /// Requests that failed so far because their instance trapped, and those whose instance wanted memory beyond its
    /// limit.
    pub fn failed_requests(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.host.trapped), count(&self.host.out_of_memory))
    }

    /// Instances that can live at once on this node.
    pub fn live_instances(&self) -> u32 {
        self.live_instances
    }
}

fn engine_error(error: wasmtime::Error) -> RuntimeError {
    RuntimeError::Engine(format!("{error:#}"))
}

#[cfg(test)]
mod tests;
