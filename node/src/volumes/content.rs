//! The files that a volume made of objects consists of.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Volume, VolumeProjection,
};

use crate::agent::env::{self, Inputs, Objects, Reference};
use crate::agent::sources::{ROOT_CA, Sources};

/// By path in the volume.
pub(super) type Files = BTreeMap<String, FileContent>;

/// A file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileContent {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Files are readable by all unless the pod says otherwise.
const DEFAULT_MODE: i32 = 0o644;
/// A token is replaced at least so often, however long it would live.
const RENEW_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// What an object gives to a volume.
#[derive(Clone)]
struct Source<'a> {
    reference: Reference,
    items: Option<&'a Vec<KeyToPath>>,
    optional: bool,
    mode: i32,
}

/// Everything in the volume, fetched now.
pub(super) async fn files(volume: &Volume, inputs: &Inputs<'_>, sources: &Sources) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(map) = &volume.config_map {
        let source = Source {
            reference: Reference::ConfigMap(map.name.clone()),
            items: map.items.as_ref(),
            optional: map.optional == Some(true),
            mode: map.default_mode.unwrap_or(DEFAULT_MODE),
        };
        add_object(source, inputs, sources, &mut files).await?;
    } else if let Some(secret) = &volume.secret {
        let source = Source {
            reference: Reference::Secret(secret.secret_name.clone().unwrap_or_default()),
            items: secret.items.as_ref(),
            optional: secret.optional == Some(true),
            mode: secret.default_mode.unwrap_or(DEFAULT_MODE),
        };
        add_object(source, inputs, sources, &mut files).await?;
    } else if let Some(downward) = &volume.downward_api {
        let mode = downward.default_mode.unwrap_or(DEFAULT_MODE);
        add_downward(downward.items.iter().flatten(), mode, inputs, &mut files)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in projected.sources.iter().flatten() {
            add_projection(source, mode, inputs, sources, &mut files).await?;
        }
    } else {
        return Err(format!("volumes of type {} are not supported", kind_of(volume)));
    }
    Ok(files)
}

/// The objects that the volume is made of.
pub(super) fn references(volume: &Volume) -> Vec<Reference> {
    let mut found = Vec::new();
    found.extend(volume.config_map.iter().map(|map| Reference::ConfigMap(map.name.clone())));
    let secret = volume.secret.iter().flat_map(|secret| &secret.secret_name);
    found.extend(secret.map(|name| Reference::Secret(name.clone())));
    for source in volume.projected.iter().flat_map(|projected| &projected.sources).flatten() {
        found.extend(source.config_map.iter().map(|map| Reference::ConfigMap(map.name.clone())));
        found.extend(source.secret.iter().map(|secret| Reference::Secret(secret.name.clone())));
    }
    found
}

/// After how long the first token in the volume should be replaced: when four fifths of its life are over, or a day.
pub(super) fn renew_after(volume: &Volume) -> Option<Duration> {
    let sources = volume.projected.iter().flat_map(|projected| &projected.sources).flatten();
    let tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    let lives = tokens.map(|token| u64::try_from(token.expiration_seconds.unwrap_or(3600)).unwrap_or(0));
    lives.min().map(|seconds| Duration::from_secs(seconds * 4 / 5).min(RENEW_AFTER_MAX))
}

