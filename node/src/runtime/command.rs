//! A container that is a process: runs once, in a task, and ends with an exit code.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p3::bindings as p3;

use super::container::{Reason, State};
use super::cpu::Cpu;
use super::engine::Host;
use super::failure::Failure;
use super::guest::{Grants, Guest};
use super::memory::MemoryLimit;
use crate::logs::LogSink;

/// `abort`: what a trap comes to.
const ABORTED: i32 = 134;
/// `SIGKILL`, which is what the kernel sends when memory is short.
const KILLED: i32 = 137;
/// `SIGTERM`.
const TERMINATED: i32 = 143;
/// It could not be started at all.
const NOT_STARTED: i32 = 128;

/// A component that is run once, linked to everything but an instance.
#[derive(Clone)]
pub(super) enum Process {
    /// It exports `wasi:cli/run@0.2`.
    P2(CommandPre<Guest>),
    /// It exports `wasi:cli/run@0.3`.
    P3(p3::CommandPre<Guest>),
}

impl Process {
    async fn run(&self, store: &mut Store<Guest>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::P2(linked) => {
                let command = linked.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(store).await
            }
            Self::P3(linked) => {
                let command = linked.instantiate_async(&mut *store).await?;
                store.run_concurrent(async |guests| command.wasi_cli_run().call_run(guests).await).await?
            }
        }
    }
}

/// The task of a command.
pub(super) struct Command {
    cancel: CancellationToken,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: i32,
    reason: Reason,
    message: String,
}

impl Command {
    /// Starts it. `state` is told when it has ended, and `instance` is held until then.
    pub(super) fn start(
        host: Arc<Host>,
        component: Process,
        grants: Arc<Grants>,
        cpu: Arc<Cpu>,
        state: watch::Sender<State>,
        instance: OwnedSemaphorePermit,
    ) -> Self {
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        host.handle.clone().spawn(async move {
            let report = Report { state, logs: grants.logs.clone() };
            let ended = execute(&host, &component, grants, &cpu, &cancelled).await;
            drop(instance);
            report.end(ended);
        });
        Self { cancel }
    }

    /// Ends it at its next turn, within a few milliseconds.
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Tells the end, come what may.
struct Report {
    state: watch::Sender<State>,
    logs: LogSink,
}

impl Report {
    fn end(&self, Ended { code, reason, message }: Ended) {
        // First the log, so that who sees the end can read all of it.
        self.logs.close();
        self.state.send_if_modified(|state| {
            let State::Running { started_at } = *state else { return false };
            *state = State::Exited { code, reason, message, started_at, finished_at: Timestamp::now() };
            true
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // Only if nothing was told before: the task panicked, or its runtime went down.
        let message = "the command's task ended before it did".into();
        self.end(Ended { code: NOT_STARTED, reason: Reason::Error, message });
    }
}

async fn execute(
    host: &Host,
    component: &Process,
    grants: Arc<Grants>,
    cpu: &Cpu,
    cancel: &CancellationToken,
) -> Ended {
    // A command is not begun where a folder is missing, whether it would look at it or not.
    if let Err(error) = grants.open_folders() {
        return Ended { code: NOT_STARTED, reason: Reason::Error, message: format!("{error:#}") };
    }
    let mut store = Guest::store(&host.engine, grants);
    let result = tokio::select! {
        biased;
        result = cpu.run(&host.ticker, component.run(&mut store)) => Some(result),
        () = cancel.cancelled() => None,
    };
    judge(result, &store.data().memory)
}

/// What the end of a command means. `None`: it was cancelled.
fn judge(result: Option<wasmtime::Result<Result<(), ()>>>, memory: &MemoryLimit) -> Ended {
    let error = match result {
        None => return Ended { code: TERMINATED, reason: Reason::Error, message: "stopped".into() },
        Some(Ok(Ok(()))) => return exited(0, memory),
        Some(Ok(Err(()))) => return exited(1, memory),
        Some(Err(error)) => error,
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return exited(*code, memory);
    }
    let (code, reason, message) = match Failure::new(&error, memory) {
        Failure::Trap(message) => (ABORTED, Reason::Error, message),
        Failure::OutOfMemory(message) => (KILLED, Reason::OomKilled, message),
        Failure::NoRoom => (NOT_STARTED, Reason::Error, "no room for another instance".into()),
        Failure::Cancelled => (TERMINATED, Reason::Error, "stopped".into()),
    };
    Ended { code, reason, message }
}

fn exited(code: i32, memory: &MemoryLimit) -> Ended {
    let message = String::new();
    match code {
        0 => Ended { code, reason: Reason::Completed, message },
        // Languages that catch the refusal as an exception end like this.
        _ if memory.refused() => Ended { code: KILLED, reason: Reason::OomKilled, message },
        _ => Ended { code, reason: Reason::Error, message },
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{ResourceLimiter as _, Trap};

    use super::*;

    #[test]
    fn ends_are_told_as_those_of_processes() {
        let trap = || wasmtime::Error::from(Trap::UnreachableCodeReached);
        let trap_text = "wasm trap: wasm `unreachable` instruction executed";
        let exit = |code| Some(Err(wasmtime::Error::from(I32Exit(code))));
        let cases = [
            (Some(Ok(Ok(()))), false, 0, Reason::Completed, ""),
            (Some(Ok(Ok(()))), true, 0, Reason::Completed, ""),
            (Some(Ok(Err(()))), false, 1, Reason::Error, ""),
            (exit(0), false, 0, Reason::Completed, ""),
            (exit(3), false, 3, Reason::Error, ""),
            (exit(3), true, 137, Reason::OomKilled, ""),
            (Some(Err(trap())), false, 134, Reason::Error, trap_text),
            (Some(Err(trap())), true, 137, Reason::OomKilled, trap_text),
            (None, false, 143, Reason::Error, "stopped"),
        ];
        for (result, refused, code, reason, message) in cases {
            let mut memory = MemoryLimit::new(Some(1));
            assert_eq!(memory.memory_growing(0, if refused { 2 } else { 1 }, None).unwrap(), !refused);
            assert_eq!(judge(result, &memory), Ended { code, reason, message: message.into() });
        }
    }
}
