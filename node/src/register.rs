//! The Node object and its Lease: says that this node is there, what it is and has, and that it still lives.
//!
//! The object is written at the start, when something in it changes, and every five minutes; between, only the small
//! Lease is renewed, and a connection kept whose end tells at once that this process has ended. The object is also watched: if the cluster has given the node up meanwhile, because it was held or
//! cut off for a while, it hears at once that the node is there. Nothing is taken back at a graceful stop: a node that
//! restarts at once was never away.

mod connection;
mod lease;
mod object;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use http::{Request, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::events::{Events, Kind};
use crate::images::Images;
use crate::machine::Machine;

/// The Lease is renewed this often, a quarter of the time it lasts.
const RENEW: Duration = Duration::from_secs(10);
/// A renewal that failed is tried again after this: a new cluster has no namespace for Leases in its first moments.
const RENEW_RETRY: Duration = Duration::from_secs(1);
/// The object is written this often though nothing changed.
const REPORT: Duration = Duration::from_secs(300);
/// Looks whether something changed: images come and go.
const LOOK: Duration = Duration::from_secs(10);

/// What this node says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Where its server listens.
    pub server: SocketAddr,
    /// Addresses of its pods.
    pub pod_cidr: String,
    /// Pods it takes at most.
    pub pods: u32,
    /// Where it makes volumes.
    pub volumes: PathBuf,
    /// The machine.
    pub machine: Machine,
}

/// A registered node, to be kept alive.
pub struct Registration {
    facts: Facts,
    client: kube::Client,
    images: Images,
    events: Events,
    uid: String,
    /// The status as last written, without times.
    reported: Value,
    since: Timestamp,
}

impl Registration {
    /// Makes the Node object what it should be, creating it if there is none.
    pub async fn register(
        facts: Facts,
        client: kube::Client,
        images: Images,
        events: Events,
    ) -> Result<Self, kube::Error> {
        let api: Api<Node> = Api::all(client.clone());
        let known = match api.get_opt(&facts.name).await? {
            Some(known) => {
                patch(&client, &facts.name, "", "application/merge-patch+json", &object::labels(&facts))
                    .await?;
                known
            }
            None => api.create(&PostParams::default(), &object::node(&facts)).await?,
        };
        events.node(&facts.name, Kind::Normal, "Starting", "Starting the node agent of isopod.".to_owned());
        let uid = known.metadata.uid.clone().unwrap_or_default();
        let mut registration =
            Self { since: Timestamp::now(), facts, client, images, events, uid, reported: Value::Null };
        registration.report(&known).await?;
        Ok(registration)
    }

    /// Keeps Lease and object up to date, and a connection, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let (told, connection) = watch::channel(None);
        let connected =
            connection::keep(self.client.clone(), self.facts.name.clone(), told, shutdown.clone());
        tokio::join!(connected, self.keep(connection, shutdown));
    }

    async fn keep(mut self, mut connection: watch::Receiver<Option<String>>, shutdown: CancellationToken) {
        let (mut renew_at, mut reported_at) = (Instant::now(), Instant::now());
        let mut look = tokio::time::interval(LOOK);
        let own = watcher::Config::default().fields(&format!("metadata.name={}", self.facts.name));
        let mut changes = watcher(Api::all(self.client.clone()), own).default_backoff().boxed();
        loop {
            // The next renewal is kept here, ticks and changes by their streams.
            let reported = tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(renew_at) => {
                    let number = connection.borrow_and_update().clone();
                    renew_at = Instant::now() + self.renew(number.as_deref()).await;
                    continue;
                }
                // A new connection is told at once; the sender lives as long as this loop.
                Ok(()) = connection.changed() => {
                    renew_at = Instant::now();
                    continue;
                }
                Some(change) = changes.next() => match given_up(change) {
                    Some(known) => self.report(&known).await,
                    None => continue,
                },
                _ = look.tick() => match reported_at.elapsed() >= REPORT || self.changed() {
                    true => self.report_again().await,
                    false => continue,
                },
            };
            match reported {
                Ok(()) => reported_at = Instant::now(),
                Err(error) => {
                    tracing::warn!(%error, "the node's status is not written");
                    // So that the next look tries again.
                    self.reported = Value::Null;
                }
            }
        }
    }

    /// Renews the Lease; returns how long it is until the next time.
    async fn renew(&self, connection: Option<&str>) -> Duration {
        match lease::renew(&self.client, &self.facts.name, &self.uid, connection).await {
            Ok(()) => RENEW,
            Err(error) => {
                tracing::warn!(%error, "the node's lease is not renewed");
                RENEW_RETRY
            }
        }
    }

    fn changed(&self) -> bool {
        object::status(&self.facts, &self.images.all()) != self.reported
    }

    async fn report_again(&mut self) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let known = api.get(&self.facts.name).await?;
        self.report(&known).await
    }

    async fn report(&mut self, known: &Node) -> Result<(), kube::Error> {
        let status = object::status(&self.facts, &self.images.all());
        let mut written = status.clone();
        written["conditions"] = object::conditions(known, self.since, Timestamp::now());
        let body = json!({"status": written});
        let kind = "application/strategic-merge-patch+json";
        patch(&self.client, &self.facts.name, "/status", kind, &body).await?;
        self.reported = status;
        if !object::is_ready(known) {
            let name = &self.facts.name;
            let message = format!("Node {name} status is now: NodeReady");
            self.events.node(name, Kind::Normal, "NodeReady", message);
        }
        Ok(())
    }
}

/// The node, if the cluster does not hold it for ready.
fn given_up(change: Result<Event<Node>, watcher::Error>) -> Option<Node> {
    match change {
        Ok(Event::Apply(node) | Event::InitApply(node)) => Some(node).filter(|node| !object::is_ready(node)),
        Ok(Event::Init | Event::InitDone | Event::Delete(_)) => None,
        Err(error) => {
            tracing::debug!(%error, "watching the node's own object is interrupted");
            None
        }
    }
}

async fn patch(
    client: &kube::Client,
    name: &str,
    subresource: &str,
    kind: &str,
    body: &Value,
) -> Result<(), kube::Error> {
    let request = Request::patch(format!("/api/v1/nodes/{name}{subresource}"))
        .header(header::CONTENT_TYPE, kind)
        .body(body.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(|_| ())
}

#[cfg(test)]
mod tests;
