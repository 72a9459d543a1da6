//! Artifacts made ready to run: inspected, adapted, compiled and linked once, then shared by all containers that
//! run the same bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::cache::CodeCache;
use super::command::Process;
use super::digest::Digest;
use super::guest::Guest;
use super::http::Linked;
use super::inspect::{Form, InspectError, inspect};
use super::world::{self, MissingImport, Preview, World};
use super::{adapt, offer};

/// Artifacts kept although no container runs them now, because the next one is likely to be soon.
const KEPT: usize = 32;
/// Stack of a compiling thread: the compiler recurses on nested blocks.
const COMPILE_STACK_BYTES: usize = 16 << 20;
/// Compiling gives way to serving.
const COMPILE_NICENESS: i32 = 10;

/// A component that can be started.
pub struct Artifact {
    digest: Digest,
    pub(super) entry: Entry,
}

/// Linked to everything but an instance.
pub(super) enum Entry {
    Http(Linked),
    Command(Process),
}

impl Artifact {
    /// The digest of the bytes it was made from.
    pub fn digest(&self) -> &str {
        self.digest.as_str()
    }

    /// What kind of container it makes.
    pub fn world(&self) -> World {
        match self.entry {
            Entry::Http(_) => World::Http,
            Entry::Command(_) => World::Command,
        }
    }
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact").field("digest", &self.digest()).field("world", &self.world()).finish()
    }
}

/// Why an artifact cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The name is no SHA-256 digest.
    #[error("{0:?} is not a digest of the form sha256:<64 hexadecimal digits>")]
    BadDigest(String),
    /// The bytes are not those that the digest names.
    #[error("the content has digest {actual}, not {expected}")]
    DigestMismatch {
        /// As asked for.
        expected: String,
        /// Of the bytes given.
        actual: String,
    },
    /// Larger than this node compiles.
    #[error("the artifact has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most this node takes.
        limit: usize,
    },
    /// Neither a component nor a core module.
    #[error("not a WebAssembly binary")]
    NotWasm,
    /// Broken, or beyond a limit of the format or of compilation.
    #[error("invalid WebAssembly: {0}")]
    Invalid(String),
    /// It needs what is not offered.
    #[error("the component imports what this node does not offer: {}", world::listed(.0.iter()))]
    MissingImports(Vec<MissingImport>),
    /// It has no entry point that is known here.
    #[error(
        "the component exports no entry point (wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, wasi:cli/run of \
         either), but {}",
        if .exports.is_empty() { "nothing".to_owned() } else { world::listed(.exports.iter()) }
    )]
    NoEntryPoint {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// Compiling takes too long.
    #[error("not compiled within {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl From<InspectError> for PrepareError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::NotWasm => Self::NotWasm,
            other => Self::Invalid(other.to_string()),
        }
    }
}

/// Limits of compilation.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompileLimits {
    pub(super) parallel: usize,
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// The artifacts of this process. A cheap clone shares them.
#[derive(Clone)]
pub(super) struct Artifacts {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<Guest>,
    cache: Option<CodeCache>,
    limits: CompileLimits,
    compiling: Arc<Semaphore>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    slots: HashMap<Digest, Arc<Slot>>,
    recent: VecDeque<Arc<Artifact>>,
}

/// One digest: held while it is being prepared, so that it is prepared once.
type Slot = tokio::sync::Mutex<Weak<Artifact>>;

