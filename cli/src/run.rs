//! `isopod run REF`: a Deployment of an artifact, and with `--port` a Service in front of it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use crate::apply;
use crate::client::Connection;
use crate::target::Scope;

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The artifact, as registry.local/app:v1
    #[arg(value_name = "REF")]
    image: String,
    /// Name of the Deployment and the Service [default: the last part of REF]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Port that the component serves; a Service of the same name is made for it
    #[arg(short, long, value_name = "P")]
    port: Option<u16>,
    /// How many pods
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u16,
    /// Environment variable, as KEY=VALUE; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Print the manifests, change nothing
    #[arg(long)]
    emit: bool,
    /// Do not wait until the pods are ready
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

/// How long the pods may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Makes the objects and waits until they work.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let name = args.name.clone().unwrap_or_else(|| name_of(&args.image));
    let manifests = manifests(&args, &name)?;
    if args.emit {
        for manifest in &manifests {
            print!("---\n{}", serde_saphyr::to_string(manifest)?);
        }
        return Ok(());
    }
    let client = args.connection.client().await?;
    let namespace = args.scope.resolve(&client).to_owned();
    for manifest in &manifests {
        println!("{}", apply::value(&client, &namespace, manifest.clone()).await?);
    }
    if !args.no_wait {
        let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
        let condition = kube::runtime::wait::await_condition(deployments, &name, is_available);
        if tokio::time::timeout(READY_TIMEOUT, condition).await.is_err() {
            bail!(
                "deployment {name} is not ready after {} s; `isopod why deployment/{name} -n {namespace}` says why",
                READY_TIMEOUT.as_secs()
            );
        }
        println!("deployment/{name} is ready");
    }
    if args.port.is_some() {
        println!(
            "in the cluster it is http://{name}.{namespace}; on a `dev` cluster of this machine http://{name}.{namespace}.localhost:8080"
        );
    }
    Ok(())
}

fn is_available(deployment: Option<&Deployment>) -> bool {
    let wanted = deployment.and_then(|d| d.spec.as_ref()?.replicas);
    let status = deployment.and_then(|d| d.status.as_ref());
    wanted.is_some() && status.and_then(|s| s.updated_replicas.and(s.available_replicas)) == wanted
}

/// The last path component of a reference, without tag or digest.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split(['@', ':']).next().unwrap_or(last).replace(['_', '.'], "-").to_lowercase()
}

fn manifests(args: &Args, name: &str) -> anyhow::Result<Vec<Value>> {
    let env = args.env.iter().map(|pair| {
        let (key, value) = pair.split_once('=').with_context(|| format!("{pair:?} is not KEY=VALUE"))?;
        Ok(json!({ "name": key, "value": value }))
    });
    let env = env.collect::<anyhow::Result<Vec<Value>>>()?;
    let labels = json!({ "app": name });
    let ports = args.port.map(|port| json!([{ "containerPort": port }]));
    let mut container = json!({ "name": name, "image": args.image });
    if let Some(ports) = ports {
        container["ports"] = ports;
    }
    if !env.is_empty() {
        container["env"] = env.into();
    }
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": args.replicas,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
        },
    });
    let service = args.port.map(|port| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "labels": labels },
            "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": port }] },
        })
    });
    Ok(std::iter::once(deployment).chain(service).collect())
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn names_come_from_the_reference() {
        for (image, name) in [
            ("registry.local/team/my_app:v1", "my-app"),
            ("ghcr.io/x/Web@sha256:00", "web"),
            ("hello", "hello"),
            ("registry.local:5000/a/b", "b"),
        ] {
            assert_eq!(name_of(image), name);
        }
    }
}
