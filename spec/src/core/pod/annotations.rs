//! Annotations by which a pod says how its WebAssembly containers run, beyond what Kubernetes has fields for.
//!
//! Read in one place by who checks them (admission) and who acts on them (the node), so that what is accepted works.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::field_error::{FieldErrors, Path};

/// Requests that one instance answers before it is replaced; absent or 1: a fresh instance for each.
pub const INSTANCE_REQUESTS: &str = "isopod.dev/instance-requests";
/// Requests that one instance works on at a time; absent: 1.
pub const INSTANCE_CONCURRENCY: &str = "isopod.dev/instance-concurrency";
/// Seconds that an instance without requests is kept; absent: 60.
pub const INSTANCE_IDLE: &str = "isopod.dev/instance-idle-seconds";

const REQUESTS_MAX: u32 = 1_000_000;
const CONCURRENCY_MAX: u32 = 256;
const IDLE_MAX: u32 = 3600;
const IDLE_DEFAULT: u32 = 60;

/// Annotations as objects have them.
pub type Annotations = BTreeMap<String, String>;

/// How often an instance of an HTTP component is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// For one request, then never again.
    Fresh,
    /// For several.
    Reused(Reuse),
}

/// The bounds of an instance that is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Requests it answers in all.
    pub requests: u32,
    /// Requests it works on at a time.
    pub at_a_time: u32,
    /// How long it is kept without one.
    pub idle: Duration,
}

/// A value that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {detail}")]
pub struct BadAnnotation {
    /// Its name.
    pub annotation: &'static str,
    detail: String,
}

/// What a pod's annotations say of its instances.
pub fn instances(annotations: Option<&Annotations>) -> Result<Instances, BadAnnotation> {
    let requests = number(annotations, INSTANCE_REQUESTS, REQUESTS_MAX)?.unwrap_or(1);
    let at_a_time = number(annotations, INSTANCE_CONCURRENCY, CONCURRENCY_MAX)?;
    let idle = number(annotations, INSTANCE_IDLE, IDLE_MAX)?;
    if requests == 1 {
        // Said of instances that are kept, and none is.
        let unused = [(INSTANCE_CONCURRENCY, at_a_time), (INSTANCE_IDLE, idle)];
        if let Some((annotation, _)) =
            unused.into_iter().find(|(_, value)| value.is_some_and(|value| value > 1))
        {
            let detail = format!("has no effect unless {INSTANCE_REQUESTS} is more than 1");
            return Err(BadAnnotation { annotation, detail });
        }
        return Ok(Instances::Fresh);
    }
    Ok(Instances::Reused(Reuse {
        requests,
        at_a_time: at_a_time.unwrap_or(1),
        idle: Duration::from_secs(idle.unwrap_or(IDLE_DEFAULT).into()),
    }))
}

/// Checks the annotations of a pod, or of the template of one.
pub(crate) fn validate(annotations: Option<&Annotations>, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Err(BadAnnotation { annotation, detail }) = instances(annotations) {
        let value = annotations.and_then(|all| all.get(annotation)).map_or("", String::as_str);
        errors.invalid(&path.key(annotation), value, &detail);
    }
}

fn number(
    annotations: Option<&Annotations>,
    annotation: &'static str,
    max: u32,
) -> Result<Option<u32>, BadAnnotation> {
    let Some(text) = annotations.and_then(|all| all.get(annotation)) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(Some(number)),
        _ => Err(BadAnnotation { annotation, detail: format!("must be a whole number from 1 to {max}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn instances_are_fresh_unless_reuse_is_asked_for() {
        let reuse = |requests, at_a_time, seconds| {
            Instances::Reused(Reuse { requests, at_a_time, idle: Duration::from_secs(seconds) })
        };
        let cases: &[(&[(&str, &str)], Instances)] = &[
            (&[], Instances::Fresh),
            (&[(INSTANCE_REQUESTS, "1")], Instances::Fresh),
            (&[(INSTANCE_REQUESTS, "1"), (INSTANCE_CONCURRENCY, "1")], Instances::Fresh),
            (&[(INSTANCE_REQUESTS, "128")], reuse(128, 1, 60)),
            (
                &[(INSTANCE_REQUESTS, "2"), (INSTANCE_CONCURRENCY, "16"), (INSTANCE_IDLE, "5")],
                reuse(2, 16, 5),
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(instances(Some(&annotations(pairs))), Ok(*expected), "{pairs:?}");
        }
        assert_eq!(instances(None), Ok(Instances::Fresh));
    }

    #[test]
    fn values_that_are_none_are_refused_by_name() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (
                &[(INSTANCE_REQUESTS, "0")],
                "annotation isopod.dev/instance-requests: must be a whole number from 1 to 1000000",
            ),
            (
                &[(INSTANCE_REQUESTS, "9"), (INSTANCE_CONCURRENCY, "many")],
                "annotation isopod.dev/instance-concurrency: must be a whole number from 1 to 256",
            ),
            (
                &[(INSTANCE_IDLE, "30")],
                "annotation isopod.dev/instance-idle-seconds: has no effect unless isopod.dev/instance-requests is more than 1",
            ),
        ];
        for (pairs, expected) in cases {
            let error = instances(Some(&annotations(pairs))).unwrap_err();
            assert_eq!(error.to_string(), *expected);
        }
    }
}
