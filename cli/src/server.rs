//! `isopod server`: one member of the control plane, without a node.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use isopod_control::membership::token::JoinToken;
use isopod_control::run::{Began, Beginning, Config, Limits, Member};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::version::Output;
use crate::{logging, signals, token};

/// Arguments of `server`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the member's state; one that has a member already goes on with it
    #[arg(long, env = "ISOPOD_DATA_DIR", value_name = "D")]
    data_dir: PathBuf,
    /// Found a new cluster when the folder is empty
    #[arg(long, conflicts_with = "join")]
    init: bool,
    /// Join a cluster when the folder is empty: address of the API of any of its members
    #[arg(long, value_name = "HOST:6443", requires = "token")]
    join: Option<String>,
    /// What `isopod token create --role server` printed on a machine of that cluster
    #[arg(long, env = "ISOPOD_TOKEN", value_name = "T", hide_env_values = true)]
    token: Option<String>,
    /// Go on alone with what this member has, when most others are lost for good (docs/operations.md)
    #[arg(long, conflicts_with_all = ["init", "join", "reseed"])]
    force_new_cluster: bool,
    /// Set this member's damaged store aside and fetch it anew from the others
    #[arg(long, conflicts_with_all = ["init", "join"])]
    reseed: bool,
    /// Address of the Kubernetes API; port 0 takes any free one
    #[arg(long, env = "ISOPOD_LISTEN", value_name = "A", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Address for the other members; port 0 takes any free one
    #[arg(long, env = "ISOPOD_PEER_LISTEN", value_name = "A", default_value = "127.0.0.1:6444")]
    peer_listen: SocketAddr,
    /// Host by which others reach this machine [default: the addresses listened on]
    #[arg(long, env = "ISOPOD_ADVERTISE_ADDRESS", value_name = "HOST")]
    advertise_address: Option<String>,
    /// Name of the member [default: member-<number>]
    #[arg(long, env = "ISOPOD_NAME", value_name = "N")]
    name: Option<String>,
    /// Range of Service addresses [default: that of the cluster, 127.43.0.0/16 for a new one]
    #[arg(long, env = "ISOPOD_SERVICE_CIDR", value_name = "R")]
    service_cidr: Option<String>,
    /// How long the certificates of nodes last, as 30m, 12h or 365d; a node renews its own after two thirds of it
    #[arg(long, env = "ISOPOD_NODE_CERTIFICATE_TTL", value_name = "TIME", default_value = "365d", value_parser = certificate_life)]
    node_certificate_ttl: Duration,
    /// Requests that read which are worked on at once; each kind of caller has a share (docs/overload.md)
    #[arg(long, env = "ISOPOD_MAX_REQUESTS_INFLIGHT", value_name = "N", default_value_t = Limits::default().reads, value_parser = inflight)]
    max_requests_inflight: usize,
    /// Requests that write which are worked on at once
    #[arg(long, env = "ISOPOD_MAX_MUTATING_REQUESTS_INFLIGHT", value_name = "N", default_value_t = Limits::default().writes, value_parser = inflight)]
    max_mutating_requests_inflight: usize,
    /// Form of the banner
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Every kind of caller needs at least one.
fn inflight(text: &str) -> Result<usize, String> {
    let bounds = 20..=100_000;
    let number = text.parse().map_err(|_| "it must be a number".to_owned())?;
    if bounds.contains(&number) { Ok(number) } else { Err("it must be from 20 to 100000".to_owned()) }
}

/// A node asks for new certificates some seconds before the old ones end, and nobody looks after the machine for years.
fn certificate_life(text: &str) -> Result<Duration, String> {
    let life = token::time(text)?;
    let bounds = Duration::from_secs(10)..=Duration::from_secs(10 * 365 * 86_400);
    if bounds.contains(&life) { Ok(life) } else { Err("it must be from 10s to 3650d".to_owned()) }
}

