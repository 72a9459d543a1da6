//! Kinds of the autoscaling group: one file each, the older version as another form of the newer.

pub mod horizontal_pod_autoscaler;
pub(crate) mod v1;
