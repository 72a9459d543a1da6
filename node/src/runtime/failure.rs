//! Why a guest failed, in words for a person: the trap and the first frames of its stack.

use wasmtime::WasmBacktrace;

use super::memory::MemoryLimit;

/// Frames told of; the rest of a deep stack says little.
const FRAMES: usize = 12;
/// A termination message may have 4096 bytes, and an event 1024 of them.
const MESSAGE_BYTES: usize = 4096;

/// A failure of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It trapped.
    Trap(String),
    /// It trapped after it was refused memory beyond its limit.
    OutOfMemory(String),
    /// There was no room for another instance.
    NoRoom,
    /// It was ended from outside.
    Cancelled,
}

impl Failure {
    /// What the error of an instantiation or a call means.
    pub(super) fn new(error: &wasmtime::Error, memory: &MemoryLimit) -> Self {
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::NoRoom;
        }
        if memory.refused() {
            return Self::OutOfMemory(describe(error));
        }
        Self::Trap(describe(error))
    }
}

/// `wasm trap: …`, then a line for each frame.
fn describe(error: &wasmtime::Error) -> String {
    let mut text = error.root_cause().to_string();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        // Its first line only says that this is a backtrace. Names are demangled by this formatting alone.
        let trace = backtrace.to_string();
        for line in trace.lines().skip(1).take(FRAMES) {
            text.push('\n');
            text.push_str(line);
        }
    }
    truncate(&mut text, MESSAGE_BYTES);
    text
}

fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_after_a_refusal_is_for_want_of_memory() {
        let error = wasmtime::Error::from(wasmtime::Trap::UnreachableCodeReached);
        let mut memory = MemoryLimit::new(Some(1));
        let text = "wasm trap: wasm `unreachable` instruction executed".to_owned();
        assert_eq!(Failure::new(&error, &memory), Failure::Trap(text.clone()));
        assert!(!wasmtime::ResourceLimiter::memory_growing(&mut memory, 0, 2, None).unwrap());
        assert_eq!(Failure::new(&error, &memory), Failure::OutOfMemory(text));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut text = "ü".repeat(10);
        truncate(&mut text, 5);
        assert_eq!(text, "üü");
    }
}
