//! A whole cluster in one process: one member with an embedded store, and nodes that talk to it over loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use isopod_control::run::{Beginning, Config, Limits, Member};
use isopod_control::security::ca::LIFE;
use isopod_node::docker::Choice;
use isopod_node::proxy::Sharing;
use isopod_node::run::{Config as NodeConfig, Node};
use isopod_node::runtime::{self, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::banner::Banner;
use crate::{dev, logging, paths};

/// How long the whole cluster may take to stop before the process ends anyway.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A started cluster; its tasks run until they are stopped.
pub(crate) struct Cluster {
    started: Instant,
    api: SocketAddr,
    ingress: SocketAddr,
    kubeconfig: PathBuf,
    log: PathBuf,
    nodes: Vec<String>,
    ready_after: Duration,
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Cluster {
    /// Starts member and nodes; returns when the API answers and every node has registered.
    pub(crate) async fn start(args: dev::Args) -> anyhow::Result<Cluster> {
        let started = Instant::now();
        let data_dir = std::path::absolute(args.data_dir.clone().unwrap_or_else(paths::data_dir))?;
        logging::to_file(&data_dir)?;
        let member = Box::pin(Member::start(Config {
            data_dir: data_dir.clone(),
            beginning: Beginning::Found,
            listen: args.listen,
            listen_peers: None,
            advertise: None,
            name: None,
            service_cidr: Some(args.service_cidr.clone()),
            node_certificate_life: LIFE,
            limits: Limits::default(),
        }))
        .await?;
        let mut cluster = Cluster {
            started,
            api: member.api_address(),
            ingress: args.ingress,
            kubeconfig: member.kubeconfig().to_owned(),
            log: data_dir.join(logging::FILE),
            nodes: Vec::new(),
            ready_after: Duration::ZERO,
            tasks: JoinSet::new(),
            shutdown: CancellationToken::new(),
        };
        let configs = node_configs(&args, &data_dir, &member)?;
        let member_shutdown = cluster.shutdown.clone();
        cluster.tasks.spawn(async move { member.run(member_shutdown).await.context("the member failed") });
        cluster.start_nodes(configs).await?;
        cluster.ready_after = started.elapsed();
        Ok(cluster)
    }

    async fn start_nodes(&mut self, configs: Vec<NodeConfig>) -> anyhow::Result<()> {
        for config in configs {
            let name = config.name.clone();
            // Cancel-safe: a failed part ends the start, and nothing is polled again.
            let node = tokio::select! {
                node = Node::start(config) => node.with_context(|| format!("node {name} did not start"))?,
                Some(ended) = self.tasks.join_next() => return Err(ended?.err().unwrap_or_else(|| anyhow::anyhow!("the cluster ended while it started"))),
            };
            if let Some(ingress) = node.ingress() {
                self.ingress = ingress;
            }
            let shutdown = self.shutdown.clone();
            self.nodes.push(name.clone());
            self.tasks.spawn(async move {
                node.run(shutdown).await.with_context(|| format!("node {name} failed"))
            });
        }
        Ok(())
    }

    /// What to tell the user.
    pub(crate) fn banner(&self) -> Banner {
        Banner {
            ready_after: self.ready_after,
            api: self.api,
            ingress: self.ingress,
            kubeconfig: self.kubeconfig.clone(),
            log: self.log.clone(),
            nodes: self.nodes.clone(),
        }
    }

    /// When the process began to start the cluster.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Waits for `end` or for a part to fail, then stops everything in order.
    pub(crate) async fn run_until(mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        // Cancel-safe: both branches end the loop.
        let failed = tokio::select! {
            () = end => None,
            Some(ended) = self.tasks.join_next() => Some(ended),
        };
        let stopped = self.stop().await;
        match failed {
            Some(ended) => ended?.and_then(|()| bail!("a part of the cluster ended by itself")),
            None => stopped,
        }
    }

    /// Stops every part; the first error of one is returned.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let all = async {
            let mut outcome = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                outcome = outcome.and(ended.map_err(Into::into).flatten());
            }
            outcome
        };
        match tokio::time::timeout(STOP_TIMEOUT, all).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("the cluster did not stop within {} s", STOP_TIMEOUT.as_secs()),
        }
    }
}

fn node_configs(
    args: &dev::Args,
    data_dir: &std::path::Path,
    member: &Member,
) -> anyhow::Result<Vec<NodeConfig>> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ranges = split(&args.pod_cidr, args.nodes)?;
    let several = args.nodes > 1;
    let sharing = if several { Sharing::WithOtherNodes } else { Sharing::Alone };
    let code = data_dir.join("nodes").join("code");
    let runtime = several.then(|| Runtime::new(runtime::Config::new(code))).transpose()?;
    let configs = ranges.into_iter().enumerate().map(|(index, pod_cidr)| {
        let name = if args.nodes == 1 { "isopod".to_owned() } else { format!("isopod-{}", index + 1) };
        let (client, server) = member.node_identity(&name, address)?;
        Ok(NodeConfig {
            data_dir: data_dir.join("nodes").join(&name),
            server: format!("https://{}", member.api_address()),
            authority_pem: member.authority_pem().to_owned(),
            client_certificate_pem: client.certificate_pem,
            client_key_pem: client.key_pem,
            server_certificate_pem: server.certificate_pem,
            server_key_pem: server.key_pem,
            address,
            pod_cidr,
            ingress: (index == 0).then_some(args.ingress),
            sharing,
            runtime: runtime.clone(),
            docker: Choice::of(args.docker.as_deref()),
            // Everything is told anew at every start.
            keep: None,
            name,
        })
    });
    configs.collect()
}

/// Splits the pod range into one equal part for each node.
pub(crate) fn split(cidr: &str, nodes: u8) -> anyhow::Result<Vec<String>> {
    let wrong = || format!("{cidr:?} is not a range of addresses such as 127.42.0.0/16");
    let (base, length) = cidr.split_once('/').with_context(wrong)?;
    let (base, length): (Ipv4Addr, u32) =
        (base.parse().with_context(wrong)?, length.parse().with_context(wrong)?);
    let length = length + u32::from(nodes).next_power_of_two().trailing_zeros();
    if !base.is_loopback() || length > 28 {
        bail!("the pod range {cidr} must lie in 127.0.0.0/8 and give each node at least 16 addresses");
    }
    let step = 1u32 << (32 - length);
    Ok((0..u32::from(nodes))
        .map(|i| format!("{}/{length}", Ipv4Addr::from(u32::from(base) + i * step)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn the_pod_range_is_split_evenly() {
        assert_eq!(split("127.42.0.0/16", 1).expect("valid"), ["127.42.0.0/16"]);
        assert_eq!(
            split("127.42.0.0/16", 3).expect("valid"),
            ["127.42.0.0/18", "127.42.64.0/18", "127.42.128.0/18"]
        );
    }

    #[test]
    fn ranges_outside_loopback_or_too_small_are_refused() {
        for bad in ["10.0.0.0/8", "127.42.0.0/30", "127.42.0.0", "x/16"] {
            assert!(split(bad, 1).is_err(), "{bad}");
        }
    }
}
