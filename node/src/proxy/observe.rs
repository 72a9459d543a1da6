//! Follows Services and EndpointSlices, and keeps the routes as they say.
//!
//! The first change after a quiet time is compiled at once; in a storm of changes, compiling takes at most a
//! tenth of the time. Only Services that a change concerns are compiled anew. Without news from the API the
//! last routes stay.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::compile::compile;
use super::facts::{ServiceFacts, ServiceName, SliceFacts, service_of};
use super::metrics::ServiceStats;
use super::path::DataPath;
use super::routes::{Routes, ServiceRoute};

/// After a compilation, the next waits this many times as long as the last took.
const REST_FACTOR: u32 = 9;

/// The longest such rest: news is never older.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// How often endpoints that nobody names any more are forgotten, and idle connections closed.
const SWEEP: Duration = Duration::from_secs(30);

/// Connections to endpoints that nobody used for this long are closed: sooner than servers commonly do.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// The objects, as they change.
pub(crate) struct Changes {
    pub(crate) services: BoxStream<'static, Event<Service>>,
    pub(crate) slices: BoxStream<'static, Event<EndpointSlice>>,
}

impl Changes {
    /// The changes in all namespaces of a cluster. The streams begin again by themselves after errors, with
    /// back-off, and never end.
    pub(crate) fn of_cluster(client: &Client) -> Changes {
        Changes { services: endless(Api::all(client.clone())), slices: endless(Api::all(client.clone())) }
    }
}

fn endless<K>(api: Api<K>) -> BoxStream<'static, Event<K>>
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    watcher(api, watcher::Config::default().streaming_lists())
        .default_backoff()
        .filter_map(move |event| {
            let event = event
                .inspect_err(|error| tracing::warn!(kind, error = %chain(error), "watch interrupted"))
                .ok();
            std::future::ready(event)
        })
        .boxed()
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Keeps the routes of a data path.
pub(crate) struct Observer {
    path: Arc<DataPath>,
    node: String,
    node_port_addr: Option<IpAddr>,
    services: Listed<Arc<ServiceName>, Known>,
    slices: Listed<SliceKey, (Arc<ServiceName>, SliceFacts)>,
    /// The slices of each Service, also of one that is not known (yet).
    of_service: HashMap<Arc<ServiceName>, HashSet<SliceKey>>,
    /// Services to compile.
    dirty: HashSet<Arc<ServiceName>>,
    synced: watch::Sender<bool>,
}

/// Namespace and name.
type SliceKey = (Box<str>, Box<str>);

struct Known {
    facts: ServiceFacts,
    stats: Arc<ServiceStats>,
    route: Option<Arc<ServiceRoute>>,
}

/// Objects by key, and which of them a list that is being read has shown so far.
struct Listed<K, V> {
    all: HashMap<K, V>,
    shown: Option<HashSet<K>>,
    complete: bool,
}

impl<K: Clone + Eq + std::hash::Hash, V> Listed<K, V> {
    fn new() -> Listed<K, V> {
        Listed { all: HashMap::new(), shown: None, complete: false }
    }

    fn begin(&mut self) {
        self.shown = Some(HashSet::new());
    }

    fn show(&mut self, key: &K) {
        if let Some(shown) = &mut self.shown {
            shown.insert(key.clone());
        }
    }

    /// Ends the list: what it did not show is no more.
    fn end(&mut self) -> Vec<K> {
        self.complete = true;
        let shown = self.shown.take().unwrap_or_default();
        self.all.keys().filter(|key| !shown.contains(*key)).cloned().collect()
    }
}

impl Observer {
    pub(crate) fn new(
        path: Arc<DataPath>,
        node: String,
        node_port_addr: Option<IpAddr>,
        synced: watch::Sender<bool>,
    ) -> Observer {
        Observer {
            path,
            node,
            node_port_addr,
            services: Listed::new(),
            slices: Listed::new(),
            of_service: HashMap::new(),
            dirty: HashSet::new(),
            synced,
        }
    }