impl Artifacts {
    pub(super) fn new(
        engine: Engine,
        cache: Option<CodeCache>,
        limits: CompileLimits,
    ) -> wasmtime::Result<Self> {
        let linker = offer::linker(&engine)?;
        let compiling = Arc::new(Semaphore::new(limits.parallel));
        let inner = Inner { engine, linker, cache, limits, compiling, known: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The artifact if it is at hand in memory.
    pub(super) fn get(&self, digest: &str) -> Option<Arc<Artifact>> {
        let slot = self.inner.known().slots.get(&Digest::parse(digest)?)?.clone();
        let artifact = slot.try_lock().ok()?.upgrade()?;
        Some(artifact)
    }

    /// The artifact from memory, else from the disk, else compiled from `bytes`.
    pub(super) async fn prepare(&self, digest: &str, bytes: Bytes) -> Result<Arc<Artifact>, PrepareError> {
        let digest = Digest::parse(digest).ok_or_else(|| PrepareError::BadDigest(digest.to_owned()))?;
        let slot = self.inner.known().slots.entry(digest.clone()).or_default().clone();
        let mut held = slot.lock().await;
        if let Some(artifact) = held.upgrade() {
            return Ok(artifact);
        }
        let artifact = Arc::new(match self.load(&digest).await {
            Some(artifact) => artifact,
            None => self.compile(&digest, bytes).await?,
        });
        *held = Arc::downgrade(&artifact);
        drop(held);
        self.inner.known().keep(artifact.clone());
        Ok(artifact)
    }

    async fn load(&self, digest: &Digest) -> Option<Artifact> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        // Hashing a large file would hold up a serving thread.
        let loaded = tokio::task::spawn_blocking(move || {
            let component = inner.cache.as_ref()?.load(&inner.engine, &digest)?;
            inner.link(digest, &component).ok()
        });
        loaded.await.ok().flatten()
    }

    /// Compiles on a thread of its own: never on those that serve, and no more at once than allowed.
    async fn compile(&self, digest: &Digest, bytes: Bytes) -> Result<Artifact, PrepareError> {
        let limits = self.inner.limits;
        if bytes.len() > limits.bytes {
            return Err(PrepareError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
        }
        let permit = self.inner.compiling.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (sender, receiver) = oneshot::channel();
        let (inner, digest) = (self.inner.clone(), digest.clone());
        std::thread::Builder::new()
            .name("isopod-compile".into())
            .stack_size(COMPILE_STACK_BYTES)
            .spawn(move || {
                // Of this thread alone; without the right to it compiling only competes a little more.
                let _ = rustix::process::setpriority_process(None, COMPILE_NICENESS);
                // Nobody may wait any more, after the timeout.
                let _ = sender.send(inner.build(digest, &bytes));
                // Only now: a compilation that nobody waits for counts as long as it runs.
                drop(permit);
            })
            .map_err(|error| PrepareError::Invalid(format!("cannot start a compiling thread: {error}")))?;
        match tokio::time::timeout(limits.time, receiver).await {
            Ok(Ok(built)) => built,
            Ok(Err(_)) => Err(PrepareError::Invalid("the compiler failed on it".into())),
            Err(_) => Err(PrepareError::TimedOut(limits.time)),
        }
    }
}

impl Inner {
    /// From bytes to an artifact; blocks for as long as it takes.
    fn build(&self, digest: Digest, bytes: &[u8]) -> Result<Artifact, PrepareError> {
        let actual = Digest::of(bytes);
        if actual != digest {
            let (expected, actual) = (digest.as_str().to_owned(), actual.as_str().to_owned());
            return Err(PrepareError::DigestMismatch { expected, actual });
        }
        let adapted = checked(bytes)?;
        let component = Component::new(&self.engine, adapted.as_deref().unwrap_or(bytes))
            .map_err(|error| PrepareError::Invalid(format!("{error:#}")))?;
        let artifact = self.link(digest, &component)?;
        if let Some(cache) = &self.cache {
            let stored = component.serialize().map_err(std::io::Error::other);
            if let Err(error) = stored.and_then(|code| cache.store(&artifact.digest, &code)) {
                tracing::warn!(digest = artifact.digest(), %error, "cannot keep compiled code");
            }
        }
        Ok(artifact)
    }

    fn link(&self, digest: Digest, component: &Component) -> Result<Artifact, PrepareError> {
        let exports: Vec<String> =
            component.component_type().exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        // Functions of an interface that is offered may still be newer than it.
        let linked = self.linker.instantiate_pre(component).map_err(invalid)?;
        let Some((world, preview)) = world::of_exports(exports.iter().map(String::as_str)) else {
            return Err(PrepareError::NoEntryPoint { exports });
        };
        Ok(Artifact { digest, entry: Entry::new(world, preview, linked).map_err(invalid)? })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(world: World, preview: Preview, linked: InstancePre<Guest>) -> wasmtime::Result<Self> {
        Ok(match (world, preview) {
            (World::Http, Preview::P2) => Self::Http(Linked::P2(ProxyPre::new(linked)?)),
            (World::Http, Preview::P3) => Self::Http(Linked::P3(ServicePre::new(linked)?)),
            (World::Command, Preview::P2) => Self::Command(Process::P2(CommandPre::new(linked)?)),
            (World::Command, Preview::P3) => Self::Command(Process::P3(p3::CommandPre::new(linked)?)),
        })
    }
}

impl Known {
    fn keep(&mut self, artifact: Arc<Artifact>) {
        self.recent.push_back(artifact);
        if self.recent.len() > KEPT {
            self.recent.pop_front();
            // Slots of artifacts that are gone; one that is being prepared has another owner.
            self.slots.retain(|_, slot| {
                Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|weak| weak.strong_count() > 0)
            });
        }
    }
}

/// Refuses what cannot run before it is compiled. Returns the component a core module was made into.
fn checked(bytes: &[u8]) -> Result<Option<Vec<u8>>, PrepareError> {
    let mut outline = inspect(bytes)?;
    let missing = world::missing_imports(&outline);
    if !missing.is_empty() {
        return Err(PrepareError::MissingImports(missing));
    }
    let mut adapted = None;
    if outline.form == Form::CoreModule {
        let component = adapt::adapt(bytes, &outline).map_err(PrepareError::Invalid)?;
        outline = inspect(&component)?;
        let missing = world::missing_imports(&outline);
        if !missing.is_empty() {
            return Err(PrepareError::MissingImports(missing));
        }
        adapted = Some(component);
    }
    match world::of_exports(outline.exports.iter().map(String::as_str)) {
        Some(_) => Ok(adapted),
        None => Err(PrepareError::NoEntryPoint { exports: outline.exports }),
    }
}

fn invalid(error: wasmtime::Error) -> PrepareError {
    PrepareError::Invalid(format!("{error:#}"))
}
