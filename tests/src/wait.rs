//! Waiting for a condition with a deadline: the only way a test waits.

use std::time::{Duration, Instant};

/// How long "it happens at all" may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `condition` until it gives a value; panics with `what` and the last refusal after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        let refusal = match condition() {
            Ok(value) => return value,
            Err(refusal) => refusal,
        };
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}: {refusal}");
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}
