//! Controllers: each brings one kind of object from what is to what is wanted.
//!
//! A controller is a pure plan over observed objects, in a file of its own; the runner is the one loop that watches,
//! queues, plans and applies. Plans are level-driven: they see the whole state and are never told what changed.

mod claim;
mod deployment;
mod endpoint_slice;
mod facts;
mod replica_set;
mod selecting;
