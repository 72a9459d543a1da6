//! What the loop keeps of one pod besides its state: what the API holds, and the strings to its running containers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::watch;

use super::api::PodName;
use super::backoff::Backoff;
use super::pod::{Phase, PodState, Slot, spec};
use super::supervise::Stop;

/// A pod's uid.
pub(super) type Uid = Arc<str>;

/// A start that takes no longer than this is not told of as a start: one write says that the container runs.
pub(super) const INSTANT: Duration = Duration::from_millis(100);
/// The first wait after a failed write, doubled up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// One pod of this node.
pub(super) struct Entry {
    pub(super) name: PodName,
    pub(super) state: PodState,
    /// The status that the API holds, as far as is known.
    pub(super) written: PodStatus,
    /// The resource version of it: what the watch still says of an older one is history.
    pub(super) version: u64,
    pub(super) writing: Writing,
    pub(super) removing: Removing,
    /// By slot: how to stop what runs there.
    pub(super) stops: Vec<Option<watch::Sender<Option<Stop>>>>,
    /// By slot: the restart whose back-off was told.
    pub(super) told: Vec<Option<u32>>,
    /// Waits to be planned.
    pub(super) marked: bool,
    pub(super) wake_at: Option<Timestamp>,
}

/// Whether a status is being written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Writing {
    Idle { failures: u32, not_before: Option<Timestamp> },
    UnderWay { failures: u32 },
}

/// Whether the object is being removed from the API.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Removing {
    No { not_before: Option<Timestamp> },
    UnderWay,
}

/// A status on its way to the API.
pub(super) struct Write {
    pub(super) status: PodStatus,
    pub(super) patch: Vec<u8>,
}

impl Entry {
    /// `None` for an object that is no whole pod.
    pub(super) fn new(mut pod: Pod, now: Timestamp) -> Option<(Uid, Self)> {
        pod.spec.as_ref()?;
        let name = PodName {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
        };
        let version = version(&pod);
        let mut state = PodState::first_seen(Arc::new(pod.clone()), now);
        let written = pod.status.take().unwrap_or_default();
        state.pod = Arc::new(trimmed(pod));
        let slots = state.containers.len();
        let entry = Self {
            state,
            written,
            version,
            writing: Writing::Idle { failures: 0, not_before: None },
            removing: Removing::No { not_before: None },
            stops: vec![None; slots],
            told: vec![None; slots],
            marked: false,
            wake_at: None,
            name,
        };
        Some((Uid::from(entry.name.uid.as_str()), entry))
    }

    /// Takes over what the API says now. What a container is, cannot change but for its image; one that runs another
    /// is to be started again.
    pub(super) fn update(&mut self, mut pod: Pod) {
        if pod
            .spec
            .as_ref()
            .is_none_or(|spec| spec.containers.len() + inits(&pod) != self.state.containers.len())
        {
            return;
        }
        let version = version(&pod);
        let status = pod.status.take().unwrap_or_default();
        if version >= self.version {
            self.version = version;
            self.written = status;
        }
        let before = std::mem::replace(&mut self.state.pod, Arc::new(trimmed(pod)));
        let changed: Vec<_> = self
            .state
            .slots()
            .map(|(slot, _)| slot)
            .filter(|slot| self.image_changed(*slot, &before))
            .collect();
        for slot in changed {
            let container = self.state.container_mut(slot);
            match &mut container.phase {
                Phase::Running(_) => {
                    let name = &container.name;
                    container.unhealthy =
                        Some(format!("Container {name} definition changed, will be restarted"));
                }
                // What kept the old image from starting says nothing of the new one.
                Phase::Waiting { blocked } => {
                    *blocked = None;
                    container.pulls = Backoff::default();
                }
                _ => {}
            }
        }
    }

    fn image_changed(&self, slot: Slot, before: &Pod) -> bool {
        let inits = inits(before);
        let declared = spec(before).init_containers.iter().flatten().chain(&spec(before).containers);
        debug_assert!(slot.0 < inits + spec(before).containers.len(), "the number of containers is fixed");
        declared
            .into_iter()
            .nth(slot.0)
            .is_some_and(|declared| declared.image != self.state.declared(slot).image)
    }

    /// Whether a container is being started and may be up in a moment.
    pub(super) fn starts_now(&self, now: Timestamp) -> Option<Timestamp> {
        let since = self.state.containers.iter().filter_map(|container| match container.phase {
            Phase::Starting { since } => since.saturating_add(INSTANT).ok(),
            _ => None,
        });
        since.max().filter(|until| now < *until)
    }

    /// Notes that a write failed, and when to try again.
    pub(super) fn write_failed(&mut self, now: Timestamp) {
        let Writing::UnderWay { failures } = self.writing else { return };
        let wait = FIRST_RETRY.saturating_mul(1 << failures.min(10)).min(LAST_RETRY);
        let not_before = now.saturating_add(wait).ok();
        self.writing = Writing::Idle { failures: failures + 1, not_before };
    }
}

fn inits(pod: &Pod) -> usize {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()).map_or(0, Vec::len)
}

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Without what only others need: ten thousand pods are kept here.
fn trimmed(mut pod: Pod) -> Pod {
    pod.metadata.managed_fields = None;
    pod.status = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        // kubectl's copy of the whole object.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    pod
}
