//! The store as its users see it: on a real folder, with its driver running.

mod concurrency;
mod damage;
mod handle;
mod members;
mod restart;
mod running;
