//! `isopod logs`: what the containers of one or many pods print.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use futures::stream::FuturesUnordered;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::client::Connection;
use crate::target::{self, Scope};

/// Pods followed at once: each holds a connection's stream open.
const PODS_MAX: usize = 64;

/// Arguments of `logs`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A pod's name, or KIND/NAME of what owns pods, as deployment/web
    #[arg(value_name = "OBJECT", required_unless_present = "selector")]
    object: Option<String>,
    /// All pods with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "object")]
    selector: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// One container of the pod
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Go on as lines are printed
    #[arg(short, long)]
    follow: bool,
    /// The container that ran before the present one
    #[arg(short, long)]
    previous: bool,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<i64>,
    /// Only lines of the last seconds
    #[arg(long, value_name = "SECONDS")]
    since: Option<i64>,
    /// The time before each line
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the lines; with more than one pod, each line begins with its pod's name.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let namespace = args.scope.resolve(&client).to_owned();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let names = pods_of(&args, &client, &pods, &namespace).await?;
    if names.len() > PODS_MAX {
        bail!("{} pods match; at most {PODS_MAX} can be read at once, so narrow the selector", names.len());
    }
    let params = LogParams {
        container: args.container.clone(),
        follow: args.follow,
        previous: args.previous,
        tail_lines: args.tail,
        since_seconds: args.since,
        timestamps: args.timestamps,
        ..LogParams::default()
    };
    let many = names.len() > 1;
    let mut readers: FuturesUnordered<_> =
        names.iter().map(|name| copy(&pods, name, &params, many)).collect();
    while let Some(ended) = readers.next().await {
        ended?;
    }
    Ok(())
}

async fn copy(pods: &Api<Pod>, name: &str, params: &LogParams, many: bool) -> anyhow::Result<()> {
    let stream =
        pods.log_stream(name, params).await.with_context(|| format!("cannot read the logs of pod {name}"))?;
    let mut lines = std::pin::pin!(stream.lines());
    while let Some(line) = lines.next().await {
        let line = line.with_context(|| format!("the logs of pod {name} broke off"))?;
        let mut out = std::io::stdout().lock();
        if many { writeln!(out, "{name}  {line}")? } else { writeln!(out, "{line}")? }
    }
    Ok(())
}

/// The pods meant: by selector, by the selector of their owner, or the one named.
async fn pods_of(
    args: &Args,
    client: &Client,
    pods: &Api<Pod>,
    namespace: &str,
) -> anyhow::Result<Vec<String>> {
    let selector = match (&args.selector, args.object.as_deref()) {
        (Some(selector), _) => selector.clone(),
        (None, Some(object)) if object.contains('/') => {
            let target = target::one(object)?;
            if target.kind.plural == "pods" {
                return Ok(target.names);
            }
            selector_of(client, &target, namespace).await?
        }
        (None, name) => return Ok(name.map(Into::into).into_iter().collect()),
    };
    let found = pods.list(&ListParams::default().labels(&selector)).await?;
    let names: Vec<String> = found.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    if names.is_empty() {
        bail!("no pod in namespace {namespace} has the labels {selector}");
    }
    Ok(names)
}

/// `spec.selector` of a workload or a Service, as a label selector's text.
async fn selector_of(client: &Client, target: &target::Target, namespace: &str) -> anyhow::Result<String> {
    let path = target::object(target.kind, namespace, &target.names[0]);
    let owner: Value = client.request(http::Request::get(path).body(Vec::new())?).await?;
    let selector = &owner["spec"]["selector"];
    let labels = selector["matchLabels"].as_object().or_else(|| selector.as_object());
    let labels = labels.filter(|labels| !labels.is_empty());
    let labels = labels.with_context(|| format!("{} selects no pods", target.kind.singular))?;
    let pairs = labels.iter().filter_map(|(key, value)| value.as_str().map(|value| format!("{key}={value}")));
    Ok(pairs.collect::<Vec<_>>().join(","))
}
