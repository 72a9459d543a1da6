//! `isopod-bench`: figures of Isopod beside those of its peers, printed as tables. Nothing is asserted: a figure is
//! for people to judge, on the machine it was taken on.
//!
//! Every measurement is bounded in count and time, works in a temporary folder of its own, and ends the processes
//! that it started, also on Ctrl-C.

mod api;
mod bench;
mod connection;
mod disk;
mod endpoint;
mod figure;
mod http_load;
mod in_process;
mod latency;
mod load;
mod overload;
mod plain_host;
mod pods;
mod process;
mod reference;
mod scheduler;
mod serve;
mod start;
mod store;
mod watch;
mod workload;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::figure::{Figure, table};

/// As the binary under test has it, so that the plain host is no weaker for its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Isopod: figures, what they are beside, and the goals.
#[derive(Parser)]
#[command(name = "isopod-bench")]
struct Cli {
    /// What to measure [default: all]
    #[command(subcommand)]
    what: Option<Measurement>,
    /// Folder on the disk to measure, for the clusters' data [default: the system's temporary folder]
    #[arg(long, global = true, value_name = "D")]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Measurement {
    /// `isopod demo` from exec to its first answer; what an idle `isopod dev` takes
    Start,
    /// The API: creates, reads, patches, deletes, lists and watches on a member without nodes
    Api,
    /// From the create of a pod to its binding, on a member whose nodes are objects only
    Scheduler,
    /// From the create of a pod to its readiness, as a watcher sees it
    Pods,
    /// Requests per second through a Service, beside the same component in a plain wasmtime host
    Serve,
    /// What a request costs without sockets, beside a plain wasmtime host
    InProcess,
    /// Ten times as many requests as a member can answer: what is left of its throughput, and how long others wait
    Overload,
    /// The replicated store alone, with one and three members, beside etcd
    Store(store::Args),
    /// All of these but the store and the overload, one table
    All,
    /// Serve a component from wasmtime and nothing else, until standard input ends (the baseline of `serve`)
    PlainHost(plain_host::Args),
    /// One member of the store, asked through etcd's calls, until standard input ends (our side of `store`)
    StoreMember(store::member::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.context("cannot start the runtime").and_then(|runtime| {
        let outcome = runtime.block_on(async {
            // Cancel-safe: dropping a measurement ends its processes and removes its folders.
            tokio::select! {
                outcome = run(cli) => outcome,
                () = interrupted() => Err(anyhow::anyhow!("interrupted")),
            }
        });
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let what = cli.what.unwrap_or(Measurement::All);
    match what {
        Measurement::PlainHost(args) => return plain_host::run(args).await,
        Measurement::StoreMember(args) => return store::member::run(args).await,
        _ => {}
    }
    let bench = Bench::new(cli.dir)?;
    say(&bench.machine().await?)?;
    let figures = match what {
        Measurement::Start => start::run(&bench).await?,
        Measurement::Api => api::run(&bench).await?,
        Measurement::Scheduler => scheduler::run(&bench).await?,
        Measurement::Pods => pods::run(&bench).await?,
        Measurement::Serve => serve::run(&bench).await?,
        Measurement::InProcess => in_process::run(&bench).await?,
        Measurement::Overload => overload::run(&bench).await?,
        Measurement::Store(args) => store::run(&bench, &args).await?,
        Measurement::All => return all(&bench).await,
        Measurement::PlainHost(_) | Measurement::StoreMember(_) => unreachable!("handled above"),
    };
    say(&table(&figures))
}

/// Runs everything, also when a part fails, and prints one table of what could be measured.
async fn all(bench: &Bench) -> anyhow::Result<()> {
    let mut figures: Vec<Figure> = Vec::new();
    let mut failed = Vec::new();
    for part in ["start", "api", "scheduler", "pods", "serve", "in-process"] {
        eprintln!("measuring {part} …");
        let outcome = match part {
            "start" => start::run(bench).await,
            "api" => api::run(bench).await,
            "scheduler" => scheduler::run(bench).await,
            "pods" => pods::run(bench).await,
            "serve" => serve::run(bench).await,
            _ => in_process::run(bench).await,
        };
        match outcome {
            Ok(measured) => figures.extend(measured),
            Err(error) => {
                eprintln!("error: {part}: {error:#}");
                failed.push(part);
            }
        }
    }
    say(&table(&figures))?;
    anyhow::ensure!(failed.is_empty(), "could not measure {}", failed.join(", "));
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("standard output is closed")
}

/// Resolves at Ctrl-C or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled on every Unix");
    // Cancel-safe: whichever signal comes first ends the wait.
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
