//! The `isopod` binary: one file per verb, wiring only.

#![allow(clippy::print_stdout, reason = "standard output is what a command line answers with")]

mod apply;
mod banner;
mod client;
mod cluster;
mod completion;
mod delete;
mod demo;
mod dev;
mod drill;
mod failure;
mod get;
mod logging;
mod logs;
mod member;
mod node;
mod paths;
mod push;
mod run;
mod server;
mod signals;
mod snapshot;
mod steps;
mod target;
mod token;
mod version;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The heap grows and shrinks with bursts of pods; mimalloc gives pages back and is quick across threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs WebAssembly components through the Kubernetes API: a cluster in one binary.
#[derive(Parser)]
#[command(name = "isopod", version = version::SHORT, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster, deploy the hello sample, send requests to it and say what to try next
    Demo(demo::Args),
    /// Start a whole cluster in this process
    Dev(dev::Args),
    /// Start a member of the control plane
    Server(server::Args),
    /// Start a node that runs pods for a cluster of members
    Node(node::Args),
    /// Show, add and remove members of the control plane
    Member(member::Args),
    /// Make tokens that let machines join
    Token(token::Args),
    /// Save the state of a cluster to a file, and make a cluster from one
    Snapshot(snapshot::Args),
    /// Start members and nodes on this machine, kill them in turn under load, and show what that did
    Drill(drill::Args),
    /// Store a WebAssembly file in the cluster's registry
    Push(push::Args),
    /// Make the cluster hold what manifest files say
    Apply(apply::Args),
    /// Run an artifact as a Deployment, with a Service when a port is given
    Run(run::Args),
    /// Show objects
    Get(get::Args),
    /// Show what containers print
    Logs(logs::Args),
    /// Delete objects and wait until they are gone
    Delete(delete::Args),
    /// Say in a few sentences why an object is in the state it is in
    Why(why::Args),
    /// Print versions
    Version(version::Args),
    /// Print a shell completion script
    Completion(completion::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.verb {
        Verb::Demo(args) => block_on(demo::run(args)),
        Verb::Dev(args) => block_on(dev::run(args)),
        Verb::Server(args) => block_on(server::run(args)),
        Verb::Node(args) => block_on(node::run(args)),
        Verb::Member(args) => block_on(member::run(args)),
        Verb::Token(args) => block_on(token::run(args)),
        Verb::Snapshot(args) => block_on(snapshot::run(args)),
        Verb::Drill(args) => block_on(drill::run(args)),
        Verb::Push(args) => block_on(push::run(args)),
        Verb::Apply(args) => block_on(apply::run(args)),
        Verb::Run(args) => block_on(run::run(args)),
        Verb::Get(args) => block_on(get::run(args)),
        Verb::Logs(args) => block_on(logs::run(args)),
        Verb::Delete(args) => block_on(delete::run(args)),
        Verb::Why(args) => block_on(why::run(args)),
        Verb::Version(args) => version::run(&args),
        Verb::Completion(args) => completion::run::<Cli>(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn block_on(verb: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(verb);
    // Blocking work (a compilation, a read of stdin) must not hold up the end of the process.
    runtime.shutdown_background();
    outcome
}
