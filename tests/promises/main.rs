//! Every promise of the README and of the command line, kept by real processes and real clients: one file each.

mod demo;
mod kubectl;
mod tidy;
