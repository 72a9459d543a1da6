//! `isopod node`: one node, which runs pods for a cluster of `isopod server` members.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use isopod_control::membership::join;
use isopod_control::membership::protocol::{self, NodeAnswer, NodeRequest};
use isopod_control::membership::token::JoinToken;
use isopod_control::security::ca::write_private;
use isopod_node::docker::Choice;
use isopod_node::known::Known;
use isopod_node::proxy::Sharing;
use isopod_node::run::{Config, Node};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::version::Output;
use crate::{logging, signals};

/// What the data folder says of its node: its identity too, so nobody else may read it.
const FILE: &str = "node.json";
/// The format that is written, and the newest that is read.
const VERSION: u32 = 1;

/// Arguments of `node`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the node's state; one that joined already needs no token
    #[arg(long, env = "ISOPOD_DATA_DIR", value_name = "D")]
    data_dir: PathBuf,
    /// Addresses of the API of members, of which the first that answers is used [default: all that it knows]
    #[arg(long, env = "ISOPOD_SERVER", value_name = "HOST:6443", value_delimiter = ',')]
    server: Vec<String>,
    /// What `isopod token create --role node` printed on a machine of that cluster
    #[arg(long, env = "ISOPOD_TOKEN", value_name = "T", hide_env_values = true)]
    token: Option<String>,
    /// Name of the node [default: the host's name]
    #[arg(long, env = "ISOPOD_NAME", value_name = "N")]
    name: Option<String>,
    /// Address of the node, inside 127.0.0.0/8
    #[arg(long, env = "ISOPOD_ADDRESS", value_name = "A", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Range of pod addresses, inside 127.0.0.0/8 [default: a free one of the cluster's]
    #[arg(long, env = "ISOPOD_POD_CIDR", value_name = "R")]
    pod_cidr: Option<String>,
    /// Address that answers for every Service as http://<service>.<namespace>.localhost; port 0 takes any free one
    #[arg(long, env = "ISOPOD_INGRESS", value_name = "A")]
    ingress: Option<SocketAddr>,
    /// Socket of the Docker daemon that runs other images than WebAssembly, or none [default: /var/run/docker.sock if
    /// it is there]
    #[arg(long, env = "DOCKER_HOST", value_name = "SOCKET")]
    docker: Option<String>,
    /// Form of the banner
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// A node that joined a cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    version: u32,
    name: String,
    address: IpAddr,
    #[serde(flatten)]
    given: NodeAnswer,
}

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    logging::to_stderr();
    let data_dir = std::path::absolute(&args.data_dir)?;
    let joined = match read(&data_dir)? {
        Some(joined) => {
            if args.token.is_some() {
                eprintln!(
                    "note: the folder has node {} of a cluster already: it goes on, --token does nothing",
                    joined.name
                );
            }
            joined
        }
        None => join(&args, &data_dir).await?,
    };
    let name = joined.name.clone();
    let node = Node::start(config(&args, data_dir, joined)).await;
    let node = node.with_context(|| format!("node {name} did not start"))?;
    banner(&name, &node, args.output, started.elapsed())?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let signal = async move {
        signals::interrupted().await;
        stop.cancel();
    };
    let running = node.run(shutdown);
    let mut running = std::pin::pin!(running);
    // Cancel-safe: the node is pinned outside and awaited to its end.
    tokio::select! {
        outcome = running.as_mut() => return outcome.map_err(Into::into),
        () = signal => {}
    }
    running.await.map_err(Into::into)
}

/// Asks the members, one after the other, to be let in; the answer is on the disk before it is used.
async fn join(args: &Args, data_dir: &Path) -> anyhow::Result<Joined> {
    let (Some(token), [_, ..]) = (&args.token, &args.server[..]) else {
        bail!(
            "{} has no node yet: to join a cluster, name a member with --server HOST:6443 and give what `isopod token create --role node` prints there with --token",
            data_dir.display()
        );
    };
    let token: JoinToken = token.parse().context("cannot use the token given with --token")?;
    let name = args.name.clone().map_or_else(host_name, Ok)?;
    let mut request = NodeRequest {
        version: protocol::VERSION,
        token: token.credential.to_string(),
        name: name.clone(),
        address: args.address,
        time: 0,
        pod_cidr: args.pod_cidr.clone(),
    };
    let mut outcome = Err(anyhow::anyhow!("no member was named"));
    for server in &args.server {
        request.time = Timestamp::now().as_second();
        let answer = join::join_as_node(server, token.authority, &request).await;
        let refused = matches!(answer, Err(join::Error::Refused { .. }));
        outcome = answer.context("cannot join the cluster");
        // What one member refuses, all do.
        if outcome.is_ok() || refused {
            break;
        }
    }
    let joined = Joined { version: VERSION, name, address: args.address, given: outcome? };
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
    write(data_dir, &joined).context("cannot keep what the cluster answered")?;
    Ok(joined)
}

