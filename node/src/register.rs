//! The Node object and its Lease: says that this node is there, what it is and has, and that it still lives.
//!
//! The object is written at the start, when something in it changes, and every five minutes; between, only the small
//! Lease is renewed. Nothing is taken back at a graceful stop: a node that restarts at once was never away.

mod lease;
mod object;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{Request, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::agent::events::{Events, Kind};
use crate::images::Images;
use crate::machine::Machine;

/// The Lease is renewed this often, a quarter of the time it lasts.
const RENEW: Duration = Duration::from_secs(10);
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
        let was_ready = object::is_ready(&known);
        let mut registration =
            Self { since: Timestamp::now(), facts, client, images, events, uid, reported: Value::Null };
        registration.report(&known).await?;
        if !was_ready {
            let name = &registration.facts.name;
            let message = format!("Node {name} status is now: NodeReady");
            registration.events.node(name, Kind::Normal, "NodeReady", message);
        }
        Ok(registration)
    }

    /// Keeps Lease and object up to date until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut renew = tokio::time::interval(RENEW);
        let mut look = tokio::time::interval(LOOK);
        let mut reported_at = tokio::time::Instant::now();
        loop {
            // Ticks are kept by their intervals.
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = renew.tick() => {
                    if let Err(error) = lease::renew(&self.client, &self.facts.name, &self.uid).await {
                        tracing::warn!(%error, "the node's lease is not renewed");
                    }
                }
                _ = look.tick() => {
                    let overdue = reported_at.elapsed() >= REPORT;
                    if !overdue && object::status(&self.facts, &self.images.all()) == self.reported {
                        continue;
                    }
                    match self.report_again().await {
                        Ok(()) => reported_at = tokio::time::Instant::now(),
                        Err(error) => tracing::warn!(%error, "the node's status is not written"),
                    }
                }
            }
        }
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
        Ok(())
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
