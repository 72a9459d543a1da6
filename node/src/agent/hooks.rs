//! What a pod wants done right after a container has started and before it is stopped.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::probe::{self, Target};

/// A hook that answers no sooner than this has failed; sleeping takes as long as it says.
const PATIENCE: Duration = Duration::from_secs(30);
/// A program may take longer; the grace period bounds it where it matters.
const EXEC_PATIENCE: Duration = Duration::from_secs(600);

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
    if let (Some(action), Some(exec)) = (&hook.exec, &target.exec) {
        let done = exec.run(action.command.as_deref().unwrap_or_default(), EXEC_PATIENCE).await?;
        return match done.code {
            0 => Ok(()),
            code => Err(format!("command {:?} exited with {code}: {}", action.command, done.output)),
        };
    }
    Err("exec hooks are not available for WebAssembly containers, which have no other programs to run; \
         use httpGet or sleep"
        .to_owned())
}
