//! `isopod completion SHELL`.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `completion`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

/// Prints the script for the shell.
pub(crate) fn run<C: CommandFactory>(args: &Args) -> anyhow::Result<()> {
    clap_complete::generate(args.shell, &mut C::command(), "isopod", &mut io::stdout());
    Ok(())
}
