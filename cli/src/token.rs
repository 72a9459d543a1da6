//! `isopod token`: make, list and delete the tokens that let machines join.
//!
//! A token is a Secret, so everything here is done through the Kubernetes API.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use isopod_control::membership::token::{
    self as tokens, AuthorityHash, Credential, Described, JoinToken, NAME_PREFIX, NAMESPACE, Role,
    SECRET_TYPE,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use serde_json::json;

use crate::client::Connection;
use crate::version::Output;

/// Longest life of a token: one that is forgotten must not open a cluster for years.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Arguments of `token`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Make a token and print it; it is shown this once only
    Create {
        /// What it lets in: one server, or nodes until it expires
        #[arg(long, value_enum)]
        role: Word,
        /// How long it is valid, as 30m, 1h or 7d
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
        ttl: Duration,
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Show the tokens, without their secrets
    List {
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Delete a token; it lets nobody in from then on
    Delete {
        /// The token, or the part before its first dot
        #[arg(value_name = "TOKEN")]
        token: String,
    },
}

/// Roles as they are typed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Word {
    /// A member of the control plane
    Server,
    /// A node that runs pods
    Node,
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Create { role, ttl, output } => {
            let role = match role {
                Word::Server => Role::Server,
                Word::Node => Role::Node,
            };
            let made = create(&args.connection, role, ttl).await?;
            print_made(&made, role, output)
        }
        Verb::List { output } => list(&args.connection.client().await?, output).await,
        Verb::Delete { token } => {
            let id = token.split('.').next().unwrap_or_default();
            delete(&args.connection.client().await?, id).await
        }
    }
}

/// A new token.
pub(crate) struct Made {
    /// What the joining machine is given.
    pub(crate) token: JoinToken,
    /// Where it asks.
    pub(crate) server: String,
    expires: Timestamp,
}

/// Stores a new token.
pub(crate) async fn create(connection: &Connection, role: Role, ttl: Duration) -> anyhow::Result<Made> {
    let config = connection.config().await?;
    let authority = config.root_cert.as_ref().and_then(|roots| roots.first()).context(
        "the kubeconfig has no certificate authority, whose hash is a part of the token: use the admin.kubeconfig of a member",
    )?;
    let authority = AuthorityHash::of(&CertificateDer::from_slice(authority));
    let server = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let expires = Timestamp::now().checked_add(ttl).context("the token would live too long")?;
    let credential = Credential::draw();
    let client = Client::try_from(config).context("cannot make an API client")?;
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    secrets
        .create(&PostParams::default(), &tokens::secret(&credential, role, expires))
        .await
        .context("cannot store the token")?;
    Ok(Made { token: JoinToken { credential, authority }, server, expires })
}

fn print_made(made: &Made, role: Role, output: Output) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => writeln!(out, "{}", made.token)?,
        Output::Json => {
            let Made { token, server, expires } = made;
            let facts = json!({
                "token": token.to_string(), "role": role.as_str(), "expires": expires.to_string(), "server": server,
            });
            writeln!(out, "{facts}")?;
        }
    }
    Ok(())
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let listed = secrets.list(&ListParams::default().fields(&format!("type={SECRET_TYPE}"))).await?;
    let found: Vec<Described> = listed.items.iter().filter_map(tokens::describe).collect();
    let roles =
        |token: &Described| token.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(",");
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            let token = |token: &Described| json!({ "id": token.id, "roles": roles(token), "expires": token.expires.map(|at| at.to_string()) });
            writeln!(out, "{}", json!({ "tokens": found.iter().map(token).collect::<Vec<_>>() }))?;
        }
        Output::Text if found.is_empty() => eprintln!("There are no tokens: `isopod token create` makes one"),
        Output::Text => {
            writeln!(out, "{:<8} {:<8} EXPIRES", "ID", "ROLE")?;
            for token in &found {
                writeln!(out, "{:<8} {:<8} {}", token.id, roles(token), expiry(token, Timestamp::now()))?;
            }
        }
    }
    Ok(())
}

fn expiry(token: &Described, now: Timestamp) -> String {
    match token.expires {
        Some(at) if at <= now => format!("{at} (expired)"),
        Some(at) => at.to_string(),
        None => "unknown: it lets nobody in".to_owned(),
    }
}

async fn delete(client: &Client, id: &str) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    match secrets.delete(&format!("{NAME_PREFIX}{id}"), &DeleteParams::default()).await {
        Ok(_) => println!("token {id} deleted"),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            bail!("there is no token {id:?}: `isopod token list` shows them all")
        }
        Err(error) => return Err(error).context("cannot delete the token"),
    }
    Ok(())
}

/// Reads the life of a token.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time > TTL_MAX { Err("a token lives for at most 30 days".to_owned()) } else { Ok(time) }
}

/// Reads `90s`, `30m`, `1h`, `7d`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write a number and s, m, h or d, as 30m");
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let time = number.checked_mul(unit).map(Duration::from_secs);
    time.filter(|time| !time.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30d"), Ok(TTL_MAX));
        for bad in ["", "h", "1", "1w", "0s", "31d", "99999999999999999999h", "-1h", "1ä"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
