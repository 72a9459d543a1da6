//! A container of either runtime, as far as the agent has to do with it.

use std::time::Duration;

use tokio::sync::watch;

use crate::docker;
use crate::runtime::{self, State, Traps};

/// A container that runs.
#[derive(Debug)]
pub enum Workload {
    /// WebAssembly, in this process.
    Wasm(runtime::Container),
    /// In the Docker daemon.
    Docker(docker::Container),
}

impl Workload {
    /// The runtime, and its name for the container.
    pub fn id(&self) -> &str {
        match self {
            Self::Wasm(container) => container.id(),
            Self::Docker(container) => container.id(),
        }
    }

    /// Its state now and from now on.
    pub fn state(&self) -> watch::Receiver<State> {
        match self {
            Self::Wasm(container) => container.state(),
            Self::Docker(container) => container.state(),
        }
    }

    /// Failures of single requests, where the runtime sees requests.
    pub(super) fn traps(&self) -> Option<watch::Receiver<Traps>> {
        match self {
            Self::Wasm(container) => Some(container.traps()),
            Self::Docker(_) => None,
        }
    }

    /// Runs programs in it, where the runtime has such.
    pub(super) fn exec(&self) -> Option<docker::Exec> {
        match self {
            Self::Wasm(_) => None,
            Self::Docker(container) => Some(container.exec()),
        }
    }

    /// Ends it, and returns when it has ended.
    pub(super) async fn stop(&self, grace: Duration) {
        match self {
            Self::Wasm(container) => container.stop(grace).await,
            Self::Docker(container) => container.stop(grace).await,
        }
    }
}
