//! A Docker container of a pod, from its making to its end.

use std::path::PathBuf;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, LogsOptions, StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::sandbox::container_name;
use super::{Docker, DockerError, Exec, Found, Sandbox, Wanted, body, files, is_missing};
use crate::logs::{LogSink, Stream, Writer};
use crate::runtime::{Reason, State};

/// A daemon that does not answer is asked again after this.
const RETRY: Duration = Duration::from_secs(1);
/// What a container said last may take this long to arrive once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A line of a terminal that is longer is written in parts.
const LINE_BYTES: usize = 16 * 1024;

/// A container that was started. Dropping it leaves it running: it is found again.
pub struct Container {
    id: String,
    docker: Docker,
    stop_signal: String,
    state: watch::Receiver<State>,
    _follower: AbortOnDropHandle<()>,
}

/// Which run of which container.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The pod.
    pub uid: &'a str,
    /// The container in it.
    pub name: &'a str,
    /// 0 is the first.
    pub attempt: u32,
}

/// What follows a container to its end.
struct Follower {
    id: String,
    docker: Docker,
    state: watch::Sender<State>,
    logs: LogSink,
    /// Up to where the log is written already.
    logged: Option<Timestamp>,
    message: PathBuf,
}

impl Docker {
    /// Makes a container, in the pod's sandbox. It does not run yet.
    pub async fn make(&self, wanted: &Wanted<'_>, sandbox: &Sandbox) -> Result<String, DockerError> {
        let (pod, name) = (wanted.pod, &wanted.declared.name);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        files::writable(&files::message_path(&self.inner.folder, uid, name, wanted.attempt))?;
        let body = body::container(wanted, &self.inner.folder, &sandbox.id).map_err(DockerError::Call)?;
        self.create(&container_name(pod, name, wanted.attempt), body).await
    }

