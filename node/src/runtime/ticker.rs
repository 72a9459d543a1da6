//! The clock of epoch interruption: a thread that moves the engine's epoch, by which every running guest yields
//! to the others, however little it cares.
//!
//! While no guest runs the thread ticks once a second only, so that an idle node stays idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest may run before the others get their turn. Short, because a request waits for one turn of
/// every busy guest before it; yet a thousand times the cost of a turn's change.
const TICK: Duration = Duration::from_millis(2);
/// Ticks without a guest after which the thread slows down.
const IDLE_TICKS: u32 = 500;
/// The slow tick. Also what a wake-up that was missed (it is not ordered after the last look) can cost.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Owns the thread; dropping it ends the thread.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    handle: Thread,
}

struct Shared {
    /// A guest started since the thread last looked.
    busy: AtomicBool,
    slow: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    pub(super) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            busy: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new().name("isopod-epoch".into()).spawn({
            let shared = shared.clone();
            move || shared.run(&engine)
        })?;
        let handle = thread.thread().clone();
        Ok(Self { shared, thread: Some(thread), handle })
    }

    /// Says that a guest runs, or still runs. Costs two loads while guests are about.
    pub(super) fn guest_runs(&self) {
        if !self.shared.busy.load(Ordering::Relaxed) {
            self.shared.busy.store(true, Ordering::Relaxed);
        }
        if self.shared.slow.load(Ordering::Relaxed) && self.shared.slow.swap(false, Ordering::AcqRel) {
            self.handle.unpark();
        }
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        while !self.stop.load(Ordering::Acquire) {
            idle = if self.busy.swap(false, Ordering::AcqRel) { 0 } else { idle + 1 };
            self.slow.store(idle >= IDLE_TICKS, Ordering::Release);
            std::thread::park_timeout(if idle >= IDLE_TICKS { IDLE_TICK } else { TICK });
            engine.increment_epoch();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.handle.unpark();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked; and there is nothing to do about it if it had.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn slows_down_without_guests_and_wakes_for_one() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let wait = |slow: bool| {
            while ticker.shared.slow.load(Ordering::Acquire) != slow {
                assert!(Instant::now() < deadline, "not seen in time: slow = {slow}");
                std::thread::yield_now();
            }
        };
        wait(true);
        ticker.guest_runs();
        wait(false);
    }
}
