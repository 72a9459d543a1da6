//! Events are kept for an hour after they last happened.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use tokio_util::sync::CancellationToken;

use super::facts;
use crate::objects::{DeleteOptions, Objects};

/// As in Kubernetes.
const KEPT: Duration = Duration::from_secs(3600);
/// How often expired events are looked for.
const PERIOD: Duration = Duration::from_secs(60);
/// Deletions under way at the same time.
const TOGETHER: usize = 256;

/// Deletes old events until `shutdown`.
pub(crate) async fn run(objects: Objects, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        // Cancel-safe: a tick that is not taken comes again.
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => expire(&objects, Timestamp::now()).await,
        }
    }
}

/// Deletes the events that are old at `now`.
pub(crate) async fn expire(objects: &Objects, now: Timestamp) {
    let events = objects.list::<Event>(&objects.store().snapshot(), None);
    let expired: Vec<Event> = events.into_iter().filter(|event| is_expired(event, now)).collect();
    for events in expired.chunks(TOGETHER) {
        let deletions = events.iter().map(|event| async {
            let meta = &event.metadata;
            let options = DeleteOptions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                ..DeleteOptions::default()
            };
            // One that cannot be deleted now is looked at again in a minute.
            let _ = objects.delete::<Event>(facts::namespace(meta), facts::name(meta), &options).await;
        });
        join_all(deletions).await;
    }
}

fn is_expired(event: &Event, now: Timestamp) -> bool {
    let series =
        event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let happened = [series, last, first, created].into_iter().flatten().max();
    happened.is_some_and(|happened| facts::remaining(&facts::stamp(happened), KEPT, now).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_expires_an_hour_after_it_last_happened() {
        let at = |second| facts::stamp(Timestamp::from_second(second).unwrap());
        let mut event = Event::default();
        event.metadata.creation_timestamp = Some(at(0));
        assert!(!is_expired(&event, at(3599).0));
        assert!(is_expired(&event, at(3600).0));
        event.last_timestamp = Some(at(1800));
        assert!(!is_expired(&event, at(3600).0));
        assert!(is_expired(&event, at(5400).0));
        assert!(!is_expired(&Event::default(), at(9999).0), "nothing is known of its age");
    }
}