impl Args {
    fn beginning(&self) -> anyhow::Result<Beginning> {
        match (&self.join, &self.token) {
            (Some(server), Some(token)) => {
                let token: JoinToken = token.parse().context("cannot use the token given with --token")?;
                Ok(Beginning::Join { server: server.clone(), token })
            }
            _ if self.init => Ok(Beginning::Found),
            _ if self.force_new_cluster => Ok(Beginning::ForceNewCluster),
            _ if self.reseed => Ok(Beginning::Reseed),
            _ => Ok(Beginning::Continue),
        }
    }
}

/// Runs until Ctrl-C or SIGTERM, or until the member is removed from its cluster.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let beginning = args.beginning()?;
    logging::to_stderr();
    let config = Config {
        beginning: beginning.clone(),
        data_dir: std::path::absolute(&args.data_dir)?,
        listen: args.listen,
        listen_peers: Some(args.peer_listen),
        advertise: args.advertise_address,
        name: args.name,
        service_cidr: args.service_cidr,
        node_certificate_life: args.node_certificate_ttl,
        limits: Limits { reads: args.max_requests_inflight, writes: args.max_mutating_requests_inflight },
    };
    let member = Box::pin(Member::start(config)).await?;
    report(&member, &beginning);
    let banner = Banner::of(&member);
    let has_state = member.has_state();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let until_signal = async move {
        let mut signal = std::pin::pin!(signals::interrupted());
        // Cancel-safe: the signal is waited for again below.
        tokio::select! {
            () = has_state => banner.print(args.output, started.elapsed())?,
            () = signal.as_mut() => {
                stop.cancel();
                return Ok(());
            }
        }
        signal.await;
        stop.cancel();
        anyhow::Ok(())
    };
    let running = member.run(shutdown);
    let mut running = std::pin::pin!(running);
    // Cancel-safe: the member is pinned outside and awaited to its end.
    tokio::select! {
        outcome = running.as_mut() => return outcome.map_err(Into::into),
        stopped = until_signal => stopped?,
    }
    running.await.map_err(Into::into)
}

/// Says what was done with the folder where that is not what was asked for, and what the person should know.
fn report(member: &Member, asked: &Beginning) {
    match (member.began(), asked) {
        (Began::Continued, Beginning::Found) => {
            eprintln!("note: the folder has a member of a cluster already: it goes on, --init does nothing");
        }
        (Began::Continued, Beginning::Join { .. }) => {
            eprintln!("note: the folder has a member of a cluster already: it goes on, --join does nothing");
        }
        (Began::Joined { warning: Some(warning) }, _) => eprintln!("warning: {warning}"),
        _ => {}
    }
}

/// What is told when the member can be used.
struct Banner {
    name: String,
    number: u64,
    did: &'static str,
    api: String,
    peers: Option<String>,
    kubeconfig: PathBuf,
}

impl Banner {
    fn of(member: &Member) -> Banner {
        Banner {
            name: member.name().to_owned(),
            number: member.id().0,
            did: match member.began() {
                Began::Continued => "is ready",
                Began::Founded => "has founded a cluster and is ready",
                Began::Joined { .. } => "has joined the cluster and is ready",
            },
            api: format!("https://{}", member.api_address()),
            peers: member.peer_address().map(|address| address.to_string()),
            kubeconfig: member.kubeconfig().to_owned(),
        }
    }

    fn print(self, output: Output, elapsed: Duration) -> anyhow::Result<()> {
        let Banner { name, number, did, api, peers, kubeconfig } = self;
        let ms = elapsed.as_millis();
        let mut out = std::io::stdout().lock();
        match output {
            Output::Text => {
                writeln!(out, "member {name} {did} in {ms} ms\n  API      {api}")?;
                writeln!(out, "  members  {}", peers.unwrap_or_default())?;
                writeln!(
                    out,
                    "try next:\n  export KUBECONFIG={}\n  isopod member list",
                    kubeconfig.display()
                )?;
            }
            Output::Json => {
                let facts = json!({
                    "readyMs": ms, "api": api, "peers": peers, "kubeconfig": kubeconfig, "member": number,
                    "name": name, "pid": std::process::id(),
                });
                writeln!(out, "{facts}")?;
            }
        }
        out.flush().context("standard output is closed")
    }
}
