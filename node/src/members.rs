//! Follows where the members are: the endpoints of `default/kubernetes`, as the cluster writes them whenever one joins or
//! leaves. Those that the node was told of are asked last, for one of them may stand for all (a name, a load balancer).

use std::collections::BTreeMap;

use futures::StreamExt;
use http::Uri;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::ServerList;
use crate::known::Known;

/// Follows the members.
pub(crate) struct Members {
    pub(crate) client: kube::Client,
    pub(crate) servers: ServerList,
    /// URLs that the node was told of.
    pub(crate) told: Vec<Uri>,
    pub(crate) known: watch::Sender<Known>,
}

impl Members {
    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), "default");
        let api = watcher::Config::default().labels("kubernetes.io/service-name=kubernetes");
        let mut changes = watcher(slices, api).default_backoff().boxed();
        let mut seen = Seen::default();
        while let Some(Some(change)) = shutdown.run_until_cancelled(changes.next()).await {
            match change {
                Ok(change) => seen.take(change),
                Err(error) => tracing::debug!(%error, "watching the members is interrupted"),
            }
            if seen.is_whole {
                self.use_servers(&seen.urls());
            }
        }
        // A watch has no end of its own.
        shutdown.cancelled().await;
    }

    fn use_servers(&self, urls: &[String]) {
        // A cluster without an API is none: what is known stays.
        if urls.is_empty() || self.known.borrow().servers == urls {
            return;
        }
        tracing::info!(?urls, "the members are");
        let mut all: Vec<Uri> = urls.iter().filter_map(|url| url.parse().ok()).collect();
        all.extend(self.told.iter().filter(|told| !all.contains(told)).cloned().collect::<Vec<_>>());
        self.servers.set(all);
        self.known.send_modify(|known| known.servers = urls.to_vec());
    }
}

/// What was seen of the slices.
#[derive(Debug, Default)]
struct Seen {
    /// The URLs of each slice.
    slices: BTreeMap<String, Vec<String>>,
    /// False while a list is being read.
    is_whole: bool,
}

impl Seen {
    fn take(&mut self, change: Event<EndpointSlice>) {
        match change {
            Event::Init => *self = Seen::default(),
            Event::InitDone => self.is_whole = true,
            Event::Delete(slice) => drop(self.slices.remove(&name(&slice))),
            Event::Apply(slice) | Event::InitApply(slice) => {
                self.slices.insert(name(&slice), urls(&slice));
            }
        }
    }

    /// Each once: a member may be in two slices while they are written.
    fn urls(&self) -> Vec<String> {
        let mut all = Vec::new();
        for url in self.slices.values().flatten() {
            if !all.contains(url) {
                all.push(url.clone());
            }
        }
        all
    }
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

fn urls(slice: &EndpointSlice) -> Vec<String> {
    let Some(port) = slice.ports.iter().flatten().find_map(|port| port.port) else { return Vec::new() };
    let addresses = slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter());
    let url = |address: &String| match slice.address_type.as_str() {
        "IPv6" => format!("https://[{address}]:{port}"),
        _ => format!("https://{address}:{port}"),
    };
    addresses.map(url).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, family: &str, port: u16, addresses: &[&str]) -> EndpointSlice {
        let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
        let slice = json!({"metadata": {"name": name}, "addressType": family, "endpoints": endpoints,
            "ports": [{"name": "https", "port": port}]});
        serde_json::from_value(slice).unwrap()
    }

    #[test]
    fn members_are_the_endpoints_of_all_slices() {
        let mut seen = Seen::default();
        for change in [
            Event::Init,
            Event::InitApply(slice("kubernetes", "IPv4", 6443, &["192.0.2.1", "192.0.2.2"])),
            Event::InitApply(slice("kubernetes-ipv6-7000", "IPv6", 7000, &["2001:db8::1"])),
        ] {
            seen.take(change);
            assert!(!seen.is_whole);
        }
        seen.take(Event::InitDone);
        let six = "https://[2001:db8::1]:7000";
        assert_eq!(seen.urls(), ["https://192.0.2.1:6443", "https://192.0.2.2:6443", six]);
        seen.take(Event::Apply(slice("kubernetes", "IPv4", 6443, &["192.0.2.2"])));
        assert_eq!(seen.urls(), ["https://192.0.2.2:6443", six]);
        seen.take(Event::Delete(slice("kubernetes-ipv6-7000", "IPv6", 7000, &[])));
        assert_eq!(seen.urls(), ["https://192.0.2.2:6443"]);
        assert!(seen.is_whole);
    }
}
