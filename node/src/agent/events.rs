//! What happens to pods and the node, as core/v1 Events with the words of the kubelet.
//!
//! Events are told, never waited for: [`Events`] hands them over at once, and [`EventWriter`] writes them beside the
//! agent's real work, at a bounded rate, so that the start of ten thousand pods is not slowed by thirty thousand
//! remarks about it. Warnings go first; when more is said than can be written, ordinary remarks are dropped. The
//! same event again moves the count and the time of the one before.

mod write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use tokio::sync::mpsc;

pub use write::EventWriter;

use super::pod::Role;

/// Remarks that wait to be written.
const QUEUE: usize = 8192;

/// Takes events. A cheap handle.
#[derive(Clone)]
pub struct Events {
    normal: mpsc::Sender<Note>,
    warning: mpsc::Sender<Note>,
}

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// As it should be.
    Normal,
    /// Somebody may want to know.
    Warning,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
struct Note {
    about: ObjectReference,
    kind: Kind,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

impl Events {
    /// The handle, and the task that writes for it as the node `node_name`.
    pub fn new(client: kube::Client, node_name: &str) -> (Self, EventWriter) {
        let (normal, normal_notes) = mpsc::channel(QUEUE);
        let (warning, warning_notes) = mpsc::channel(QUEUE);
        (Self { normal, warning }, EventWriter::new(client, node_name, normal_notes, warning_notes))
    }

    /// Tells of a pod, or of a container in it.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<(&str, Role)>,
        kind: Kind,
        reason: &'static str,
        message: String,
    ) {
        let field_path = container.map(|(name, role)| match role {
            Role::Main => format!("spec.containers{{{name}}}"),
            Role::Init | Role::Sidecar => format!("spec.initContainers{{{name}}}"),
        });
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        };
        self.tell(about, kind, reason, message);
    }

    /// Tells of the node. Its uid is its name here, by which `kubectl describe node` finds it.
    pub fn node(&self, name: &str, kind: Kind, reason: &'static str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        self.tell(about, kind, reason, message);
    }

    fn tell(&self, about: ObjectReference, kind: Kind, reason: &'static str, message: String) {
        let note = Note { about, kind, reason, message, at: Timestamp::now() };
        let queue = match kind {
            Kind::Normal => &self.normal,
            Kind::Warning => &self.warning,
        };
        if let Err(error) = queue.try_send(note) {
            tracing::debug!(reason, %error, "event dropped");
        }
    }
}