fn write(data_dir: &Path, joined: &Joined) -> anyhow::Result<()> {
    Ok(write_private(&data_dir.join(FILE), &serde_json::to_vec_pretty(joined)?)?)
}

/// Writes the file again with what the node has learned.
fn keep(data_dir: &Path, mut joined: Joined, known: &Known) -> anyhow::Result<()> {
    let servers = known.servers.iter().map(|server| server.trim_start_matches("https://").to_owned());
    let given = &mut joined.given;
    if !known.servers.is_empty() {
        given.servers = servers.collect();
    }
    given.client_certificate_pem.clone_from(&known.client.certificate_pem);
    given.client_key_pem.clone_from(&known.client.key_pem);
    given.server_certificate_pem.clone_from(&known.server.certificate_pem);
    given.server_key_pem.clone_from(&known.server.key_pem);
    write(data_dir, &joined)
}

fn read(data_dir: &Path) -> anyhow::Result<Option<Joined>> {
    let path = data_dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let joined: Joined = serde_json::from_slice(&text).with_context(|| {
        format!("{} is damaged: put it back from a backup, or remove it and join again", path.display())
    })?;
    if joined.version > VERSION {
        bail!("{} has format {}, this release knows formats up to {VERSION}", path.display(), joined.version);
    }
    Ok(Some(joined))
}

fn config(args: &Args, data_dir: PathBuf, joined: Joined) -> Config {
    let (folder, known_before) = (data_dir.clone(), joined.clone());
    let keep = move |known: &Known| {
        keep(&folder, known_before.clone(), known)
            .map_err(|error| std::io::Error::other(format!("{error:#}")))
    };
    let Joined { name, address, given, .. } = joined;
    let mut servers = args.server.clone();
    servers.extend(given.servers.into_iter().filter(|server| !args.server.contains(server)));
    let servers: Vec<String> = servers.iter().map(|server| format!("https://{server}")).collect();
    Config {
        name,
        data_dir,
        server: servers.join(","),
        authority_pem: given.authority_pem,
        client_certificate_pem: given.client_certificate_pem,
        client_key_pem: given.client_key_pem,
        server_certificate_pem: given.server_certificate_pem,
        server_key_pem: given.server_key_pem,
        address,
        pod_cidr: given.pod_cidr,
        ingress: args.ingress,
        // Other nodes of the cluster are on this machine too.
        sharing: Sharing::WithOtherNodes,
        runtime: None,
        docker: Choice::of(args.docker.as_deref()),
        keep: Some(Arc::new(keep)),
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("the host's name cannot be read: name the node with --name")?;
    Ok(name.trim().to_lowercase())
}

fn banner(name: &str, node: &Node, output: Output, elapsed: Duration) -> anyhow::Result<()> {
    let (ms, ingress) = (elapsed.as_millis(), node.ingress().map(|ingress| format!("http://{ingress}")));
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => {
            writeln!(out, "node {name} is ready in {ms} ms")?;
            if let Some(ingress) = node.ingress() {
                writeln!(out, "  services http://<service>.<namespace>.localhost:{}", ingress.port())?;
            }
            writeln!(out, "try next:\n  kubectl get nodes")?;
        }
        Output::Json => {
            let facts = json!({ "readyMs": ms, "name": name, "ingress": ingress, "pid": std::process::id() });
            writeln!(out, "{facts}")?;
        }
    }
    out.flush().context("standard output is closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = std::env::temp_dir().join(format!("isopod-node-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        assert!(read(&folder).expect("an empty folder is sound").is_none());
        let path = folder.join(FILE);
        let error = |text: &str| {
            std::fs::write(&path, text).expect("it can be written");
            read(&folder).err().expect("refused").to_string()
        };
        assert!(error("{").contains("node.json is damaged"));
        let later = json!({
            "version": VERSION + 1, "name": "n", "address": "127.0.0.1", "authorityPem": "",
            "clientCertificatePem": "", "clientKeyPem": "", "serverCertificatePem": "", "serverKeyPem": "",
            "podCidr": "", "serviceCidr": "", "servers": [],
        });
        assert!(error(&later.to_string()).contains("has format 2"));
        std::fs::remove_dir_all(&folder).expect("it can be removed");
    }
}
