//! Amounts of cpu and memory.