    /// Follows the changes until a stream ends.
    pub(crate) async fn run(mut self, mut changes: Changes) {
        let mut next_compile = Instant::now();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            // Cancel-safe: a stream gives an event only to the branch that handles it.
            tokio::select! {
                biased;
                event = changes.services.next() => match event {
                    Some(event) => self.service_event(event),
                    None => return,
                },
                event = changes.slices.next() => match event {
                    Some(event) => self.slice_event(event),
                    None => return,
                },
                // Comes after the streams: all that is there goes into one table.
                () = sleep_until(next_compile), if self.has_work() => {
                    let started = Instant::now();
                    self.compile();
                    next_compile = started + (started.elapsed() * (1 + REST_FACTOR)).min(LONGEST_REST);
                }
                _ = sweep.tick() => self.path.endpoints.sweep(POOL_IDLE),
            }
        }
    }

    /// Nothing is compiled from a part: a Service without its slices would look as if it had no endpoints.
    fn has_work(&self) -> bool {
        let complete = self.services.complete && self.slices.complete;
        complete && (!self.dirty.is_empty() || !*self.synced.borrow())
    }

    fn service_event(&mut self, event: Event<Service>) {
        match event {
            Event::Init => self.services.begin(),
            Event::InitApply(service) | Event::Apply(service) => self.service_applied(&service),
            Event::InitDone => {
                for gone in self.services.end() {
                    self.service_gone(&gone);
                }
            }
            Event::Delete(service) => {
                if let Some(name) = name_of(&service) {
                    self.service_gone(&name);
                }
            }
        }
    }

    fn service_applied(&mut self, service: &Service) {
        let Some(name) = name_of(service).map(Arc::new) else { return };
        self.services.show(&name);
        let facts = ServiceFacts::of(service);
        match self.services.all.get_mut(&name) {
            // A new status or label changes no route.
            Some(known) if known.facts == facts => return,
            Some(known) => known.facts = facts,
            None => {
                let stats = self.path.metrics.service(&name);
                self.services.all.insert(Arc::clone(&name), Known { facts, stats, route: None });
            }
        }
        self.dirty.insert(name);
    }

    fn service_gone(&mut self, name: &ServiceName) {
        if let Some((name, _)) = self.services.all.remove_entry(name) {
            self.dirty.insert(name);
        }
    }

    fn slice_event(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => self.slices.begin(),
            Event::InitApply(slice) | Event::Apply(slice) => self.slice_applied(&slice),
            Event::InitDone => {
                for gone in self.slices.end() {
                    self.slice_gone(&gone);
                }
            }
            Event::Delete(slice) => {
                if let Some(key) = slice_key(&slice) {
                    self.slice_gone(&key);
                }
            }
        }
    }

    fn slice_applied(&mut self, slice: &EndpointSlice) {
        let Some(key) = slice_key(slice) else { return };
        self.slices.show(&key);
        let Some(service) = service_of(slice).map(Arc::new) else { return self.slice_gone(&key) };
        let facts = SliceFacts::of(slice, &self.node);
        match self.slices.all.get_mut(&key) {
            Some((of, known)) if *of == service => {
                if *known == facts {
                    return;
                }
                *known = facts;
            }
            _ => {
                self.slice_gone(&key);
                self.of_service.entry(Arc::clone(&service)).or_default().insert(key.clone());
                self.slices.all.insert(key, (Arc::clone(&service), facts));
            }
        }
        self.dirty.insert(service);
    }

    fn slice_gone(&mut self, key: &SliceKey) {
        let Some((service, _)) = self.slices.all.remove(key) else { return };
        if let Some(slices) = self.of_service.get_mut(&service) {
            slices.remove(key);
            if slices.is_empty() {
                self.of_service.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    fn compile(&mut self) {
        for name in std::mem::take(&mut self.dirty) {
            let Some(known) = self.services.all.get_mut(&name) else { continue };
            let keys = self.of_service.get(&name).into_iter().flatten();
            let slices: Vec<_> = keys.filter_map(|key| Some(&self.slices.all.get(key)?.1)).collect();
            let endpoints = &self.path.endpoints;
            let mut intern = |addr, place| endpoints.intern(addr, place);
            let route = compile(&name, &known.facts, &slices, &known.stats, &mut intern);
            known.route = Some(Arc::new(route));
        }
        let compiled = self.services.all.values().filter_map(|known| known.route.clone());
        self.path.swap(Routes::new(compiled, self.node_port_addr));
        self.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }
}

fn name_of(service: &Service) -> Option<ServiceName> {
    let metadata = &service.metadata;
    Some(ServiceName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

fn slice_key(slice: &EndpointSlice) -> Option<SliceKey> {
    let metadata = &slice.metadata;
    Some((metadata.namespace.as_deref()?.into(), metadata.name.as_deref()?.into()))
}
