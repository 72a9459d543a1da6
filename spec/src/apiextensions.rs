//! Custom resources: the kinds that users declare with a CustomResourceDefinition.
//!
//! [`definition`] has the rules of the declaration itself, [`names`] decides whether its names are free,
//! [`structural`] compiles its schemas, and [`kinds`] makes registered kinds of it, which generic code serves as it
//! serves built-in ones.

mod cel;
mod columns;
mod custom;
mod definition;
mod kinds;
#[cfg(test)]
mod laws;
mod merge;
pub mod names;
mod path;
mod publish;
mod structural;
#[cfg(test)]
mod tests;

pub use definition::CLEANUP_FINALIZER;
pub use kinds::{kinds, preference, stored_kind};
pub(crate) use publish::schema_name;
