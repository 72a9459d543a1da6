//! The quality of service a pod gets: how much it was promised decides who goes first when memory is short.
//!
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::Amount;

/// The classes, the best protected first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has cpu and memory limits, and requests equal to them.
    Guaranteed,
    /// Something was asked for.
    Burstable,
    /// Nothing was asked for.
    BestEffort,
}

impl QosClass {
    /// As `status.qosClass` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}

/// The class of a pod.
pub fn class(spec: &PodSpec) -> QosClass {
    let mut asked = false;
    let mut guaranteed = true;
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let resources = container.resources.as_ref();
        for name in ["cpu", "memory"] {
            let request = amount(resources.and_then(|r| r.requests.as_ref()), name);
            let limit = amount(resources.and_then(|r| r.limits.as_ref()), name);
            asked |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.or(limit) == limit;
        }
    }
    match (asked, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// An amount that counts: zero is as good as not asked.
fn amount(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<Amount> {
    list?.get(name).and_then(|quantity| Amount::try_from(quantity).ok()).filter(|amount| !amount.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_as_well_protected_as_it_asked_for() {
        for (resources, class_name) in [
            (r"[{}]", "BestEffort"),
            (r#"[{"requests":{"cpu":"0"}}]"#, "BestEffort"),
            (r#"[{"requests":{"cpu":"1"}}]"#, "Burstable"),
            (r#"[{"limits":{"cpu":"1"}}]"#, "Burstable"),
            (r#"[{"limits":{"cpu":"1","memory":"1Gi"}}]"#, "Guaranteed"),
            (
                r#"[{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1000m","memory":"1024Mi"}}]"#,
                "Guaranteed",
            ),
            (r#"[{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Mi"}}]"#, "Burstable"),
            (r#"[{"limits":{"cpu":"1","memory":"1Gi"}},{}]"#, "Burstable"),
        ] {
            let list: Vec<serde_json::Value> = serde_json::from_str(resources).unwrap();
            let containers: Vec<_> = list
                .iter()
                .map(|resources| serde_json::json!({"name": "c", "resources": resources}))
                .collect();
            let spec = serde_json::from_value(serde_json::json!({ "containers": containers })).unwrap();
            assert_eq!(class(&spec).as_str(), class_name, "{resources}");
        }
    }
}
