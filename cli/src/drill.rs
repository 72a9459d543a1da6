//! `isopod drill`: a cluster of several members and nodes on this machine, the hello sample on it, and under steady
//! load one process after the other killed, paused or asked to hand over; then what users would have noticed.

mod fault;
mod fleet;
mod folder;
mod load;
mod pods;
mod report;
mod show;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::ListParams;
use tokio_util::sync::CancellationToken;

use self::fault::Word;
use self::fleet::Fleet;
use self::folder::Folder;
use self::load::Seen;
use self::report::Total;
use self::show::Show;
use crate::cluster::split;
use crate::steps::say;
use crate::version::Output;
use crate::{apply, demo, push, signals, token};

/// Besides the sample: a port that needs no rights, and a namespace for what is written.
const MANIFESTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: drill, namespace: hello}
spec: {selector: {app: hello}, ports: [{port: 8080, targetPort: 80}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: drill}
";
const SERVICE: &str = "drill";
const WRITES: &str = "drill";
const PORT: u16 = 8080;

/// The load runs alone for so long before the first fault.
const STEADY: Duration = Duration::from_secs(2);
/// How long it may take until writes and requests go on.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Arguments of `drill`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Members of the control plane at the start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    members: u8,
    /// Nodes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=5))]
    nodes: u8,
    /// What is done, in this order
    #[arg(long, value_name = "FAULT,…", value_enum, value_delimiter = ',', default_values_t = Word::DEFAULT)]
    faults: Vec<Word>,
    /// How often all of that is done
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Begin another round until so much time has passed, as 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = token::time, conflicts_with = "rounds")]
    duration: Option<Duration>,
    /// Mix the order of each round; the same number mixes in the same way
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Range of pod addresses, inside 127.0.0.0/8
    #[arg(long, env = "ISOPOD_POD_CIDR", value_name = "R", default_value = "127.42.0.0/16")]
    pod_cidr: String,
    /// Range of Service addresses, inside 127.0.0.0/8
    #[arg(long, env = "ISOPOD_SERVICE_CIDR", value_name = "R", default_value = "127.43.0.0/16")]
    service_cidr: String,
    /// Folder for all processes, which must be empty; it is kept [default: a temporary one, which is removed]
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// Form of the result; the steps go to standard error with json
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the drill; fails when something that was acknowledged is gone, when the API failed in a way that no client tries
/// again after, or when the cluster does not heal.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    fault::check(&args.faults, args.members)?;
    let folder = Folder::open(args.data_dir.as_deref())?;
    // Cancel-safe: dropping the drill kills its processes.
    let outcome = tokio::select! {
        outcome = Box::pin(drill(&args, &folder.path)) => outcome,
        () = signals::interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    outcome.with_context(|| folder.keep_for_reading())
}

async fn drill(args: &Args, dir: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let show = Show { started, quiet: args.output == Output::Json };
    let mut fleet = start(args, dir, show).await?;
    let address = deploy(&fleet, show).await?;
    let (seen, stop) = (Seen::default(), CancellationToken::new());
    let load = tokio::spawn(load::run(address, fleet.clients(), WRITES, seen.clone(), stop.clone()));
    show.line(&format!("steady load on http://{address}/ and on the API"))?;
    let loaded = Instant::now();
    tokio::time::sleep(STEADY).await;
    let mut effects = Vec::new();
    for round in 0.. {
        let over = args.duration.map_or(round >= u64::from(args.rounds), |time| loaded.elapsed() >= time);
        if over {
            break;
        }
        for fault in fault::order(&args.faults, fleet.nodes.len(), args.seed.map(|seed| seed + round)) {
            effects.push(Box::pin(fault::carry_out(fault, &mut fleet, &seen, show)).await?);
        }
    }
    stop.cancel();
    load.await.context("the load has panicked")?;
    let lost = lost(&fleet, &seen).await?;
    let total = Total::of(&seen, loaded, &lost);
    match args.output {
        Output::Json => say(&total.to_json(&effects, args.seed).to_string())?,
        Output::Text => say(&format!("\n{}\n{}", report::table(&effects), total.line(effects.len())))?,
    }
    ensure!(lost.is_empty(), "writes that had been acknowledged are gone: {}", lost.join(", "));
    ensure!(
        total.refused.is_empty(),
        "the API refused what it should not have: {}",
        total.refused.join("; ")
    );
    Ok(())
}

async fn start(args: &Args, dir: &Path, show: Show) -> anyhow::Result<Fleet> {
    let mut fleet = show.step("start the first member", Fleet::found(dir, &args.service_cidr)).await?;
    for number in 2..=args.members {
        show.step(&format!("let member {number} join"), fleet.grow()).await?;
    }
    for (range, number) in split(&args.pod_cidr, args.nodes)?.iter().zip(1..) {
        show.step(&format!("let node {number} join"), fleet.add_node(range)).await?;
    }
    Ok(fleet)
}

/// Deploys the sample, with two pods for each node; returns where it answers.
async fn deploy(fleet: &Fleet, show: Show) -> anyhow::Result<SocketAddr> {
    let client = fleet.members[0].client.clone();
    let reference = push::Reference::parse(demo::IMAGE)?;
    show.step("store the hello sample", push::push(&client, demo::COMPONENT.to_vec(), &reference)).await?;
    let replicas = 2 * fleet.nodes.len();
    let sample = demo::MANIFESTS.replace("replicas: 3", &format!("replicas: {replicas}"));
    let apply = async {
        apply::manifests(&client, &sample).await?;
        apply::manifests(&client, MANIFESTS).await
    };
    show.step("apply it", apply).await?;
    let ready = Box::pin(demo::ready(&client));
    show.step(&format!("wait for its {replicas} pods to be ready"), ready).await?;
    let services: Api<Service> = Api::namespaced(client, demo::NAMESPACE);
    let address = services.get(SERVICE).await?.spec.and_then(|spec| spec.cluster_ip);
    let address = address.context("the Service has no address")?;
    let address = SocketAddr::new(address.parse().context("the Service's address is none")?, PORT);
    show.step(&format!("wait for an answer of {address}"), answers(address)).await?;
    Ok(address)
}

async fn answers(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        ensure!(Instant::now() < deadline, "nobody listens at {address}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Acknowledged writes that a member does not have.
async fn lost(fleet: &Fleet, seen: &Seen) -> anyhow::Result<Vec<String>> {
    let mut lost = Vec::new();
    for member in &fleet.members {
        let objects: Api<ConfigMap> = Api::namespaced(member.client.clone(), WRITES);
        let listed = objects.list_metadata(&ListParams::default()).await?;
        let there: BTreeSet<String> =
            listed.items.into_iter().filter_map(|object| object.metadata.name).collect();
        let names = seen.writes().into_iter().map(|write| load::name_of(write.number));
        let gone = names.filter(|name| !there.contains(name));
        lost.extend(gone.map(|write| format!("{write} on {}", member.process.name)));
    }
    Ok(lost)
}
