//! `isopod drill`: a cluster of several members and nodes on this machine, the hello sample on it, and under steady
//! load one process after the other killed, paused or asked to hand over; then what users would have noticed.

mod fleet;
mod load;
mod report;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use isopod_control::membership::protocol::{Done, HandOver, LEADER};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::fleet::Fleet;
use self::load::Seen;
use self::report::Effect;
use crate::cluster::split;
use crate::steps::{say, step};
use crate::version::Output;
use crate::{apply, demo, member, push, signals};

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

/// The load runs alone for so long before and after each fault.
const STEADY: Duration = Duration::from_secs(2);
/// How long a member that leads is paused.
const PAUSE: Duration = Duration::from_secs(3);
/// How long it may take until writes and requests go on.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Arguments of `drill`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Members of the control plane
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=5))]
    members: u8,
    /// Nodes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=5))]
    nodes: u8,
    /// How often every fault is repeated
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
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

/// Runs the drill; fails when something that was acknowledged is gone, or when the cluster does not heal.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
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
    let clients: Vec<Client> = fleet.members.iter().map(|member| member.client.clone()).collect();
    let load = tokio::spawn(load::run(address, clients, WRITES, seen.clone(), stop.clone()));
    show.line(&format!("steady load on http://{address}/ and on the API"))?;
    let loaded = Instant::now();
    tokio::time::sleep(STEADY).await;
    let mut effects = Vec::new();
    for _ in 0..args.rounds {
        for fault in faults(fleet.nodes.len()) {
            effects.push(Box::pin(one(&mut fleet, fault, &seen, show)).await?);
        }
    }
    stop.cancel();
    load.await.context("the load has panicked")?;
    let lost = lost(&fleet, &seen).await?;
    let requests = seen.requests_since(loaded);
    let failed = requests.iter().filter(|request| request.failure.is_some()).count();
    let writes = seen.writes().len();
    if args.output == Output::Json {
        let facts = json!({
            "faults": effects.iter().map(Effect::to_json).collect::<Vec<_>>(),
            "writes": { "acknowledged": writes, "lost": lost.len() },
            "requests": { "sent": requests.len(), "failed": failed },
        });
        say(&facts.to_string())?;
    } else {
        say(&format!(
            "\n{} faults: {writes} writes acknowledged, {} lost; {} requests, {failed} failed",
            effects.len(),
            lost.len(),
            requests.len()
        ))?;
    }
    ensure!(lost.is_empty(), "writes that had been acknowledged are gone: {}", lost.join(", "));
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

/// What is done to the cluster.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillLeader,
    KillFollower,
    PauseLeader,
    HandOver,
    KillNode(usize),
}

fn faults(nodes: usize) -> Vec<Fault> {
    let mut faults = vec![Fault::KillLeader, Fault::KillFollower, Fault::HandOver, Fault::PauseLeader];
    faults.extend((0..nodes).map(Fault::KillNode));
    faults
}

/// One fault: does it, waits until users are well again, puts right what was done, and waits until all is well.
async fn one(fleet: &mut Fleet, fault: Fault, seen: &Seen, show: Show) -> anyhow::Result<Effect> {
    let leader = fleet.leader().await?;
    let follower = (leader + 1) % fleet.members.len();
    let name = |place: usize| fleet.members[place].process.name.clone();
    let what = match fault {
        Fault::KillLeader => format!("kill -9 {}, which leads", name(leader)),
        Fault::KillFollower => format!("kill -9 {}, which follows", name(follower)),
        Fault::PauseLeader => {
            format!("pause {}, which leads, for {} s (SIGSTOP)", name(leader), PAUSE.as_secs())
        }
        Fault::HandOver => format!("let {} hand over to {}", name(leader), name(follower)),
        Fault::KillNode(node) => format!("kill -9 {}", fleet.nodes[node].name),
    };
    show.line(&what)?;
    let at = Instant::now();
    match fault {
        Fault::KillLeader => fleet.members[leader].process.kill().await?,
        Fault::KillFollower => fleet.members[follower].process.kill().await?,
        Fault::PauseLeader => {
            fleet.members[leader].process.pause()?;
            tokio::time::sleep(PAUSE).await;
            fleet.members[leader].process.resume()?;
        }
        Fault::HandOver => {
            let to = Some(name(follower));
            let body = serde_json::to_vec(&HandOver { to })?;
            let _: Done =
                member::ask(&fleet.members[leader].client, http::Method::POST, LEADER, body).await?;
        }
        Fault::KillNode(node) => fleet.nodes[node].kill().await?,
    }
    recovered(&what, at, seen, show).await?;
    tokio::time::sleep(STEADY).await;
    let dir = fleet.dir().to_owned();
    let again = match fault {
        Fault::KillLeader => Some(&mut fleet.members[leader].process),
        Fault::KillFollower => Some(&mut fleet.members[follower].process),
        Fault::KillNode(node) => Some(&mut fleet.nodes[node]),
        Fault::PauseLeader | Fault::HandOver => None,
    };
    let restarted = Instant::now();
    let restarts = again.is_some();
    if let Some(process) = again {
        process.start(&dir).await?;
    }
    fleet.all_well().await?;
    let well_after = restarted.elapsed();
    tokio::time::sleep(STEADY).await;
    let effect = recovered(&what, at, seen, show).await?;
    effect.lines().iter().try_for_each(|line| show.detail(line))?;
    if restarts {
        show.detail(&format!("started again, well after {:.0} ms", well_after.as_secs_f64() * 1000.0))?;
    }
    Ok(effect)
}

/// Waits until a write and a request went well that were begun after the fault.
async fn recovered(what: &str, at: Instant, seen: &Seen, show: Show) -> anyhow::Result<Effect> {
    loop {
        match Effect::of(what, show.started, at, seen) {
            Some(effect) => return Ok(effect),
            None if at.elapsed() > RECOVERY_TIMEOUT => {
                bail!("{what}: writes or requests did not go on within {} s", RECOVERY_TIMEOUT.as_secs())
            }
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
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

/// How the steps are shown.
#[derive(Clone, Copy)]
struct Show {
    started: Instant,
    /// Nothing but the result goes to standard output.
    quiet: bool,
}

impl Show {
    async fn step<T>(self, what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        if self.quiet {
            return work.await.with_context(|| format!("could not {what}"));
        }
        step(what, work).await
    }

    fn line(self, text: &str) -> anyhow::Result<()> {
        self.say(&format!("\n{:6.1} s  {text}", self.started.elapsed().as_secs_f64()))
    }

    fn detail(self, text: &str) -> anyhow::Result<()> {
        self.say(&format!("          {text}"))
    }

    fn say(self, text: &str) -> anyhow::Result<()> {
        if self.quiet {
            eprintln!("{text}");
            return Ok(());
        }
        say(text)
    }
}

/// Where the processes keep their data.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(given: Option<&Path>) -> anyhow::Result<Folder> {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("isopod-drill-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut entries =
            std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} is not empty: a drill begins with a new cluster",
            path.display()
        );
        Ok(Folder { path, temporary: given.is_none() })
    }

    fn keep_for_reading(&self) -> String {
        if self.temporary {
            "the drill failed; with --data-dir its logs are kept".to_owned()
        } else {
            format!("the drill failed; what its processes logged is in {}", self.path.display())
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("note: {} could not be removed: {error}", self.path.display());
        }
    }
}
