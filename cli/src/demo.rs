//! `isopod demo`: a cluster, the hello sample deployed on it, requests sent to it, and what to try next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use crate::client::Connection;
use crate::cluster::Cluster;
use crate::steps::{say, step};
use crate::{apply, dev, push, signals};

/// The sample, built from `samples/hello`.
pub(crate) const COMPONENT: &[u8] = include_bytes!("../../samples/hello/hello.wasm");
/// Its objects.
pub(crate) const MANIFESTS: &str = include_str!("../../samples/hello/hello.yaml");
/// Where the manifests expect the component.
pub(crate) const IMAGE: &str = "registry.local/hello:v1";
pub(crate) const NAME: &str = "hello";
pub(crate) const NAMESPACE: &str = "hello";
/// Requests that the demo sends: enough that each of three pods answers some, also when chance decides.
const REQUESTS: usize = 30;
/// Pods of the sample.
const PODS: usize = 3;
/// How long the pods may take to be ready, on a slow machine that compiles the component for the first time.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: dev::Args,
    /// End after the requests, with status 0 when all were answered
    #[arg(long)]
    exit: bool,
}

/// Runs the demo, then stays until Ctrl-C unless `--exit` is given.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let exit = args.exit;
    let mut cluster = step("start a cluster in this process", Box::pin(Cluster::start(args.cluster))).await?;
    let outcome = Box::pin(deploy(&cluster)).await;
    if outcome.is_err() || exit {
        let stopped = cluster.stop().await;
        return outcome.and(stopped);
    }
    say("\nThe cluster stays until Ctrl-C.")?;
    cluster.run_until(signals::interrupted()).await
}

async fn deploy(cluster: &Cluster) -> anyhow::Result<()> {
    let banner = cluster.banner();
    let client = Connection::at(&banner.kubeconfig).client().await?;
    let reference = push::Reference::parse(IMAGE)?;
    let stored = format!("store samples/hello ({} KB) as {IMAGE}", COMPONENT.len() / 1000);
    step(&stored, push::push(&client, COMPONENT.to_vec(), &reference)).await?;
    step("apply its Namespace, Deployment and Service", apply::manifests(&client, MANIFESTS)).await?;
    step("wait for its 3 pods to be ready", Box::pin(ready(&client))).await?;
    let host = format!("{NAME}.{NAMESPACE}.localhost:{}", banner.ingress.port());
    let first = step("send a request through the Service", answer(&banner, &host)).await?;
    let total = cluster.started().elapsed().as_millis();
    say(&format!(
        "\n{total} ms from start to the first answer. GET http://{host}/ says:\n\n  {}\n",
        first.trim()
    ))?;
    balance(&banner, &host).await?;
    say(&format!(
        "\nTry next:\n  export KUBECONFIG={}\n  kubectl get pods -n {NAMESPACE} -o wide\n  kubectl scale deployment/{NAME} -n {NAMESPACE} --replicas 10\n  \
         kubectl logs -n {NAMESPACE} deployment/{NAME}\n  curl http://{host}/",
        banner.kubeconfig.display()
    ))
}

/// Sends the rest of the requests and says which pod answered how many.
async fn balance(banner: &crate::banner::Banner, host: &str) -> anyhow::Result<()> {
    let mut answers = BTreeMap::<String, usize>::new();
    for _ in 0..REQUESTS {
        if answers.len() < PODS {
            // The Deployment counts a pod as ready a moment before the Service sends it requests.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let answer = answer(banner, host).await?;
        *answers.entry(pod_of(&answer)).or_default() += 1;
    }
    say(&format!("{REQUESTS} more requests were answered by:"))?;
    for (pod, count) in answers {
        say(&format!("  {pod:<28} {count}"))?;
    }
    Ok(())
}

/// The pod's name, which the sample says in its answer.
fn pod_of(answer: &str) -> String {
    let name = |word: &&str| word.starts_with("hello-");
    answer
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .find(name)
        .unwrap_or("(unknown)")
        .to_owned()
}

/// Waits until the sample has all its pods.
pub(crate) async fn ready(client: &Client) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let is_ready = |deployment: Option<&Deployment>| {
        let wanted = deployment.and_then(|d| d.spec.as_ref()?.replicas);
        let status = deployment.and_then(|d| d.status.as_ref());
        let observed =
            status.and_then(|s| s.observed_generation) >= deployment.and_then(|d| d.metadata.generation);
        observed && wanted.is_some() && status.and_then(|s| s.ready_replicas) == wanted
    };
    let condition = kube::runtime::wait::await_condition(deployments, NAME, is_ready);
    match tokio::time::timeout(READY_TIMEOUT, condition).await {
        Ok(outcome) => outcome.map(drop).context("cannot watch the Deployment"),
        Err(_) => bail!(
            "the pods were not ready within {} s; `isopod why deployment/{NAME} -n {NAMESPACE}` says what they wait for",
            READY_TIMEOUT.as_secs()
        ),
    }
}

/// An answer. In a folder of an earlier demo the Deployment still says what was ready then, while its pods are only being
/// started, one after the other: until one is, the Service answers 503.
async fn answer(banner: &crate::banner::Banner, host: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        match request(banner, host).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(2)).await,
            answered => return answered,
        }
    }
}

async fn request(banner: &crate::banner::Banner, host: &str) -> anyhow::Result<String> {
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let request =
        http::Request::get(format!("http://{}/", banner.ingress)).header("host", host).body(Empty::new())?;
    let response = client.request(request).await.context("the ingress address does not answer")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        bail!("the Service answered {status}: {}", text.trim());
    }
    Ok(text)
}
