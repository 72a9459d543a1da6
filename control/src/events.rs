//! Events: what the scheduler and the controllers tell users about an object.
//!
//! Recording never waits and never fails: events are told on a best effort. One writer puts them into the store, many
//! at a time, counts repetitions instead of storing them, and holds back whoever tells too much ([`correlate`]).

mod correlate;

use std::collections::BTreeMap;

use futures::future::join_all;
use isopod_spec::resource::Resource;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::correlate::{Correlator, Decision};
use crate::controllers::{facts, outcome};
use crate::objects::Objects;

/// Events that wait for the writer; more than this at once are dropped.
const WAITING_MAX: usize = 8192;
/// Events written together.
const BATCH_MAX: usize = 256;

/// How an event is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Level {
    /// All is well.
    Normal,
    /// A user should look.
    Warning,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Normal => "Normal",
            Level::Warning => "Warning",
        }
    }
}

/// One thing that happened to one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Occurrence {
    /// Who tells it.
    pub(crate) component: &'static str,
    /// What it happened to.
    pub(crate) about: ObjectReference,
    pub(crate) level: Level,
    /// One word in camel case, for programs.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

/// Takes occurrences. Cloning costs a pointer.
#[derive(Clone)]
pub(crate) struct Recorder {
    waiting: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// A recorder, and the writer that has to run for its events to be stored.
    pub(crate) fn new(objects: Objects) -> (Recorder, Writer) {
        let (waiting, receiver) = mpsc::channel(WAITING_MAX);
        (Recorder { waiting }, Writer { objects, receiver, correlator: Correlator::default() })
    }

    /// Tells that something happened. Never waits.
    pub(crate) fn record(&self, occurrence: Occurrence) {
        if self.waiting.try_send(occurrence).is_err() {
            tracing::debug!("too many events at once: one was dropped");
        }
    }
}

/// A reference to an object, as events carry it.
pub(crate) fn reference<T: Resource>(object: &T) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(T::API_VERSION.to_owned()),
        kind: Some(T::KIND.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Stores what a [`Recorder`] takes.
pub(crate) struct Writer {
    objects: Objects,
    receiver: mpsc::Receiver<Occurrence>,
    correlator: Correlator,
}

impl Writer {
    /// Runs until `shutdown`, or until no recorder is left.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.write_all()).await;
    }

    async fn write_all(&mut self) {
        let mut taken = Vec::with_capacity(BATCH_MAX);
        while self.receiver.recv_many(&mut taken, BATCH_MAX).await > 0 {
            let now = Timestamp::now();
            // One event that is counted up several times in one batch is written once.
            let mut writes: BTreeMap<String, (Decision, Event)> = BTreeMap::new();
            for occurrence in taken.drain(..) {
                let Some((decision, event)) = self.correlator.correlate(occurrence, now) else { continue };
                let key = format!("{}/{}", facts::namespace(&event.metadata), facts::name(&event.metadata));
                writes.entry(key).and_modify(|(_, last)| *last = event.clone()).or_insert((decision, event));
            }
            join_all(writes.into_values().map(|(decision, event)| self.write(decision, event))).await;
        }
    }

    async fn write(&self, decision: Decision, event: Event) {
        let written = match decision {
            Decision::Create => self.objects.create(event).await,
            Decision::CountUp => match self.objects.update(&event).await {
                Err(status) if outcome::is_gone(&status) => self.objects.create(event).await,
                written => written,
            },
        };
        if let Err(status) = written {
            tracing::debug!(%status, "an event was not stored");
        }
    }
}

/// An event as stored, `count` times seen.
fn event(occurrence: &Occurrence, name: String, first: Timestamp, last: Timestamp, count: i32) -> Event {
    let about = &occurrence.about;
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: about.clone(),
        reason: Some(occurrence.reason.to_owned()),
        message: Some(occurrence.message.clone()),
        type_: Some(occurrence.level.name().to_owned()),
        source: Some(EventSource { component: Some(occurrence.component.to_owned()), host: None }),
        reporting_component: Some(occurrence.component.to_owned()),
        reporting_instance: Some(String::new()),
        first_timestamp: Some(facts::stamp(first)),
        last_timestamp: Some(facts::stamp(last)),
        count: Some(count),
        ..Event::default()
    }
}
