//! How many pods a rollout may add and miss.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The bounds that hold at every moment of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Wanted pods.
    pub(super) replicas: i32,
    /// How many more than wanted there may be.
    pub(super) surge: i32,
    /// How many of the wanted may be unavailable.
    pub(super) unavailable: i32,
    /// False for `Recreate`, which knows neither bound.
    pub(super) rolling: bool,
}

impl Limits {
    /// The Deployment's numbers, percentages resolved: surge rounded up, unavailability down, and never both zero.
    pub(super) fn of(deployment: &Deployment) -> Limits {
        let spec = deployment.spec.as_ref();
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let strategy = spec.and_then(|spec| spec.strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate");
        if !rolling {
            return Limits { replicas, surge: 0, unavailable: 0, rolling };
        }
        let rolling_update = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling_update.and_then(|update| update.max_surge.as_ref());
        let unavailable = rolling_update.and_then(|update| update.max_unavailable.as_ref());
        let surge = resolve(surge, |of_hundred| of_hundred.div_ceil(100), replicas);
        let unavailable = resolve(unavailable, |of_hundred| of_hundred / 100, replicas);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Limits { replicas, surge, unavailable: unavailable.min(replicas), rolling }
    }
}

/// A number, or a percentage of `replicas`; 25 % when absent. Validation has kept out everything else.
fn resolve(value: Option<&IntOrString>, round: fn(u64) -> u64, replicas: i32) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0),
        None => 25,
    };
    let hundredfold = u64::try_from(replicas).unwrap_or(0).saturating_mul(percent);
    i32::try_from(round(hundredfold)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};

    #[test]
    fn surge_rounds_up_and_unavailability_down() {
        let int = IntOrString::Int;
        let percent = |text: &str| IntOrString::String(text.to_owned());
        for (replicas, surge, unavailable, expected) in [
            (10, None, None, (3, 2)),
            (3, Some(percent("25%")), Some(percent("25%")), (1, 0)),
            (4, Some(percent("100%")), Some(percent("0%")), (4, 0)),
            (4, Some(int(0)), Some(int(0)), (0, 1)),
            (4, Some(int(2)), Some(int(9)), (2, 4)),
            (0, Some(percent("50%")), Some(percent("50%")), (0, 0)),
            (3, Some(int(0)), Some(percent("1%")), (0, 1)),
        ] {
            let rolling_update =
                Some(RollingUpdateDeployment { max_surge: surge, max_unavailable: unavailable });
            let strategy = Some(DeploymentStrategy { type_: Some("RollingUpdate".into()), rolling_update });
            let spec = DeploymentSpec { replicas: Some(replicas), strategy, ..DeploymentSpec::default() };
            let limits = Limits::of(&Deployment { spec: Some(spec), ..Deployment::default() });
            assert_eq!((limits.surge, limits.unavailable), expected, "replicas {replicas}");
        }
    }
}
