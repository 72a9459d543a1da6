//! What a person must know of a Service or Pod, as Warning events on it.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::mpsc;

use super::facts::ServiceName;
use crate::local::PodIdentity;

/// Reports that wait to be written; more are dropped, as each is repeated while it is true.
const QUEUE: usize = 256;

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
}

/// Something that a person may have to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) subject: Subject,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Takes reports, without waiting.
pub(crate) trait Reporter: Send + Sync {
    fn report(&self, report: Report);
}

impl Subject {
    pub(crate) fn service(name: &ServiceName, uid: &str) -> Subject {
        Subject {
            kind: "Service",
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            uid: uid.to_owned(),
        }
    }

    pub(crate) fn pod(pod: &PodIdentity) -> Subject {
        Subject {
            kind: "Pod",
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A reporter whose reports become events once [`EventWriter::run`] runs.
pub(crate) fn events(client: kube::Client, node: &str) -> (Arc<dyn Reporter>, EventWriter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Arc::new(Queue(sender)), EventWriter { client, node: node.to_owned(), receiver })
}

struct Queue(mpsc::Sender<Report>);

impl Reporter for Queue {
    fn report(&self, report: Report) {
        if let Err(error) = self.0.try_send(report) {
            tracing::debug!(%error, "event dropped");
        }
    }
}

/// Writes events to the API.
pub(crate) struct EventWriter {
    client: kube::Client,
    node: String,
    receiver: mpsc::Receiver<Report>,
}

impl EventWriter {
    /// Writes what is reported, one after the other, until all reporters are gone.
    pub(crate) async fn run(mut self) {
        while let Some(report) = self.receiver.recv().await {
            let event = event(&report, &self.node, Timestamp::now());
            let events: Api<Event> = Api::namespaced(self.client.clone(), &report.subject.namespace);
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                tracing::debug!(subject = %report.subject, %error, "event not written");
            }
        }
    }
}

/// A report as an event.
fn event(report: &Report, node: &str, now: Timestamp) -> Event {
    let Subject { kind, namespace, name, uid } = &report.subject;
    Event {
        metadata: ObjectMeta {
            // As upstream names events: the object, and the time in hexadecimal nanoseconds.
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some((*kind).to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(report.reason.to_owned()),
        message: Some(report.message.clone()),
        source: Some(EventSource { component: Some("isopod-proxy".to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some("isopod-proxy".to_owned()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_its_object_so_that_describe_finds_it() {
        let report = Report {
            subject: Subject::service(&ServiceName::new("shop", "web"), "u1"),
            reason: "ListenFailed",
            message: "Cannot listen".into(),
        };
        let event = event(&report, "node-1", Timestamp::from_second(1).unwrap());
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["metadata"]["name"], "web.3b9aca00");
        assert_eq!(
            json["involvedObject"],
            serde_json::json!({"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "u1"})
        );
        assert_eq!(json["type"], "Warning");
        assert_eq!(json["firstTimestamp"], "1970-01-01T00:00:01Z");
    }
}
