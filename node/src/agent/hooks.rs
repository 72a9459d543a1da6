//! What a pod wants done right after a container has started and before it is stopped.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::probe::{self, Target};

/// A hook that answers no sooner than this has failed; sleeping takes as long as it says.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the hook after the start, if there is one. `Err` says why it failed, in words for an event.
pub(super) async fn after_start(container: &Container, target: &Target) -> Result<(), String> {
    match container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) {
        Some(hook) => run(hook, container, target).await,
        None => Ok(()),
    }
}

/// Runs the hook before the stop, if there is one.
pub(super) async fn before_stop(container: &Container, target: &Target) -> Result<(), String> {
    match container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
        Some(hook) => run(hook, container, target).await,
        None => Ok(()),
    }
}

async fn run(hook: &LifecycleHandler, container: &Container, target: &Target) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    if let Some(action) = &hook.http_get {
        return probe::get(action, container, target.clone(), PATIENCE).await;
    }
    Err("exec hooks are not available for WebAssembly containers, which have no other programs to run; \
         use httpGet or sleep"
        .to_owned())
}
