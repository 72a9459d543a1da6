//! How the command line says that something went wrong: what, why, and what to do next.

use std::process::ExitCode;

use anyhow::Error;
use isopod_control::run::{RunError, StartError};

/// Prints the error with its causes, one line each, and returns the exit code 1.
pub(crate) fn report(error: &Error) -> ExitCode {
    let causes = sentences(error);
    for (index, cause) in causes.iter().enumerate() {
        eprintln!("{}{cause}", if index == 0 { "error: " } else { "  because: " });
    }
    if let Some(advice) = advice(error) {
        eprintln!("  try: {advice}");
    }
    ExitCode::FAILURE
}

/// What went wrong and why, each said once. An answer of the API says what it says in its message; the client library
/// shows all of the answer, and then again.
fn sentences(error: &Error) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => {
                said.push(status.message.clone());
                break;
            }
            _ => said.push(cause.to_string()),
        }
    }
    said.dedup();
    said
}

/// The next step, where the cause tells it.
fn advice(error: &Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        let damaged = cause.downcast_ref::<StartError>().is_some_and(StartError::wants_reseed);
        let distrusted = cause.downcast_ref::<RunError>().is_some_and(RunError::wants_reseed);
        if damaged || distrusted {
            return Some("`isopod server` with --reseed, which fetches the data again from the other members; where there are none, put the file back from a backup");
        }
        let io = cause.downcast_ref::<std::io::Error>()?;
        match io.kind() {
            std::io::ErrorKind::AddrInUse => Some("another address, as --listen 127.0.0.1:0 (0 = any free port), or stop the program that listens there"),
            std::io::ErrorKind::PermissionDenied => Some("a folder or port that this user may use"),
            _ => None,
        }
    })
}
