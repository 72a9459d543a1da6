//! `isopod server`: one member of the control plane, without a node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use isopod_control::run::{Config, Member};
use tokio_util::sync::CancellationToken;

use crate::version::Output;
use crate::{logging, signals};

/// Arguments of `server`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the member's state
    #[arg(long, env = "ISOPOD_DATA_DIR", value_name = "D")]
    data_dir: PathBuf,
    /// Address of the Kubernetes API; port 0 takes any free one
    #[arg(long, env = "ISOPOD_LISTEN", value_name = "A", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Range of Service addresses
    #[arg(long, env = "ISOPOD_SERVICE_CIDR", value_name = "R", default_value = "10.43.0.0/16")]
    service_cidr: String,
    /// Form of the banner
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    logging::to_stderr();
    let config = Config { data_dir: args.data_dir, listen: args.listen, service_cidr: args.service_cidr };
    let member = Member::start(config).await?;
    let (api, kubeconfig) = (member.api_address(), member.kubeconfig().to_owned());
    let elapsed = started.elapsed().as_millis();
    match args.output {
        Output::Text => println!(
            "member is ready in {elapsed} ms\n  API      https://{api}\n  export KUBECONFIG={}",
            kubeconfig.display()
        ),
        Output::Json => println!(
            "{}",
            serde_json::json!({ "readyMs": elapsed, "api": format!("https://{api}"), "kubeconfig": kubeconfig, "pid": std::process::id() })
        ),
    }
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let signal = async move {
        signals::interrupted().await;
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(member.run(shutdown), signal);
    outcome.map_err(Into::into)
}
