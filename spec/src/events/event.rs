//! Event of events.k8s.io: the same events as the core group's, under the newer field names.
//!
//! An event is stored once, as a core Event, and read and watched through either group, as upstream does
//! (`pkg/apis/events/v1/conversion.go`).

use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSeries as CoreEventSeries};
use k8s_openapi::api::events::v1::{Event, EventSeries};

use crate::resource::{Codec, Declaration, Kind, Object, Resource, Typed, encode_stored};

/// Field selector labels, in the newer names.
const SELECTABLE: [&str; 10] = [
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// The kind; its objects are those of the core group's.
pub(crate) fn kind() -> Kind {
    let declaration =
        Declaration { create_on_update: true, ..Declaration::of::<Event>("event").short_names(&["ev"]) };
    let selectable = SELECTABLE.map(str::to_owned).to_vec();
    Kind::new(declaration, CoreEvent::columns(), selectable, Box::new(View))
        .stored_as(&Kind::of::<CoreEvent>())
}

struct View;

impl Codec for View {
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        let event: Event = serde_json::from_slice(json)?;
        Ok(Box::new(Typed(to_core(event))))
    }

    fn decode_stored(&self, stored: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        let event: CoreEvent = serde_json::from_slice(stored)?;
        Ok(Box::new(Typed(event)))
    }

    fn served(&self, stored: &[u8]) -> Option<Vec<u8>> {
        // What cannot be read here was written by a newer version; its own field names are the best there is.
        let event: CoreEvent = serde_json::from_slice(stored).ok()?;
        Some(encode_stored(&from_core(event)))
    }
}

fn to_core(event: Event) -> CoreEvent {
    CoreEvent {
        action: event.action,
        count: event.deprecated_count,
        event_time: event.event_time,
        first_timestamp: event.deprecated_first_timestamp,
        involved_object: event.regarding.unwrap_or_default(),
        last_timestamp: event.deprecated_last_timestamp,
        message: event.note,
        metadata: event.metadata,
        reason: event.reason,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        series: event.series.map(|series| CoreEventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time),
        }),
        source: event.deprecated_source,
        type_: event.type_,
    }
}

fn from_core(event: CoreEvent) -> Event {
    Event {
        action: event.action,
        deprecated_count: event.count,
        event_time: event.event_time,
        deprecated_first_timestamp: event.first_timestamp,
        regarding: Some(event.involved_object),
        deprecated_last_timestamp: event.last_timestamp,
        note: event.message,
        metadata: event.metadata,
        reason: event.reason,
        related: event.related,
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        series: event.series.and_then(|series| {
            Some(EventSeries {
                count: series.count.unwrap_or(0),
                last_observed_time: series.last_observed_time?,
            })
        }),
        deprecated_source: event.source,
        type_: event.type_,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;
    use crate::registry::{builtin, kind_of};
    use crate::selector::FieldSelector;
    use crate::testing::body;

    const OLD: &str = "{metadata: {name: a.1, namespace: default}, involvedObject: {kind: Pod, name: a}, message: m, reason: r, \
        type: Normal, source: {component: c}, reportingComponent: '', count: 2, firstTimestamp: '2026-01-01T00:00:00Z', \
        series: {count: 3, lastObservedTime: '2026-01-01T00:00:01.000000Z'}, eventTime: '2026-01-01T00:00:00.000000Z'}";

    #[test]
    fn an_event_is_read_through_either_group() {
        let (old, new) =
            (kind_of::<CoreEvent>(), builtin().by_plural("events.k8s.io", "v1", "events").unwrap());
        assert_eq!(old.key("default", "a.1"), new.key("default", "a.1"));
        assert!(new.is_view() && !old.is_view());
        let stored = old.decode(&body(OLD)).unwrap().to_stored();
        let served = String::from_utf8(new.object_json(&stored, 7)).unwrap();
        expect![[r#"{"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{"resourceVersion":"7","name":"a.1","namespace":"default"},"deprecatedCount":2,"deprecatedFirstTimestamp":"2026-01-01T00:00:00Z","deprecatedSource":{"component":"c"},"eventTime":"2026-01-01T00:00:00.000000Z","note":"m","reason":"r","regarding":{"kind":"Pod","name":"a"},"reportingController":"","series":{"count":3,"lastObservedTime":"2026-01-01T00:00:01.000000Z"},"type":"Normal"}"#]].assert_eq(&served);
        let again = new.decode(served.as_bytes()).unwrap();
        assert_eq!(again.to_stored(), stored, "nothing is lost on the way to the newer form and back");
        let mut item = Vec::new();
        new.append_list_item(&mut item, &stored, 7);
        let item: Value = serde_json::from_slice(&item).unwrap();
        assert_eq!(item["regarding"]["name"], "a");
    }

    #[test]
    fn events_are_found_by_the_newer_labels() {
        let new = builtin().by_plural("events.k8s.io", "v1", "events").unwrap();
        let stored = kind_of::<CoreEvent>().decode(&body(OLD)).unwrap().to_stored();
        let event = new.decode_stored(&stored, 7).unwrap();
        let matches =
            |text: &str| FieldSelector::parse(text, new).map(|selector| selector.matches(event.as_ref()));
        assert_eq!(matches("regarding.name=a,regarding.kind=Pod,reason=r"), Ok(true));
        assert_eq!(matches("regarding.name=b"), Ok(false));
        assert!(matches("involvedObject.name=a").is_err());
    }
}
