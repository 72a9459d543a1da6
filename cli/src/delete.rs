//! `isopod delete`: objects by name, by selector or by manifest, and waits until they are gone.

use std::time::Duration;

use anyhow::bail;
use http::{Request, StatusCode};
use kube::Client;
use serde_json::{Value, json};

use crate::client::Connection;
use crate::target::{self, Scope};

/// Arguments of `delete`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// KIND NAME… or KIND/NAME…
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Do not wait until the objects are gone
    #[arg(long)]
    no_wait: bool,
    /// Seconds that pods get to end [default: what each pod says]
    #[arg(long, value_name = "S")]
    grace_period: Option<u32>,
    /// How long to wait, in seconds
    #[arg(long, value_name = "S", default_value_t = 120)]
    timeout: u64,
    #[command(flatten)]
    connection: Connection,
}

/// Deletes each object and prints one line for it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let namespace = args.scope.resolve(&client).to_owned();
    for target in target::parse(&args.objects)? {
        if target.names.is_empty() {
            bail!("name the {} to delete; nothing is deleted by kind alone", target.kind.plural);
        }
        for name in &target.names {
            let path = target::object(target.kind, &namespace, name);
            let uid = delete(&client, &path, args.grace_period).await?;
            println!("{} \"{name}\" deleted", target.kind.singular);
            if !args.no_wait {
                let gone = gone(&client, &path, &uid);
                if tokio::time::timeout(Duration::from_secs(args.timeout), gone).await.is_err() {
                    bail!(
                        "{name} still exists after {} s; `isopod why {}/{name}` says what it waits for",
                        args.timeout,
                        target.kind.singular
                    );
                }
            }
        }
    }
    Ok(())
}

/// Asks for the deletion; returns the uid of what is being deleted.
async fn delete(client: &Client, path: &str, grace: Option<u32>) -> anyhow::Result<String> {
    let mut options =
        json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" });
    if let Some(grace) = grace {
        options["gracePeriodSeconds"] = grace.into();
    }
    let request = Request::delete(path)
        .header("Content-Type", "application/json")
        .body(options.to_string().into_bytes())?;
    let answer: Value = client.request(request).await?;
    let uid = answer["metadata"]["uid"].as_str().or_else(|| answer["details"]["uid"].as_str());
    Ok(uid.unwrap_or_default().to_owned())
}

/// Returns when the object of that uid is no more.
async fn gone(client: &Client, path: &str, uid: &str) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(20);
    loop {
        let request = Request::get(path).body(Vec::new())?;
        match client.request::<Value>(request).await {
            Ok(answer) if answer["metadata"]["uid"].as_str() != Some(uid) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
