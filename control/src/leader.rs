//! Who runs what only one member may run: controllers, scheduler, cleanup.
//!
//! They run while this member leads, and all their writes carry the Raft term: when leadership is lost they stop at
//! once, and a write that was under way does not land in another leader's term.

use std::sync::Arc;

use isopod_raft_store::{Leadership, MemberId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::api::NodeApi;
use crate::bootstrap;
use crate::cache::feed::Feed;
use crate::controllers::runner::Shell;
use crate::controllers::{self, event_expiry};
use crate::events::Recorder;
use crate::membership::{cleaner, keeper};
use crate::objects::Objects;
use crate::scheduler::Scheduler;

/// Options of what the leader runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member.
    pub member: MemberId,
    /// When a silent node is given up.
    pub nodes: controllers::NodeConfig,
    /// The objects that every cluster has.
    pub bootstrap: bootstrap::Config,
}

/// The field manager of what the leader writes: upstream's name, by which tools know to leave its fields alone.
const MANAGER: &str = "kube-controller-manager";

/// When something ended by itself, so long until all of it is started anew.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// What runs on the leader only.
pub struct Singletons {
    objects: Objects,
    nodes: Arc<dyn NodeApi>,
    config: Config,
}

impl Singletons {
    /// Nothing runs until [`Singletons::run`]. `nodes` asks the nodes' own servers.
    pub fn new(objects: Objects, nodes: Arc<dyn NodeApi>, config: Config) -> Singletons {
        Singletons { objects, nodes, config }
    }

    /// Runs until `shutdown`: works while this member leads, waits while it does not.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut leadership = self.objects.store().leadership();
        loop {
            let term = tokio::select! {
                () = shutdown.cancelled() => return,
                term = gained(&mut leadership) => match term {
                    Some(term) => term,
                    None => return,
                },
            };
            tracing::info!(term, "this member leads: controllers and scheduler start");
            // Whichever branch ends drops the work, and with it every task of it.
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = lost(&mut leadership, term) => tracing::info!(term, "leadership is lost: controllers and scheduler stop"),
                what = self.lead(term, &shutdown) => {
                    // The parts hear of the shutdown too, and may end a moment before this loop does.
                    if shutdown.is_cancelled() {
                        return;
                    }
                    tracing::error!(term, what, "ended by itself: all controllers start anew");
                    tokio::time::sleep(RESTART_AFTER).await;
                }
            }
        }
    }
}

impl Singletons {
    /// Runs everything; returns the name of what ended first.
    async fn lead(&self, term: u64, shutdown: &CancellationToken) -> &'static str {
        let objects = self.objects.in_term(term).managed_by(MANAGER);
        lead(objects, self.nodes.clone(), term, &self.config, shutdown).await
    }
}

/// Waits until this member leads; returns the term. `None` when the store is closed.
async fn gained(leadership: &mut watch::Receiver<Leadership>) -> Option<u64> {
    leadership.wait_for(|now| now.is_leader).await.ok().map(|now| now.term)
}

/// Waits until this member does not lead in this term any more.
async fn lost(leadership: &mut watch::Receiver<Leadership>, term: u64) {
    // A closed store leads nothing either.
    let _ = leadership.wait_for(|now| !now.is_leader || now.term != term).await;
}

/// Runs everything; returns the name of what ended first. Dropping the future stops all of it.
async fn lead(
    objects: Objects,
    nodes: Arc<dyn NodeApi>,
    term: u64,
    config: &Config,
    shutdown: &CancellationToken,
) -> &'static str {
    let stop = shutdown.child_token();
    let mut tasks: JoinSet<&'static str> = JoinSet::new();
    let mut feed = Feed::new(objects.clone());
    let (recorder, writer) = Recorder::new(objects.clone());
    let shell = Shell { objects: objects.clone(), recorder, nodes };
    let scheduler = Scheduler::new(shell.clone());
    let batches = feed.subscribe();
    let token = stop.clone();
    tasks.spawn(async {
        scheduler.run(batches, token).await;
        "scheduler"
    });
    controllers::spawn_all(&mut tasks, &shell, &mut feed, config, &stop);
    let token = stop.clone();
    tasks.spawn(async {
        writer.run(token).await;
        "events"
    });
    let (token, for_expiry) = (stop.clone(), objects.clone());
    tasks.spawn(async {
        event_expiry::run(for_expiry, token).await;
        "event expiry"
    });
    let (token, store, member) = (stop.clone(), objects.store().clone(), config.member);
    tasks.spawn(async move {
        keeper::run(member, term, store, token).await;
        "membership"
    });
    let (token, for_tokens) = (stop.clone(), objects.clone());
    tasks.spawn(async {
        cleaner::run(for_tokens, token).await;
        "join tokens"
    });
    let (token, bootstrap) = (stop.clone(), config.bootstrap.clone());
    tasks.spawn(async move {
        bootstrap::run(objects, bootstrap, token).await;
        "bootstrap"
    });
    tasks.spawn(async {
        if let Err(error) = feed.run(stop).await {
            tracing::error!(error = &error as &dyn std::error::Error, "controllers see nothing any more");
        }
        "feed"
    });
    match tasks.join_next().await {
        Some(Ok(what)) => what,
        Some(Err(error)) => {
            tracing::error!(%error, "a controller ended in a panic");
            "a controller"
        }
        None => "everything",
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn leadership(term: u64, is_leader: bool) -> Leadership {
        Leadership { term, is_leader, ..Leadership::default() }
    }

    #[tokio::test]
    async fn work_begins_with_leadership_and_ends_with_it_or_its_term() {
        let (sender, mut receiver) = watch::channel(leadership(1, false));
        assert_eq!(gained(&mut receiver).now_or_never(), None);
        sender.send_replace(leadership(2, true));
        assert_eq!(gained(&mut receiver).now_or_never(), Some(Some(2)));
        assert_eq!(lost(&mut receiver, 2).now_or_never(), None);
        // Lost and won again before anybody looked.
        sender.send_replace(leadership(4, true));
        assert_eq!(lost(&mut receiver, 2).now_or_never(), Some(()));
        assert_eq!(lost(&mut receiver, 4).now_or_never(), None);
        sender.send_replace(leadership(4, false));
        assert_eq!(lost(&mut receiver, 4).now_or_never(), Some(()));
        drop(sender);
        assert_eq!(gained(&mut receiver).now_or_never(), Some(None));
    }
}
