//! `isopod dev`: a whole cluster in this process, until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::signals;
use crate::version::Output;

/// Arguments of `dev`, shared with `demo`.
#[derive(clap::Args, Clone)]
#[group(skip)]
pub(crate) struct Args {
    /// Folder of all state [default: the user's data folder, then isopod]
    #[arg(long, env = "ISOPOD_DATA_DIR", value_name = "D")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the Kubernetes API; port 0 takes any free one
    #[arg(long, env = "ISOPOD_LISTEN", value_name = "A", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,
    /// Address that answers for every Service as http://<service>.<namespace>.localhost
    #[arg(long, env = "ISOPOD_INGRESS", value_name = "A", default_value = "127.0.0.1:8080")]
    pub(crate) ingress: SocketAddr,
    /// How many nodes to run in this process
    #[arg(long, env = "ISOPOD_NODES", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Socket of the Docker daemon that runs other images than WebAssembly, or none [default: /var/run/docker.sock if
    /// it is there]
    #[arg(long, env = "DOCKER_HOST", value_name = "SOCKET")]
    pub(crate) docker: Option<String>,
    /// Range of pod addresses, inside 127.0.0.0/8
    #[arg(long, env = "ISOPOD_POD_CIDR", value_name = "R", default_value = "127.42.0.0/16")]
    pub(crate) pod_cidr: String,
    /// Range of Service addresses, inside 127.0.0.0/8
    #[arg(long, env = "ISOPOD_SERVICE_CIDR", value_name = "R", default_value = "127.43.0.0/16")]
    pub(crate) service_cidr: String,
    /// Form of the banner
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// Runs until Ctrl-C, SIGTERM, or a part of the cluster fails.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let output = args.output;
    let cluster = Box::pin(Cluster::start(args)).await?;
    let banner = cluster.banner();
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => banner.text(&mut out)?,
        Output::Json => banner.json(&mut out)?,
    }
    drop(out);
    cluster.run_until(signals::interrupted()).await
}
