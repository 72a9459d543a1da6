//! Writes events: new ones are created, repeated ones counted.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::client::Body;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Kind, Note};

/// Written at a time. Few: events must never crowd out status writes.
const IN_FLIGHT: usize = 4;
/// Ordinary remarks per second, once a burst is used up.
const RATE: f64 = 100.0;
/// So many ordinary remarks are written as they come.
const BURST: f64 = 1000.0;
/// Events whose count can still be moved.
const REMEMBERED: usize = 4096;

/// The task behind [`super::Events`].
pub struct EventWriter {
    client: kube::Client,
    node_name: String,
    normal: mpsc::Receiver<Note>,
    warning: mpsc::Receiver<Note>,
    seen: Seen,
    allowance: Allowance,
}

/// What makes two remarks the same event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    field_path: String,
    kind: Kind,
    reason: &'static str,
    message: String,
}

/// Events written before.
#[derive(Default)]
struct Seen {
    events: HashMap<Key, Written>,
    order: VecDeque<Key>,
}

#[derive(Clone, Debug)]
struct Written {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Allowance {
    left: f64,
    at: Instant,
}

impl EventWriter {
    pub(super) fn new(
        client: kube::Client,
        node_name: &str,
        normal: mpsc::Receiver<Note>,
        warning: mpsc::Receiver<Note>,
    ) -> Self {
        let allowance = Allowance { left: BURST, at: Instant::now() };
        Self { client, node_name: node_name.to_owned(), normal, warning, seen: Seen::default(), allowance }
    }

    /// Runs until `shutdown`; what was not written by then is dropped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        loop {
            let room = in_flight.len() < IN_FLIGHT;
            let pause = self.allowance.pause();
            // Receiving is cancel-safe, and what is in flight stays in the set.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(()) = in_flight.next() => {}
                Some(note) = self.warning.recv(), if room => in_flight.push(self.write(note)),
                Some(note) = async { tokio::time::sleep(pause).await; self.normal.recv().await }, if room => {
                    self.allowance.left -= 1.0;
                    in_flight.push(self.write(note));
                }
                else => return,
            }
        }
    }

    fn write(&mut self, note: Note) -> BoxFuture<'static, ()> {
        let written = self.seen.note(&note);
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let event = event(&note, &written, &namespace, &self.node_name);
        let client = self.client.clone();
        Box::pin(async move {
            if let Err(error) = send(&client, &namespace, &written, event).await {
                tracing::debug!(%error, reason = note.reason, "event not written");
            }
        })
    }
}

impl Allowance {
    /// How long to wait before the next ordinary remark.
    fn pause(&mut self) -> Duration {
        let now = Instant::now();
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * RATE).min(BURST);
        self.at = now;
        if self.left >= 1.0 { Duration::ZERO } else { Duration::from_secs_f64((1.0 - self.left) / RATE) }
    }
}

impl Seen {
    fn note(&mut self, note: &Note) -> Written {
        let key = Key {
            uid: note.about.uid.clone().unwrap_or_default(),
            field_path: note.about.field_path.clone().unwrap_or_default(),
            kind: note.kind,
            reason: note.reason,
            message: note.message.clone(),
        };
        if let Some(written) = self.events.get_mut(&key) {
            written.count += 1;
            return written.clone();
        }
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
        let about = note.about.name.as_deref().unwrap_or_default();
        let name = format!("{about}.{:016x}", rand::random::<u64>());
        let written = Written { name, count: 1, first: note.at };
        self.order.push_back(key.clone());
        self.events.insert(key, written.clone());
        written
    }
}

fn event(note: &Note, written: &Written, namespace: &str, node_name: &str) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(written.name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: note.about.clone(),
        type_: Some(note.kind.as_str().to_owned()),
        reason: Some(note.reason.to_owned()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(node_name.to_owned()) }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: Some(node_name.to_owned()),
        count: Some(written.count),
        first_timestamp: Some(Time(written.first)),
        last_timestamp: Some(Time(note.at)),
        ..Event::default()
    }
}

/// Moves the count of an event that was written before; creates it otherwise, or when it has expired meanwhile.
async fn send(
    client: &kube::Client,
    namespace: &str,
    written: &Written,
    event: Event,
) -> Result<(), kube::Error> {
    let collection = format!("/api/v1/namespaces/{namespace}/events");
    if written.count > 1 {
        let patch = json!({"count": event.count, "lastTimestamp": event.last_timestamp});
        let path = format!("{collection}/{}", written.name);
        let request = Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
        if ask(client, request, patch.to_string().into_bytes()).await? != StatusCode::NOT_FOUND {
            return Ok(());
        }
    }
    let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
    let request = Request::post(collection).header(header::CONTENT_TYPE, "application/json");
    ask(client, request, body).await.map(|_| ())
}

async fn ask(
    client: &kube::Client,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<StatusCode, kube::Error> {
    let request = request.body(Body::from(body)).map_err(kube::Error::HttpError)?;
    Ok(client.send(request).await?.status())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn note(message: &str) -> Note {
        let about = ObjectReference { name: Some("p".into()), uid: Some("u".into()), ..Default::default() };
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Note { about, kind: Kind::Normal, reason: "Started", message: message.into(), at }
    }

    #[test]
    fn the_same_remark_is_one_event_with_a_count() {
        let mut seen = Seen::default();
        let first = seen.note(&note("a"));
        let other = seen.note(&note("b"));
        let again = seen.note(&note("a"));
        assert_eq!((first.count, again.count, other.count), (1, 2, 1));
        assert_eq!(first.name, again.name);
        assert_ne!(first.name, other.name);
        assert!(first.name.starts_with("p."));
    }

    #[test]
    fn only_so_many_events_are_remembered() {
        let mut seen = Seen::default();
        for n in 0..REMEMBERED + 10 {
            seen.note(&note(&n.to_string()));
        }
        assert_eq!(seen.events.len(), REMEMBERED);
        assert_eq!(seen.note(&note("0")).count, 1, "forgotten");
    }
}
