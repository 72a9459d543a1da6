//! Every promise of the README and of the command line, kept by real processes and real clients: one file each.

mod bad_input;
mod cli;
mod clients;
mod controllers;
mod custom;
mod demo;
mod drill;
mod faults;
mod joining;
mod kinds;
mod kubectl;
mod members;
mod nodes;
mod probes;
mod rbac;
mod recovery;
mod registry;
mod samples;
mod scheduling;
mod security;
mod services;
mod tidy;
mod unfinished;
mod volumes;
mod workloads;
