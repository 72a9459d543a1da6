//! HorizontalPodAutoscaler of autoscaling/v1: the newer kind's objects, as far as the older fields tell of them.
//!
//! Follows `pkg/apis/autoscaling/v1/conversion.go`. What the older version has no field for is kept when an object is
//! read through it, and lost when it is written through it, except that one without a cpu target keeps the default.

use k8s_openapi::api::autoscaling::{v1, v2};

use super::horizontal_pod_autoscaler::{cpu, declare};
use crate::resource::{Codec, Declaration, Kind, Object, Resource as _, Typed, encode_stored};

/// The kind; its objects are those of the newer version.
pub(crate) fn kind() -> Kind {
    let declaration = declare(Declaration::of::<v1::HorizontalPodAutoscaler>("horizontalpodautoscaler"));
    let stored = Kind::of::<v2::HorizontalPodAutoscaler>();
    Kind::new(declaration, v2::HorizontalPodAutoscaler::columns(), Vec::new(), Box::new(View))
        .stored_as(&stored)
}

struct View;

impl Codec for View {
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        Ok(Box::new(Typed(to_v2(serde_json::from_slice(json)?))))
    }

    fn decode_stored(&self, stored: &[u8]) -> Result<Box<dyn Object>, serde_json::Error> {
        let newer: v2::HorizontalPodAutoscaler = serde_json::from_slice(stored)?;
        Ok(Box::new(Typed(newer)))
    }

    fn served(&self, stored: &[u8]) -> Option<Vec<u8>> {
        // What cannot be read here was written by a newer version of this program; its own fields are the best there is.
        let newer: v2::HorizontalPodAutoscaler = serde_json::from_slice(stored).ok()?;
        Some(encode_stored(&to_v1(newer)))
    }
}

fn to_v2(older: v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let target = older.spec.scale_target_ref;
    v2::HorizontalPodAutoscaler {
        metadata: older.metadata,
        spec: v2::HorizontalPodAutoscalerSpec {
            max_replicas: older.spec.max_replicas,
            min_replicas: older.spec.min_replicas,
            metrics: older.spec.target_cpu_utilization_percentage.map(|percent| vec![cpu(percent)]),
            scale_target_ref: v2::CrossVersionObjectReference {
                api_version: target.api_version,
                kind: target.kind,
                name: target.name,
            },
            behavior: None,
        },
        status: older.status.map(|status| v2::HorizontalPodAutoscalerStatus {
            current_replicas: Some(status.current_replicas),
            desired_replicas: status.desired_replicas,
            last_scale_time: status.last_scale_time,
            observed_generation: status.observed_generation,
            ..v2::HorizontalPodAutoscalerStatus::default()
        }),
    }
}

fn to_v1(newer: v2::HorizontalPodAutoscaler) -> v1::HorizontalPodAutoscaler {
    let target = newer.spec.scale_target_ref;
    let wanted = newer.spec.metrics.iter().flatten().filter_map(|metric| metric.resource.as_ref());
    let wanted = wanted.filter(|own| own.name == "cpu").find_map(|own| own.target.average_utilization);
    v1::HorizontalPodAutoscaler {
        metadata: newer.metadata,
        spec: v1::HorizontalPodAutoscalerSpec {
            max_replicas: newer.spec.max_replicas,
            min_replicas: newer.spec.min_replicas,
            target_cpu_utilization_percentage: wanted,
            scale_target_ref: v1::CrossVersionObjectReference {
                api_version: target.api_version,
                kind: target.kind,
                name: target.name,
            },
        },
        status: newer.status.map(|status| {
            let current = status.current_metrics.iter().flatten().filter_map(|own| own.resource.as_ref());
            let current =
                current.filter(|own| own.name == "cpu").find_map(|own| own.current.average_utilization);
            v1::HorizontalPodAutoscalerStatus {
                current_cpu_utilization_percentage: current,
                current_replicas: status.current_replicas.unwrap_or(0),
                desired_replicas: status.desired_replicas,
                last_scale_time: status.last_scale_time,
                observed_generation: status.observed_generation,
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_is_the_same_in_both_versions_as_far_as_the_older_one_tells() {
        let json = br#"{"metadata":{"name":"web"},"spec":{"maxReplicas":9,"minReplicas":2,"scaleTargetRef":{"apiVersion":"apps/v1",
            "kind":"Deployment","name":"web"},"targetCPUUtilizationPercentage":70},"status":{"currentReplicas":2,"desiredReplicas":3}}"#;
        let older: v1::HorizontalPodAutoscaler = serde_json::from_slice(json).unwrap();
        let newer = to_v2(older.clone());
        let metric = newer.spec.metrics.as_ref().unwrap()[0].resource.as_ref().unwrap();
        assert_eq!((metric.name.as_str(), metric.target.average_utilization), ("cpu", Some(70)));
        assert_eq!(to_v1(newer), older);
        let mut object = kind().decode(json).unwrap();
        object.set_defaults();
        let stored = object.to_stored();
        let served = kind().object_json(&stored, 7);
        let served: v1::HorizontalPodAutoscaler = serde_json::from_slice(&served).unwrap();
        assert_eq!((served.spec, served.status), (older.spec, older.status));
    }
}
