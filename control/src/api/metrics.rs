//! What the API counts about itself, under the names that dashboards and alerts for Kubernetes know.
//!
//! Labels are bounded: groups, versions and resources come from the registry of kinds, never from a path.

mod process;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use isopod_raft_store::{KeyRange, Store};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::reply::{Content, Reply};

/// Bounds of the duration buckets, in seconds: upstream's, and finer ones below, where our answers are.
const DURATIONS: [f64; 18] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0,
    30.0, 60.0,
];

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a request was about, as far as metrics tell requests apart.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Subject {
    /// `GET`, `LIST`, `WATCH`, `POST`, …
    pub(crate) verb: &'static str,
    /// API group; empty for core and for paths that are no resource.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Plural name of a kind that is served.
    pub(crate) resource: String,
    /// Declared subresource.
    pub(crate) subresource: String,
    /// `resource` (one object), `namespace`, `cluster`, or empty.
    pub(crate) scope: &'static str,
    /// Always `apiserver`.
    pub(crate) component: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    #[prometheus(flatten)]
    subject: Subject,
    dry_run: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestKind {
    request_kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Watched {
    group: String,
    version: String,
    resource: String,
}

type Durations = Family<Subject, Histogram, fn() -> Histogram>;

/// The API's counters, and the registry in which all of the process's metrics are.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    durations: Durations,
    inflight: Family<RequestKind, Gauge>,
    longrunning: Family<Subject, Gauge>,
    watch_events: Family<Watched, Counter>,
}

impl Metrics {
    /// Registers the API's metrics beside those that are there.
    pub(crate) fn new(
        mut registry: Registry,
        build: [(&'static str, String); 9],
        store: Store,
        kinds: Kinds,
    ) -> Metrics {
        let durations = Durations::new_with_constructor(|| Histogram::new(DURATIONS));
        let metrics = Metrics {
            requests: Family::default(),
            durations,
            inflight: Family::default(),
            longrunning: Family::default(),
            watch_events: Family::default(),
            registry: Registry::default(),
        };
        registry.register(
            "apiserver_request",
            "Requests by what they were about and how they ended",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to answer requests, without watches and logs that are followed",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_request_sli_duration_seconds",
            "The same time, under the name that objectives are measured by",
            metrics.durations.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests that are being answered",
            metrics.inflight.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches and followed logs that are open",
            metrics.longrunning.clone(),
        );
        registry.register("apiserver_watch_events", "Events sent to watchers", metrics.watch_events.clone());
        registry.register("kubernetes_build", "What was built", Info::new(Vec::from(build)));
        registry.register_collector(Box::new(StoredObjects { store, kinds }));
        registry.register_collector(Box::new(process::Process));
        Metrics { registry, ..metrics }
    }

    /// Counts a request that has been answered.
    pub(crate) fn answered(&self, subject: Subject, is_dry_run: bool, code: StatusCode, took: Duration) {
        self.durations.get_or_create(&subject).observe(took.as_secs_f64());
        let dry_run = if is_dry_run { "All" } else { "" };
        self.requests.get_or_create(&Outcome { subject, dry_run, code: code.as_u16() }).inc();
    }

    /// Counts a request while the guard lives.
    pub(crate) fn begin(&self, mutates: bool) -> Open {
        let kind = RequestKind { request_kind: if mutates { "mutating" } else { "readOnly" } };
        Open::new(self.inflight.get_or_create_owned(&kind))
    }

    /// Counts a watch or a followed log while the guard lives.
    pub(crate) fn begin_longrunning(&self, subject: &Subject) -> Open {
        Open::new(self.longrunning.get_or_create_owned(subject))
    }

    /// The counter of events sent to watchers of a kind.
    pub(crate) fn events_of(&self, group: &str, version: &str, resource: &str) -> Counter {
        let watched =
            Watched { group: group.to_owned(), version: version.to_owned(), resource: resource.to_owned() };
        self.watch_events.get_or_create_owned(&watched)
    }

    /// Answers `/metrics`.
    pub(crate) fn answer(&self) -> Reply {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => Reply::of(
                StatusCode::OK,
                http::HeaderValue::from_static(CONTENT_TYPE),
                Content::Whole(text.into()),
            ),
            Err(_) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n"),
        }
    }
}

/// Something that is counted as open while this lives.
pub(crate) struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Open {
        gauge.inc();
        Open(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Tells the kinds that are served.
type Kinds = Box<dyn Fn() -> Arc<isopod_spec::registry::Kinds> + Send + Sync>;

/// Counts stored objects when asked.
struct StoredObjects {
    store: Store,
    kinds: Kinds,
}

impl std::fmt::Debug for StoredObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredObjects")
    }
}

impl Collector for StoredObjects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.store.snapshot();
        let mut objects = encoder.encode_descriptor(
            "apiserver_resource_objects",
            "Stored objects",
            None,
            MetricType::Gauge,
        )?;
        for kind in (self.kinds)().iter().filter(|kind| kind.is_stored()) {
            let count = snapshot.count(&KeyRange::prefix(kind.prefix(None)));
            let labels = [("group", kind.group.as_str()), ("resource", kind.plural.as_str())];
            let count = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            count.encode(objects.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
