//! How the command line says that something went wrong: what, why, and what to do next.

use std::process::ExitCode;

use anyhow::Error;

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
        let io = cause.downcast_ref::<std::io::Error>()?;
        match io.kind() {
            std::io::ErrorKind::AddrInUse => Some("another address, as --listen 127.0.0.1:0 (0 = any free port), or stop the program that listens there"),
            std::io::ErrorKind::PermissionDenied => Some("a folder or port that this user may use"),
            _ => None,
        }
    })
}
