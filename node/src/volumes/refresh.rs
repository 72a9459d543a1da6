//! Brings changes of ConfigMaps and Secrets into the volumes made of them.
//!
//! Two watches for the whole node say which objects changed; they carry metadata only, and begin when the first pod
//! mounts such a volume. Tokens are replaced by newer ones before they end. What changed is fetched again and put in place as a whole. Like upstream, a volume whose
//! object is gone keeps its last files, unless the object is optional.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::{Metadata, Resource, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::made::{Made, Table};
use super::{VolumeError, Volumes};
use crate::agent::env::Reference;
use crate::agent::events::{Events, Kind};

/// Volumes that are made again at a time.
const AT_A_TIME: usize = 8;
/// What could not be made again is tried after this, though no change is seen.
const RETRY: Duration = Duration::from_secs(30);

/// How often is looked for tokens that must be replaced; the least that a token may live is ten minutes.
const LOOK_AT_TOKENS: Duration = Duration::from_secs(60);

/// The task that does so.
pub struct Refresher {
    volumes: Volumes,
    client: kube::Client,
    events: Events,
}

impl Refresher {
    pub(super) fn new(volumes: Volumes, client: kube::Client, events: Events) -> Self {
        Self { volumes, client, events }
    }

    /// Follows the cluster until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let follow = async {
            self.volumes.table.used().await;
            let (client, table) = (&self.client, &self.volumes.table);
            tokio::join!(
                follow::<ConfigMap>(client, table, Reference::ConfigMap),
                follow::<Secret>(client, table, Reference::Secret),
            )
        };
        let all = async { tokio::join!(follow, self.make_due()) };
        shutdown.run_until_cancelled(all).await;
    }

    async fn make_due(&self) {
        let mut failed = Vec::new();
        let mut tokens = tokio::time::interval(LOOK_AT_TOKENS);
        loop {
            // What is due stays in the table when the other branch is taken.
            let due = tokio::select! {
                due = self.volumes.table.due() => due,
                now = tokens.tick() => {
                    self.volumes.table.renew(now);
                    continue;
                }
                () = tokio::time::sleep(RETRY), if !failed.is_empty() => std::mem::take(&mut failed),
            };
            let made = futures::stream::iter(due).map(|volume| self.make(volume));
            failed.extend(
                made.buffer_unordered(AT_A_TIME).filter_map(std::future::ready).collect::<Vec<_>>().await,
            );
        }
    }

    /// Returns the volume if that failed.
    async fn make(&self, made: Arc<Made>) -> Option<Arc<Made>> {
        let Volumes { sources, host, .. } = &self.volumes;
        let reason = made.make(sources, host).await.err()?;
        let error = VolumeError::SetUp { volume: made.name().to_owned(), reason };
        self.events.pod(&made.pod(), None, Kind::Warning, "FailedMount", error.to_string());
        Some(made)
    }
}

async fn follow<K>(client: &kube::Client, table: &Table, reference: fn(String) -> Reference)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Metadata<Ty = ObjectMeta>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    let mut changes = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(change) = changes.next().await {
        match change {
            // After an interruption all are listed: whatever was missed meanwhile is looked at.
            Ok(Event::InitApply(object) | Event::Apply(object) | Event::Delete(object)) => {
                table.object_changed(&(object.namespace().unwrap_or_default(), reference(object.name_any())));
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => {
                tracing::warn!(kind = K::KIND, %error, "watching for changes of volumes is interrupted")
            }
        }
    }
}
