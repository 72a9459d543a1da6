//! Wasm containers in wasmtime.
