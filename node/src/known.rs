//! What a node knows of its cluster and must not forget: where the members are, and its own certificates.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Identity;

/// What is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// URLs of the members' APIs, as the cluster last said; those that the node was told of come after them.
    pub servers: Vec<String>,
    /// What the node shows to the API.
    pub client: Identity,
    /// What its own server shows.
    pub server: Identity,
}

/// Keeps it; blocks.
pub type Keep = Arc<dyn Fn(&Known) -> io::Result<()> + Send + Sync>;

/// Has everything kept that changes.
pub(crate) struct Keeper {
    pub(crate) known: watch::Receiver<Known>,
    pub(crate) keep: Option<Keep>,
}

impl Keeper {
    /// Works until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let Some(keep) = self.keep else { return shutdown.cancelled().await };
        loop {
            // Cancel-safe: what was not seen counts as changed.
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.known.changed() => match changed {
                    Ok(()) => {}
                    // Nobody learns anything any more.
                    Err(_) => return shutdown.cancelled().await,
                },
            }
            let (keep, known) = (keep.clone(), self.known.borrow_and_update().clone());
            let kept = tokio::task::spawn_blocking(move || keep(&known)).await;
            if let Err(error) = kept.map_err(io::Error::other).flatten() {
                tracing::warn!(%error, "the node does not keep what it learned of its cluster");
            }
        }
    }
}
