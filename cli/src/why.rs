//! `isopod why OBJECT`: the causal chain from owner to status to events to node, in a few sentences.
//!
//! [`gather`] reads the object, what owns it, the pods below it, their events and node; [`explain`] is the pure
//! part that turns these facts into sentences.

mod explain;
mod gather;

use crate::client::Connection;
use crate::target::{self, Scope};

/// Arguments of `why`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// KIND/NAME, as pod/web-1 or deployment/web
    #[arg(value_name = "OBJECT")]
    object: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the sentences.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let namespace = args.scope.resolve(&client).to_owned();
    let target = target::one(&args.object)?;
    let facts = gather::facts(&client, &namespace, &target).await?;
    for sentence in explain::sentences(&facts, jiff::Timestamp::now()) {
        println!("{sentence}");
    }
    Ok(())
}
