//! Event: something that happened to an object, kept for an hour.
//!
//! Rules: `pkg/apis/core/validation/events.go`; columns: `pkg/printers/internalversion`.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource};
use crate::table::{Cell, Column, age};

impl Resource for Event {
    const SELECTABLE: &'static [&'static str] = &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ];

    fn declaration() -> Declaration {
        Declaration { create_on_update: true, ..Declaration::of::<Self>("event").short_names(&["ev"]) }
    }

    /// An event lives where its object does; events of cluster-scoped objects live in `default`.
    fn validate(&self, errors: &mut FieldErrors) {
        let about = self.involved_object.namespace.as_deref().unwrap_or_default();
        let own = self.metadata.namespace.as_deref().unwrap_or_default();
        let fits = if about.is_empty() { matches!(own, "" | "default") } else { own == about };
        if !fits {
            let path = Path::new("involvedObject");
            errors.invalid(&path.child("namespace"), about, "does not match event.namespace");
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::text("Last Seen", "Time since it last happened."),
            Column::text("Type", "Normal or Warning."),
            Column::text("Reason", "Why, in one word."),
            Column::text("Object", "What it happened to."),
            Column::text("Subobject", "Which part of it.").wide(),
            Column::text("Source", "Who says so.").wide(),
            Column::text("Message", "What happened."),
            Column::text("First Seen", "Time since it first happened.").wide(),
            Column::integer("Count", "How often it happened.").wide(),
            Column::NAME.wide(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let event_time = self.event_time.as_ref().map(|time| Time(time.0));
        let first = self.first_timestamp.clone().or(event_time);
        let last = self.last_timestamp.clone().or_else(|| first.clone());
        let (last, count) = match &self.series {
            Some(series) => (series.last_observed_time.as_ref().map(|time| Time(time.0)), series.count),
            None => (last, self.count.filter(|count| *count != 0).or(Some(1))),
        };
        vec![
            Cell::from(age(last.as_ref(), now)),
            Cell::from(self.type_.as_deref()),
            Cell::from(self.reason.as_deref()),
            Cell::from(object(self)),
            Cell::from(self.involved_object.field_path.as_deref()),
            Cell::from(source(self)),
            Cell::from(self.message.as_deref().map(str::trim)),
            Cell::from(age(first.as_ref(), now)),
            Cell::from(count.unwrap_or(0)),
            Cell::from(self.metadata.name.as_deref()),
        ]
    }

    /// The labels of both groups that serve events.
    fn field(&self, label: &str) -> Cow<'_, str> {
        let about = &self.involved_object;
        let value = match label {
            "involvedObject.kind" | "regarding.kind" => &about.kind,
            "involvedObject.namespace" | "regarding.namespace" => &about.namespace,
            "involvedObject.name" | "regarding.name" => &about.name,
            "involvedObject.uid" | "regarding.uid" => &about.uid,
            "involvedObject.apiVersion" | "regarding.apiVersion" => &about.api_version,
            "involvedObject.resourceVersion" | "regarding.resourceVersion" => &about.resource_version,
            "involvedObject.fieldPath" | "regarding.fieldPath" => &about.field_path,
            "reason" => &self.reason,
            "reportingComponent" | "reportingController" => &self.reporting_component,
            // As upstream: the old field, else the new one.
            "source" => return component(self).into(),
            _ => &self.type_,
        };
        value.as_deref().unwrap_or_default().into()
    }
}

fn object(event: &Event) -> String {
    let kind = event.involved_object.kind.as_deref().unwrap_or_default().to_lowercase();
    match event.involved_object.name.as_deref().unwrap_or_default() {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn first_filled<'a>(old: Option<&'a String>, new: Option<&'a String>) -> &'a str {
    [old, new].into_iter().flatten().find(|text| !text.is_empty()).map(String::as_str).unwrap_or_default()
}

fn component(event: &Event) -> &str {
    let old = event.source.as_ref().and_then(|source| source.component.as_ref());
    first_filled(old, event.reporting_component.as_ref())
}

fn source(event: &Event) -> String {
    let old = event.source.as_ref().and_then(|source| source.host.as_ref());
    match first_filled(old, event.reporting_instance.as_ref()) {
        "" => component(event).to_owned(),
        instance => format!("{}, {instance}", component(event)),
    }
}

#[cfg(test)]
mod tests;
