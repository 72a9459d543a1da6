//! The engine, one per process, and what all guests share of this host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use super::ticker::Ticker;

/// Memory of a slot that is cleared and kept instead of given back to the kernel when its instance ends: most of
/// what a small guest touches, and what makes a fresh instance per request half as expensive.
const KEPT_MEMORY_BYTES: usize = 64 * 1024;
/// The same for tables.
const KEPT_TABLE_BYTES: usize = 4096;
/// Core instances of a live component on average; adapters and shims count.
const CORE_INSTANCES: u32 = 8;
/// Tables of a live component on average: its own, and that of its shims.
const TABLES: u32 = 3;
/// Core instances of one component at most. Interpreters come as some dozens of libraries.
const CORE_INSTANCES_MAX: u32 = 256;
/// Linear memories of one component at most; composed components have one each.
const MEMORIES_MAX: u32 = 16;
/// Tables of one component at most.
const TABLES_MAX: u32 = 32;
/// Elements of a table at most. JavaScript engines need more than 20,000.
const TABLE_ELEMENTS: usize = 32_768;
/// One linear memory: all that 32 bits reach.
const MEMORY_BYTES: usize = 4 << 30;
/// The host's record of one instance at most.
const INSTANCE_BYTES: usize = 1 << 20;

/// What the guests of this process share.
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) ticker: Ticker,
    /// One permit for each instance that may live.
    pub(super) instances: Arc<Semaphore>,
    /// Requests that wait for one.
    pub(super) waiting: AtomicUsize,
    /// Told when one is wanted and none is free: an instance that is kept without a request then goes.
    pub(super) wanted: Notify,
    /// Requests that failed by a trap, and those that failed for want of memory.
    pub(super) trapped: AtomicU64,
    pub(super) out_of_memory: AtomicU64,
    /// Where tasks of containers run.
    pub(super) handle: Handle,
}

/// An engine with room for so many live instances.
pub(super) fn engine(live_instances: u32) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(live_instances)
        .total_core_instances(live_instances.saturating_mul(CORE_INSTANCES))
        .total_memories(live_instances)
        .total_tables(live_instances.saturating_mul(TABLES))
        .total_stacks(live_instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .max_memory_size(MEMORY_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEPT_MEMORY_BYTES)
        .table_keep_resident(KEPT_TABLE_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // Source lines in backtraces, where a component brings them.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    Engine::new(&config)
}
