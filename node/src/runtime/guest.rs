//! What one instance may touch: its grants, and the state of its WASI handles.
//!
//! Nothing is ambient. Environment, arguments, folders, output and network are what the pod's spec gives.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::memory::MemoryLimit;
use super::outgoing::Outgoing;
use super::output::Output;
use crate::local::{Outbound, PodIdentity};
use crate::logs::{LogSink, Stream};
use crate::volumes::Held;

/// Handles an instance may hold at once (streams, bodies, header sets, files): each costs the host memory that
/// the instance's own limit does not count.
const HANDLES: usize = 10_000;
/// Bytes a guest may hand to the host in one call; they are copied. Streams take far less at a time.
const CALL_BYTES: usize = 16 << 20;
/// Random bytes a guest may ask for in one call.
const RANDOM_BYTES: u64 = 1 << 20;

/// A folder of the host that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The folder on this machine.
    pub host_path: PathBuf,
    /// Where the guest finds it.
    pub guest_path: String,
    /// What the guest may do there.
    pub access: Access,
    /// Keeps open the folder that `host_path` leads to, where its name may come to mean another one.
    pub held: Option<Held>,
}

/// What a container may do in a mounted folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and list.
    ReadOnly,
    /// Also create, write and remove.
    ReadWrite,
}

/// All that the instances of one container are given; they share it.
pub(super) struct Grants {
    pub(super) pod: PodIdentity,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) mounts: Vec<Mount>,
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) logs: LogSink,
    pub(super) config: WasiConfigVariables,
    pub(super) outbound: Arc<dyn Outbound>,
}

impl Grants {
    /// A context with nothing but the mounted folders. Fails when one cannot be opened.
    pub(super) fn open_folders(&self) -> wasmtime::Result<WasiCtx> {
        let mut folders = WasiCtx::builder();
        for mount in &self.mounts {
            let perms = match mount.access {
                Access::ReadOnly => FsPerms::ReadOnly,
                Access::ReadWrite => FsPerms::ReadWrite,
            };
            folders
                .preopened_dir(&mount.host_path, &mount.guest_path, perms)
                .map_err(|error| error.context(format!("cannot open {}", mount.host_path.display())))?;
        }
        Ok(folders.build())
    }
}

/// The host's side of one instance.
pub(super) struct Guest {
    pub(super) grants: Arc<Grants>,
    pub(super) memory: MemoryLimit,
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
}

impl Guest {
    /// A store for a new instance.
    pub(super) fn store(engine: &Engine, grants: Arc<Grants>) -> Store<Self> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Output::new(grants.logs.clone(), Stream::Stdout));
        wasi.stderr(Output::new(grants.logs.clone(), Stream::Stderr));
        wasi.max_random_size(RANDOM_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let memory = MemoryLimit::new(grants.memory_limit_bytes);
        let outgoing = Outgoing::new(grants.clone());
        let guest = Self { grants, memory, table, wasi: wasi.build(), http: WasiHttpCtx::new(), outgoing };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(CALL_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// Names [`Guest`] itself as the implementation of an interface.
pub(super) struct HasGuest;

impl HasData for HasGuest {
    type Data<'a> = &'a mut Guest;
}

/// The folders of a container, and the table in which a guest finds them.
struct Folders<'a> {
    wasi: WasiCtx,
    table: &'a mut ResourceTable,
}

impl WasiView for Folders<'_> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: self.table }
    }
}

/// In the place of wasmtime's own, which wants all folders open before: every pod has one mounted, every request an
/// instance of its own, and few of them ever look at a file. A folder that cannot be opened is a trap.
impl preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let wasi = self.grants.open_folders()?;
        preopens::Host::get_directories(&mut Folders { wasi, table: &mut self.table }.filesystem())
    }
}

impl p3::filesystem::preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        preopens::Host::get_directories(self)
    }
}

/// In the place of wasmtime's own, which wants a copy of the whole environment for every instance, asked for or
/// not.
impl environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.grants.env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.grants.args.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl p3::cli::environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        environment::Host::get_environment(self)
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        environment::Host::get_arguments(self)
    }

    fn get_initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        environment::Host::initial_cwd(self)
    }
}
