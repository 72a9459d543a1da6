//! HorizontalPodAutoscaler: as many pods as the load asks for.
//!
//! Rules: `pkg/apis/autoscaling/v2/defaults.go`, `pkg/apis/autoscaling/validation`; columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, MetricValueStatus,
    ResourceMetricSource,
};
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::{SPEC, keep_unwritten};
use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age, first_and_more};
use crate::validation;

/// The share of the cpu they ask for that pods should use when nothing else is said.
const CPU_PERCENT: i32 = 80;
/// Metrics in a cell.
const SHOWN: usize = 2;

/// What every version of the kind declares.
pub(super) fn declare(declaration: Declaration) -> Declaration {
    Declaration {
        inert: Some("HorizontalPodAutoscaler has no effect yet: it is stored only, and nothing is scaled"),
        ..declaration.short_names(&["hpa"]).subresources(&[Subresource::STATUS])
    }
}

impl Resource for HorizontalPodAutoscaler {
    fn declaration() -> Declaration {
        declare(Declaration::of::<Self>("horizontalpodautoscaler").in_category_all())
    }

    fn set_defaults(&mut self) {
        self.spec.min_replicas.get_or_insert(1);
        if self.spec.metrics.as_ref().is_none_or(|metrics| metrics.is_empty()) {
            self.spec.metrics = Some(vec![cpu(CPU_PERCENT)]);
        }
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(HorizontalPodAutoscalerStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = &self.spec;
        let least = spec.min_replicas.unwrap_or(1);
        if least < 1 {
            let detail = "must be greater than or equal to 1";
            errors.invalid(&SPEC.child("minReplicas"), least, detail);
        }
        if spec.max_replicas < 1 {
            errors.invalid(&SPEC.child("maxReplicas"), spec.max_replicas, "must be greater than 0");
        }
        if spec.max_replicas < least {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.invalid(&SPEC.child("maxReplicas"), spec.max_replicas, detail);
        }
        let path = SPEC.child("scaleTargetRef");
        for (field, value) in [("kind", &spec.scale_target_ref.kind), ("name", &spec.scale_target_ref.name)] {
            if value.is_empty() {
                errors.required(&path.child(field), "");
            }
        }
        let list = SPEC.child("metrics");
        for (index, metric) in spec.metrics.iter().flatten().enumerate() {
            validate_metric(metric, &list.index(index), errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Reference", "What is scaled."),
            Column::text("Targets", "What is measured, and what it should be."),
            Column::text("MinPods", "How many there are at least."),
            Column::text("MaxPods", "How many there are at most."),
            Column::text("Replicas", "How many there are."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (&self.spec, self.status.as_ref());
        let target = &spec.scale_target_ref;
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(format!("{}/{}", target.kind, target.name)),
            Cell::from(targets(self)),
            Cell::from(spec.min_replicas.map_or_else(|| "<unset>".to_owned(), |least| least.to_string())),
            Cell::from(spec.max_replicas.to_string()),
            Cell::from(status.and_then(|status| status.current_replicas).unwrap_or(0).to_string()),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

/// The metric that asks for a share of the cpu.
pub(super) fn cpu(percent: i32) -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(percent),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    }
}

fn validate_metric(metric: &MetricSpec, path: &Path<'_>, errors: &mut FieldErrors) {
    let known = &["ContainerResource", "External", "Object", "Pods", "Resource"];
    validation::required_word(&path.child("type"), Some(&metric.type_), known, errors);
    let (field, is_there) = match metric.type_.as_str() {
        "ContainerResource" => ("containerResource", metric.container_resource.is_some()),
        "External" => ("external", metric.external.is_some()),
        "Object" => ("object", metric.object.is_some()),
        "Pods" => ("pods", metric.pods.is_some()),
        "Resource" => ("resource", metric.resource.is_some()),
        _ => return,
    };
    if !is_there {
        errors.required(&path.child(field), "must populate information for the given metric source");
    }
}

/// Each metric as `name: is/should be`.
fn targets(autoscaler: &HorizontalPodAutoscaler) -> String {
    let status = autoscaler.status.as_ref();
    let current = |name: &str| -> Option<&MetricValueStatus> {
        let all = status?.current_metrics.as_ref()?;
        all.iter()
            .find_map(|own| own.resource.as_ref().filter(|own| own.name == name))
            .map(|own| &own.current)
    };
    let shown = autoscaler.spec.metrics.iter().flatten().map(|metric| match &metric.resource {
        Some(resource) => {
            let current = current(&resource.name);
            let (is, wanted) = match resource.target.average_utilization {
                Some(percent) => (
                    current.and_then(|own| own.average_utilization).map(|own| format!("{own}%")),
                    format!("{percent}%"),
                ),
                None => (
                    current.and_then(|own| own.average_value.clone()).map(|own| own.0),
                    resource.target.average_value.clone().unwrap_or_default().0,
                ),
            };
            format!("{}: {}/{wanted}", resource.name, is.as_deref().unwrap_or("<unknown>"))
        }
        None => "<unknown>".to_owned(),
    });
    let shown: Vec<String> = shown.collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    if shown.is_empty() { "<none>".to_owned() } else { first_and_more_spaced(&shown) }
}

fn first_and_more_spaced(items: &[&str]) -> String {
    first_and_more(items, SHOWN).replace(',', ", ")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, create};

    #[test]
    fn an_autoscaler_is_checked_and_is_a_row() {
        check_invalid::<HorizontalPodAutoscaler>(
            "{metadata: {name: a}, spec: {minReplicas: 0, metrics: [{type: Resource}, {type: Mood}]}}",
            expect![[r#"
                spec.minReplicas: Invalid value: 0: must be greater than or equal to 1
                spec.maxReplicas: Invalid value: 0: must be greater than 0
                spec.scaleTargetRef.kind: Required value
                spec.scaleTargetRef.name: Required value
                spec.metrics[0].resource: Required value: must populate information for the given metric source
                spec.metrics[1].type: Unsupported value: "Mood": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#]],
        );
        let web = "{metadata: {name: web}, spec: {maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}";
        check_row::<HorizontalPodAutoscaler>(
            create::<HorizontalPodAutoscaler>(web).unwrap().as_ref(),
            expect![[r#"
                Name: "web"
                Reference: "Deployment/web"
                Targets: "cpu: <unknown>/80%"
                MinPods: "1"
                MaxPods: "9"
                Replicas: "0"
                Age: "0s""#]],
        );
    }
}
