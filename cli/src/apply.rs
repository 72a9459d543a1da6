//! `isopod apply -f FILE`: makes the cluster hold what the manifests say.
//!
//! An object that is missing is created; one that is there is patched by the difference between what was
//! applied last (kept in the annotation that `kubectl apply` uses too, so the two can be mixed) and now.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Api, Client};
use serde_json::{Map, Value};

use crate::client::Connection;

/// Where `kubectl apply` remembers what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The name under which this command owns fields.
const MANAGER: &str = "isopod-apply";

/// Arguments of `apply`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Manifest file, folder of .yaml, .yml and .json files, or - for standard input; repeatable
    #[arg(short, long, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Namespace of objects that name none [default: that of the context]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Check everything on the server, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Applies the files in the order given and prints one line for each object.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let namespace = args.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
    for file in &args.filename {
        for (origin, text) in read(file)? {
            let objects = parse(&text).with_context(|| format!("{origin} cannot be applied"))?;
            for object in objects {
                let applied = one(&client, &namespace, args.dry_run, object)
                    .await
                    .with_context(|| format!("{origin} cannot be applied"))?;
                println!("{applied}{}", if args.dry_run { " (server dry run)" } else { "" });
            }
        }
    }
    Ok(())
}

/// Applies all documents of a YAML text.
pub(crate) async fn manifests(client: &Client, text: &str) -> anyhow::Result<()> {
    for object in parse(text)? {
        one(client, client.default_namespace(), false, object).await?;
    }
    Ok(())
}

/// Applies one object that is already a tree; returns what happened to it, in words.
pub(crate) async fn value(client: &Client, namespace: &str, manifest: Value) -> anyhow::Result<String> {
    one(client, namespace, false, object(manifest)?).await
}

/// The texts that a path names, each with the name to show in errors.
fn read(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(vec![("standard input".into(), text)]);
    }
    let shown = |path: &Path| path.display().to_string();
    let read_one = |path: &Path| -> anyhow::Result<(String, String)> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", shown(path)))?;
        Ok((shown(path), text))
    };
    if !path.is_dir() {
        return Ok(vec![read_one(path)?]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {}", shown(path)))? {
        files.push(entry?.path());
    }
    files.sort();
    let manifest =
        |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    files.iter().filter(|path| manifest(path)).map(|path| read_one(path)).collect()
}

/// The documents of a YAML (or JSON) text; empty documents are passed over.
fn parse(text: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("not valid YAML")?;
    let objects = documents.into_iter().filter(|document| !document.is_null());
    objects
        .enumerate()
        .map(|(index, document)| object(document).with_context(|| format!("document {}", index + 1)))
        .collect()
}

fn object(document: Value) -> anyhow::Result<DynamicObject> {
    if !document.is_object() {
        bail!("an object with apiVersion, kind and metadata is expected, not {document}");
    }
    let object: DynamicObject =
        serde_json::from_value(document).context("apiVersion, kind or metadata are wrong")?;
    if object.types.is_none() {
        bail!("apiVersion and kind must be set");
    }
    Ok(object)
}

/// Creates or patches one object; returns `kind/name created|configured|unchanged`.
async fn one(
    client: &Client,
    namespace: &str,
    dry_run: bool,
    mut object: DynamicObject,
) -> anyhow::Result<String> {
    let types = object.types.clone().context("apiVersion and kind must be set")?;
    let kind = GroupVersionKind::try_from(&types).context("apiVersion is wrong")?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("the cluster does not serve {} {}", types.api_version, types.kind))?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let own = object.metadata.namespace.clone().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(client.clone(), &own, &resource)
        }
    };
    let name = object.metadata.name.clone().context("metadata.name must be set")?;
    let shown = format!("{}/{name}", resource.plural.trim_end_matches('s'));
    let manifest = serde_json::to_string(&object)?;
    object.metadata.annotations.get_or_insert_default().insert(LAST_APPLIED.into(), manifest);
    let Some(current) = api.get_opt(&name).await? else {
        api.create(&PostParams { dry_run, field_manager: Some(MANAGER.into()) }, &object).await?;
        return Ok(format!("{shown} created"));
    };
    let previous = current.metadata.annotations.as_ref().and_then(|all| all.get(LAST_APPLIED));
    let previous = previous.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let mut patch = serde_json::to_value(&object)?;
    drop_removed(&previous, &mut patch);
    let params = PatchParams { dry_run, field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let patched = api.patch(&name, &params, &Patch::Strategic(patch)).await?;
    let same = patched.metadata.resource_version == current.metadata.resource_version;
    Ok(format!("{shown} {}", if same { "unchanged" } else { "configured" }))
}

/// Puts a `null` into the patch for every field that was applied before and is not in the manifest now.
fn drop_removed(previous: &Value, patch: &mut Value) {
    let (Value::Object(previous), Value::Object(patch)) = (previous, patch) else { return };
    for (field, before) in previous {
        match patch.get_mut(field) {
            Some(now) => drop_removed(before, now),
            None => drop(Map::insert(patch, field.clone(), Value::Null)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_left_the_manifest_are_removed() {
        let mut patch = json!({ "spec": { "a": 1 } });
        drop_removed(&json!({ "spec": { "a": 0, "b": 1 }, "data": { "x": "y" } }), &mut patch);
        assert_eq!(patch, json!({ "spec": { "a": 1, "b": null }, "data": null }));
    }

    #[test]
    fn empty_documents_are_passed_over_and_others_must_be_objects() {
        assert_eq!(
            parse("---\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").expect("valid").len(),
            1
        );
        assert!(parse("just text").is_err());
        assert!(parse("a: 1").is_err());
    }
}
