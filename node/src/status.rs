//! Container states to PodStatus.