    /// Starts what [`Docker::make`] made, which is removed again if that fails.
    pub async fn start(&self, id: &str) -> Result<(), DockerError> {
        if let Err(error) = self.inner.client.start_container(id, None::<StartContainerOptions>).await {
            self.remove(id).await?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Removes one that was found and never started.
    pub async fn discard(&self, found: Found) -> Result<(), DockerError> {
        self.remove(&found.id).await
    }

    /// Follows a container that was found again. What it said after `logged` goes to `logs`.
    pub async fn follow_found(
        &self,
        found: Found,
        run: Run<'_>,
        logs: LogSink,
        logged: Option<Timestamp>,
    ) -> Result<Container, DockerError> {
        let message = files::message_path(&self.inner.folder, run.uid, run.name, run.attempt);
        self.follow(found.id, message, logs, logged).await
    }

    /// Follows a container that was just started.
    pub async fn follow_new(
        &self,
        id: String,
        run: Run<'_>,
        logs: LogSink,
    ) -> Result<Container, DockerError> {
        let message = files::message_path(&self.inner.folder, run.uid, run.name, run.attempt);
        self.follow(id, message, logs, None).await
    }

    async fn follow(
        &self,
        id: String,
        message: PathBuf,
        logs: LogSink,
        logged: Option<Timestamp>,
    ) -> Result<Container, DockerError> {
        let found = self.inner.client.inspect_container(&id, None).await?;
        let started_at = time(found.state.as_ref().and_then(|state| state.started_at.as_deref()));
        let started_at = started_at.unwrap_or_else(Timestamp::now);
        let (state, receiver) = watch::channel(State::Running { started_at });
        let signal = found.config.and_then(|config| config.stop_signal).filter(|signal| !signal.is_empty());
        let follower = Follower { id: id.clone(), docker: self.clone(), state, logs, logged, message };
        Ok(Container {
            id: shown(&id),
            docker: self.clone(),
            stop_signal: signal.unwrap_or_else(|| "SIGTERM".to_owned()),
            state: receiver,
            _follower: AbortOnDropHandle::new(tokio::spawn(follower.run())),
        })
    }

    /// One that ran when the agent last ended, and is there no more.
    pub fn lost(&self, id: &str) -> Container {
        let now = Timestamp::now();
        let ended = State::Exited {
            code: 137,
            reason: Reason::Error,
            message: "The container was removed while the node agent was away".to_owned(),
            started_at: now,
            finished_at: now,
        };
        // Nobody has to send: it stays as it is.
        let (_, state) = watch::channel(ended);
        Container {
            id: id.to_owned(),
            docker: self.clone(),
            stop_signal: String::new(),
            state,
            _follower: AbortOnDropHandle::new(tokio::spawn(async {})),
        }
    }
}

impl Container {
    /// `docker://` and the daemon's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its state now and from now on.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Runs programs in it.
    pub fn exec(&self) -> Exec {
        Exec::new(self.docker.clone(), raw(&self.id).to_owned())
    }

    /// Ends it, and returns when it has ended: asked to at first, by force after `grace`. May be called again with
    /// another grace when given up.
    pub async fn stop(&self, grace: Duration) {
        let mut state = self.state.clone();
        let mut ended = std::pin::pin!(async {
            let ended = state.wait_for(|state| matches!(state, State::Exited { .. })).await;
            // Without a sender nobody follows it any more.
            ended.is_ok()
        });
        self.kill(&self.stop_signal).await;
        if tokio::time::timeout(grace, &mut ended).await.is_ok() {
            return;
        }
        loop {
            self.kill("SIGKILL").await;
            // A daemon that was away may not have heard it.
            if tokio::time::timeout(RETRY, &mut ended).await.is_ok() {
                return;
            }
        }
    }

    async fn kill(&self, signal: &str) {
        if matches!(*self.state.borrow(), State::Exited { .. }) {
            return;
        }
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        if let Err(error) = self.docker.inner.client.kill_container(raw(&self.id), Some(options)).await {
            tracing::debug!(container = self.id, signal, %error, "signal not sent");
        }
    }
}

impl Follower {
    async fn run(mut self) {
        let docker = self.docker.clone();
        let last = {
            let (docker, id) = (&docker, self.id.clone());
            let mut ended = std::pin::pin!(end(docker, &id));
            loop {
                // Cancel-safe: what was written moves `logged`, and the rest is read again.
                tokio::select! {
                    biased;
                    last = &mut ended => break last,
                    () = self.copy_logs() => {}
                }
                tokio::select! {
                    last = &mut ended => break last,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        };
        if tokio::time::timeout(LAST_WORDS, self.copy_logs()).await.is_err() {
            tracing::warn!(container = self.id, "the last lines of the log did not arrive");
        }
        self.logs.close();
        let message = files::message(&self.message);
        let started_at = match *self.state.borrow() {
            State::Running { started_at } | State::Exited { started_at, .. } => started_at,
        };
        self.state.send_replace(exited(last, message, started_at, Timestamp::now()));
    }

    /// Copies the log as far as it goes; for a container that runs, until the daemon ends the answer.
    async fn copy_logs(&mut self) {
        let since = self.logged.map_or(0, |time| i32::try_from(time.as_second()).unwrap_or(0));
        let options = LogsOptions {
            follow: true,
            stdout: true,
            stderr: true,
            timestamps: true,
            since,
            tail: "all".to_owned(),
            ..Default::default()
        };
        let docker = self.docker.clone();
        let mut output = docker.inner.client.logs(&self.id, Some(options));
        let mut writers = (self.logs.writer(Stream::Stdout), self.logs.writer(Stream::Stderr));
        let (before, mut line) = (self.logged, Vec::new());
        while let Some(Ok(piece)) = output.next().await {
            match piece {
                // Each piece is a line, or a part of a long one.
                LogOutput::StdErr { message } => self.copy_line(&mut writers.1, &message, before).await,
                LogOutput::StdOut { message } => self.copy_line(&mut writers.0, &message, before).await,
                // A terminal's output is not cut into lines.
                LogOutput::Console { message } | LogOutput::StdIn { message } => {
                    for part in message.split_inclusive(|byte| *byte == b'\n') {
                        line.extend_from_slice(part);
                        if part.ends_with(b"\n") || line.len() > LINE_BYTES {
                            self.copy_line(&mut writers.0, &line, before).await;
                            line.clear();
                        }
                    }
                }
            }
        }
    }

    /// Copies a line that begins with its time, unless it was there `before`.
    async fn copy_line(&mut self, writer: &mut Writer, line: &[u8], before: Option<Timestamp>) {
        let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let said = std::str::from_utf8(&line[..at]).ok().and_then(|text| text.parse::<Timestamp>().ok());
        let Some(said) = said.filter(|said| before.is_none_or(|before| *said > before)) else { return };
        write(&self.logs, writer, said, line.get(at + 1..).unwrap_or_default()).await;
        self.logged = Some(said);
    }
}

async fn write(logs: &LogSink, writer: &mut Writer, said: Timestamp, mut line: &[u8]) {
    writer.set_time(said);
    while !line.is_empty() {
        match writer.write(line) {
            0 => logs.has_room().await,
            taken => line = &line[taken..],
        }
    }
}

/// Waits for the end of a container, however often the daemon goes away meanwhile. `None` if it was removed.
async fn end(docker: &Docker, id: &str) -> Option<ContainerState> {
    loop {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut wait = docker.inner.client.wait_container(id, Some(options));
        // Also an exit code other than 0 is an error here; what counts is what the daemon then says.
        wait.next().await;
        match docker.inner.client.inspect_container(id, None).await {
            Ok(found) => match found.state {
                Some(state) if state.running != Some(true) => return Some(state),
                _ => {}
            },
            Err(error) if is_missing(&error) => return None,
            Err(error) => tracing::debug!(container = id, %error, "the Docker daemon does not answer"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// How a container ended, from what the daemon says and what it left to say itself.
fn exited(last: Option<ContainerState>, message: String, started_at: Timestamp, now: Timestamp) -> State {
    let Some(last) = last else {
        let message = "The container was removed".to_owned();
        return State::Exited { code: 137, reason: Reason::Error, message, started_at, finished_at: now };
    };
    let code = last.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(137);
    let reason = match (last.oom_killed, code) {
        (Some(true), _) => Reason::OomKilled,
        (_, 0) => Reason::Completed,
        _ => Reason::Error,
    };
    let failed = last.error.filter(|error| !error.is_empty());
    let message = if message.is_empty() { failed.unwrap_or_default() } else { message };
    State::Exited {
        code,
        reason,
        message,
        started_at: time(last.started_at.as_deref()).unwrap_or(started_at),
        finished_at: time(last.finished_at.as_deref()).unwrap_or(now),
    }
}

/// A time as the daemon writes it; the year 1 means never.
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse::<Timestamp>().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

fn shown(id: &str) -> String {
    format!("docker://{id}")
}

fn raw(shown: &str) -> &str {
    shown.trim_start_matches("docker://")
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("id", &self.id).field("state", &*self.state.borrow()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_kubernetes_words() {
        let now = Timestamp::UNIX_EPOCH;
        let state = |code, oom| ContainerState {
            exit_code: Some(code),
            oom_killed: Some(oom),
            error: Some("e".into()),
            started_at: Some("2026-01-01T00:00:00.5Z".into()),
            finished_at: Some("0001-01-01T00:00:00Z".into()),
            ..Default::default()
        };
        for (last, said, want) in [
            (Some(state(0, false)), "", (0, Reason::Completed, "e")),
            (Some(state(3, false)), "bye", (3, Reason::Error, "bye")),
            (Some(state(137, true)), "", (137, Reason::OomKilled, "e")),
            (None, "", (137, Reason::Error, "The container was removed")),
        ] {
            let State::Exited { code, reason, message, finished_at, .. } =
                exited(last, said.into(), now, now)
            else {
                panic!("it has ended")
            };
            assert_eq!((code, reason, message.as_str()), want);
            assert_eq!(finished_at, now, "a time that the daemon does not know");
        }
    }
}
