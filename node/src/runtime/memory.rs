//! The memory limit of one instance, and the memory of having met it.
//!
//! A refused growth is not yet a failure: `memory.grow` returns -1 and the guest may make do. What ends after a
//! refusal, though, ended for want of memory.

use wasmtime::ResourceLimiter;

/// Counts what the instance's linear memories and tables take, and refuses what is beyond the limit.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    limit_bytes: usize,
    used_bytes: usize,
    /// What the growth under way would add; given back if the engine cannot do it.
    pending_bytes: usize,
    refused: bool,
}

impl MemoryLimit {
    /// `None` leaves only the 4 GiB that a 32-bit memory can have.
    pub(super) fn new(limit_bytes: Option<u64>) -> Self {
        let limit_bytes =
            limit_bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self { limit_bytes, used_bytes: 0, pending_bytes: 0, refused: false }
    }

    /// Whether the instance was ever refused memory.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, by_bytes: usize) -> bool {
        let wanted = self.used_bytes.saturating_add(by_bytes);
        if wanted > self.limit_bytes {
            self.refused = true;
            return false;
        }
        self.used_bytes = wanted;
        self.pending_bytes = by_bytes;
        true
    }

    fn give_back(&mut self) {
        self.used_bytes -= std::mem::take(&mut self.pending_bytes);
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(size_of::<usize>())))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_the_limit() {
        let mut limit = MemoryLimit::new(Some(1000));
        assert!(limit.memory_growing(0, 600, None).unwrap());
        assert!(limit.table_growing(0, 50, None).unwrap());
        assert!(!limit.refused());
        assert!(!limit.memory_growing(600, 601, None).unwrap());
        assert!(limit.refused());
    }

    #[test]
    fn growth_that_failed_is_not_counted() {
        let mut limit = MemoryLimit::new(Some(1000));
        assert!(limit.memory_growing(0, 1000, None).unwrap());
        limit.memory_grow_failed(wasmtime::Error::msg("no pages")).unwrap();
        assert!(limit.memory_growing(0, 1000, None).unwrap());
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let mut limit = MemoryLimit::new(None);
        assert!(limit.memory_growing(0, usize::MAX, None).unwrap());
        assert!(limit.table_growing(0, usize::MAX, None).unwrap());
    }
}
