//! How the command line says that something went wrong: what, why, and what to do next.

use std::process::ExitCode;

use anyhow::Error;

/// Prints the error with its causes, one line each, and returns the exit code 1.
pub(crate) fn report(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    if let Some(advice) = advice(error) {
        eprintln!("  try: {advice}");
    }
    ExitCode::FAILURE
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
