//! How much a piece of work has allocated at most, on the thread that does it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with an account for each thread.
pub(crate) struct Counting;

/// Far beyond what any target may hold.
const HELD_MAX: isize = 2 << 30;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    // A thread that is ending has no account any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

/// Whether a thread holds so much that something must have run away: then the test ends, and not the machine.
fn runs_away(bytes: usize) -> bool {
    HELD.try_with(Cell::get).is_ok_and(|held| held.saturating_add(signed(bytes)) > HELD_MAX)
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait; each call goes to the system's as it came")]
// SAFETY: every method passes its arguments to `System`, which keeps the contract, and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if runs_away(layout.size()) {
            return std::ptr::null_mut();
        }
        note(signed(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-signed(layout.size()));
        // SAFETY: `at` came from `System` with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if runs_away(size) {
            return std::ptr::null_mut();
        }
        note(signed(size) - signed(layout.size()));
        // SAFETY: `at` came from `System` with this layout; the caller checks the size.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The most that was held at once while `work` ran, beyond what was held before.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}