async fn add_projection(
    projection: &VolumeProjection,
    mode: i32,
    inputs: &Inputs<'_>,
    sources: &Sources,
    files: &mut Files,
) -> Result<(), String> {
    if let Some(map) = &projection.config_map {
        let reference = Reference::ConfigMap(map.name.clone());
        let source =
            Source { reference, items: map.items.as_ref(), optional: map.optional == Some(true), mode };
        let added = add_object(source.clone(), inputs, sources, files).await;
        if added.is_err() && map.name == ROOT_CA {
            sources.await_root_ca(inputs.pod.metadata.namespace.as_deref().unwrap_or_default()).await;
            add_object(source, inputs, sources, files).await?;
        } else {
            added?;
        }
    }
    if let Some(secret) = &projection.secret {
        let reference = Reference::Secret(secret.name.clone());
        let source =
            Source { reference, items: secret.items.as_ref(), optional: secret.optional == Some(true), mode };
        add_object(source, inputs, sources, files).await?;
    }
    if let Some(downward) = &projection.downward_api {
        add_downward(downward.items.iter().flatten(), mode, inputs, files)?;
    }
    if let Some(token) = &projection.service_account_token {
        let text = sources.token(inputs.pod, token).await.map_err(|error| error.to_string())?;
        files
            .insert(inside(&token.path)?, FileContent { content: text.into_bytes(), mode: self::mode(mode) });
    }
    if projection.cluster_trust_bundle.is_some() {
        return Err("projected trust bundles are not supported".to_owned());
    }
    Ok(())
}

async fn add_object(
    source: Source<'_>,
    inputs: &Inputs<'_>,
    sources: &Sources,
    files: &mut Files,
) -> Result<(), String> {
    let namespace = inputs.pod.metadata.namespace.as_deref().unwrap_or_default();
    let fetched = sources.fetch(namespace, std::slice::from_ref(&source.reference)).await;
    let objects = fetched.map_err(|error| error.to_string())?;
    match keys(&source.reference, &objects) {
        Some(data) => place(data, &source, files),
        None if source.optional => Ok(()),
        None => Err(match &source.reference {
            Reference::ConfigMap(name) => format!("configmap \"{name}\" not found"),
            Reference::Secret(name) => format!("secret \"{name}\" not found"),
        }),
    }
}

fn keys(reference: &Reference, objects: &Objects) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut data = BTreeMap::new();
    match reference {
        Reference::ConfigMap(name) => {
            let map = objects.config_maps.get(name)?;
            data.extend(
                map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes())),
            );
            data.extend(map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())));
        }
        Reference::Secret(name) => {
            let secret = objects.secrets.get(name)?;
            data.extend(secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())));
        }
    }
    Some(data)
}

fn place(data: BTreeMap<String, Vec<u8>>, source: &Source<'_>, files: &mut Files) -> Result<(), String> {
    let Some(items) = source.items.filter(|items| !items.is_empty()) else {
        for (key, content) in data {
            files.insert(key, FileContent { content, mode: mode(source.mode) });
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(content) => {
                let file =
                    FileContent { content: content.clone(), mode: mode(item.mode.unwrap_or(source.mode)) };
                files.insert(inside(&item.path)?, file);
            }
            None if source.optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(())
}

fn add_downward<'a>(
    items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    default_mode: i32,
    inputs: &Inputs<'_>,
    files: &mut Files,
) -> Result<(), String> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => downward_field(field, inputs)?,
            (None, Some(resource)) => env::resource(inputs, resource)?,
            (None, None) => return Err(format!("{} names no field", item.path)),
        };
        let file = FileContent { content: text.into_bytes(), mode: mode(item.mode.unwrap_or(default_mode)) };
        files.insert(inside(&item.path)?, file);
    }
    Ok(())
}

fn downward_field(field: &ObjectFieldSelector, inputs: &Inputs<'_>) -> Result<String, String> {
    let meta = &inputs.pod.metadata;
    let map = match field.field_path.as_str() {
        "metadata.labels" => &meta.labels,
        "metadata.annotations" => &meta.annotations,
        path => return env::field(inputs, path),
    };
    let lines = map.iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn mode(mode: i32) -> u32 {
    u32::try_from(mode & 0o777).unwrap_or(0)
}

/// A path that stays in the volume.
fn inside(path: &str) -> Result<String, String> {
    let stays = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !stays || path.starts_with("..") {
        return Err(format!("path {path:?} must be relative and without \"..\""));
    }
    Ok(path.to_owned())
}

/// What the pod calls the kind of this volume.
fn kind_of(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let mut fields = value.as_object().into_iter().flat_map(|object| object.keys());
    fields.find(|field| *field != "name").cloned().unwrap_or_else(|| "unknown".to_owned())
}
