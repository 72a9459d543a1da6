//! Taints of nodes and the tolerations of pods.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// True when one of the tolerations covers the taint.
pub(crate) fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

/// True when the toleration covers the taint. An empty effect covers all effects, an empty key all keys.
pub(crate) fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if given(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// True when the taint keeps pods away that do not tolerate it.
pub(super) fn repels(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

/// How many taints of the node ask the pod to go elsewhere if it can.
pub(super) fn discouraging(taints: &[Taint], tolerations: &[Toleration]) -> i64 {
    let discouraging =
        taints.iter().filter(|taint| taint.effect == "PreferNoSchedule" && !is_tolerated(taint, tolerations));
    i64::try_from(discouraging.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_cover_taints_by_key_value_and_effect() {
        let taint = Taint {
            key: "gpu".into(),
            value: Some("a100".into()),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        for (key, operator, value, effect, expected) in [
            ("gpu", "Equal", "a100", "NoSchedule", true),
            ("gpu", "", "a100", "", true),
            ("gpu", "Equal", "h100", "NoSchedule", false),
            ("gpu", "Exists", "", "NoSchedule", true),
            ("gpu", "Exists", "", "NoExecute", false),
            ("", "Exists", "", "", true),
            ("cpu", "Exists", "", "", false),
            ("gpu", "Like", "a100", "", false),
        ] {
            let toleration = Toleration {
                key: Some(key.into()),
                operator: Some(operator.into()),
                value: Some(value.into()),
                effect: Some(effect.into()),
                toleration_seconds: None,
            };
            assert_eq!(covers(&toleration, &taint), expected, "{toleration:?}");
        }
    }
}
