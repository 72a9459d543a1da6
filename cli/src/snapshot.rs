//! `isopod snapshot`: the whole state of a cluster in one file, and a cluster from one.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures::AsyncReadExt as _;
use http::Request;
use isopod_control::membership::folder;
use isopod_control::membership::protocol::SNAPSHOT;
use isopod_control::run::{Saved, inspect};
use kube::Client;
use serde_json::json;

use crate::client::Connection;
use crate::version::Output;

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Arguments of `snapshot`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Ask a member for its state and write it to a file
    Save {
        /// The file; one that exists is replaced
        file: PathBuf,
    },
    /// Make a data folder from a file: a new cluster of one member with the same objects
    Restore {
        /// A file that `snapshot save` wrote
        file: PathBuf,
        /// Folder for the new member; its pki folder is kept when it has one
        #[arg(long, value_name = "D")]
        data_dir: PathBuf,
    },
    /// Check a file and say what it holds
    Status {
        /// A file that `snapshot save` wrote
        file: PathBuf,
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Save { file } => {
            let saved = save(&args.connection.client().await?, &file).await?;
            println!("saved revision {}: {} keys, {} bytes", saved.revision, saved.keys, saved.data_bytes);
            Ok(())
        }
        Verb::Restore { file, data_dir } => {
            let restored = tokio::task::spawn_blocking({
                let data_dir = data_dir.clone();
                move || folder::restore(&data_dir, &file)
            });
            let restored = restored.await?.context("nothing was restored")?;
            let dir = data_dir.display();
            println!("restored {} keys as cluster {} in {dir}", restored.keys, restored.cluster);
            println!("try next:\n  isopod server --data-dir {dir}");
            Ok(())
        }
        Verb::Status { file, output } => {
            let saved = tokio::task::spawn_blocking(move || inspect(&file));
            show(&saved.await?.context("this is no snapshot, or a damaged one")?, output)
        }
    }
}

/// Writes beside the file first: it is replaced by a whole and checked snapshot, or not at all.
async fn save(client: &Client, file: &Path) -> anyhow::Result<Saved> {
    let mut draft: OsString = file.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let outcome = fetch(client, &draft).await;
    if outcome.is_err() {
        // It may not have been made; the error that is returned says more.
        drop(std::fs::remove_file(&draft));
    }
    let saved = outcome?;
    std::fs::rename(&draft, file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(saved)
}

async fn fetch(client: &Client, draft: &Path) -> anyhow::Result<Saved> {
    let writing = || format!("cannot write {}", draft.display());
    let mut into = std::fs::File::create(draft).with_context(writing)?;
    let request = Request::get(SNAPSHOT).body(Vec::new())?;
    let mut body = Box::pin(client.request_stream(request).await?);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = body.as_mut().read(&mut piece).await.context("the member broke off")?;
        if read == 0 {
            break;
        }
        into.write_all(&piece[..read]).with_context(writing)?;
    }
    into.sync_all().with_context(writing)?;
    match inspect(draft) {
        Ok(saved) => Ok(saved),
        Err(error) => bail!("what the member sent is no whole snapshot: {error}"),
    }
}

fn show(saved: &Saved, output: Output) -> anyhow::Result<()> {
    let (cluster, hash) = (saved.cluster.to_string(), format!("{:016x}", saved.sum));
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => {
            writeln!(out, "cluster   {cluster}\nrevision  {}\nkeys      {}", saved.revision, saved.keys)?;
            writeln!(out, "bytes     {}\nhash      {hash}", saved.data_bytes)?;
        }
        Output::Json => {
            let facts = json!({
                "cluster": cluster, "revision": saved.revision.0, "keys": saved.keys, "bytes": saved.data_bytes, "hash": hash,
            });
            writeln!(out, "{facts}")?;
        }
    }
    Ok(())
}
