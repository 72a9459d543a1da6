//! `isopod version`: of this binary, of the API it speaks, of the engine in it.

use std::io::Write as _;

/// The version of the package.
pub(crate) const SHORT: &str = env!("CARGO_PKG_VERSION");

/// Arguments of `version`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Forms that a person or a program reads.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

/// Prints the versions.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let kubernetes = isopod_control::KUBERNETES_VERSION;
    let wasmtime = isopod_node::WASMTIME_VERSION;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => writeln!(out, "isopod {SHORT} (Kubernetes API {kubernetes}, wasmtime {wasmtime})")?,
        Output::Json => {
            let versions =
                serde_json::json!({ "isopod": SHORT, "kubernetes": kubernetes, "wasmtime": wasmtime });
            writeln!(out, "{versions}")?;
        }
    }
    Ok(())
}
