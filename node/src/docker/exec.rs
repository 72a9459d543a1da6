//! Programs run in a container beside its own.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures::StreamExt;

use super::{Docker, told};

/// What a probe or hook may say; more is read and dropped.
const OUTPUT_BYTES: usize = 10 * 1024;

/// Runs programs in one container.
#[derive(Clone, Debug)]
pub struct Exec {
    docker: Docker,
    container: String,
}

/// What a program did.
#[derive(Debug, PartialEq)]
pub struct Done {
    /// 0 is success.
    pub code: i64,
    /// What it said, on both streams.
    pub output: String,
}

impl Exec {
    pub(super) fn new(docker: Docker, container: String) -> Self {
        Self { docker, container }
    }

    /// Runs a program to its end. `Err` says why it could not be run.
    pub async fn run(&self, command: &[String], timeout: Duration) -> Result<Done, String> {
        let run = tokio::time::timeout(timeout, self.run_to_end(command)).await;
        run.unwrap_or_else(|_| Err(format!("command {command:?} timed out")))
    }

    async fn run_to_end(&self, command: &[String]) -> Result<Done, String> {
        let client = &self.docker.inner.client;
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let id = client.create_exec(&self.container, config).await.map_err(|error| told(&error))?.id;
        let started = client.start_exec(&id, None::<StartExecOptions>).await.map_err(|error| told(&error))?;
        let StartExecResults::Attached { mut output, .. } = started else {
            return Err("the Docker daemon did not attach to the program".to_owned());
        };
        let mut said = Vec::new();
        while let Some(piece) = output.next().await {
            let piece = piece.map(LogOutput::into_bytes).map_err(|error| told(&error))?;
            said.extend_from_slice(&piece[..piece.len().min(OUTPUT_BYTES - said.len())]);
        }
        let ended = client.inspect_exec(&id).await.map_err(|error| told(&error))?;
        let output = String::from_utf8_lossy(&said).into_owned();
        Ok(Done { code: ended.exit_code.unwrap_or(-1), output })
    }
}
