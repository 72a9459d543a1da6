//! API objects and every rule about them: names, defaults, validation, selectors, patches, tables, schemas.
//!
//! No I/O, no async: time and randomness are arguments. A kind is declared once, in one file of this crate and
//! one line of [`registry`]; routes, discovery, OpenAPI, tables and storage keys are derived from that.

pub mod admissionregistration;
pub mod apiextensions;
pub mod apply;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod coordination;
pub mod core;
pub mod decode;
pub mod discovery;
pub mod events;
pub mod field_error;
pub mod managed;
pub mod meta;
pub mod networking;
pub mod node;
pub mod openapi;
pub mod patch;
pub mod policy;
pub mod quantity;
pub mod rbac;
pub mod registry;
pub mod resource;
pub mod reviews;
pub mod scheduling;
pub mod schema;
pub mod selector;
pub mod status;
pub mod storage;
pub mod table;

mod defaults;
mod validation;

#[cfg(test)]
mod testing;
