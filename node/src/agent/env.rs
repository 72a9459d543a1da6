//! The environment, command and arguments of a container: pure functions of the pod and of what it refers to.
//!
//! In the order of upstream: `envFrom`, then `env` over it, each value expanded with what came before it; variables
//! of Services and of the image only where the pod does not set them itself.

mod expand;
mod fields;
mod links;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapEnvSource, ConfigMapKeySelector, Container, EnvFromSource, EnvVar, EnvVarSource, Pod,
    Secret, SecretEnvSource, SecretKeySelector,
};
use thiserror::Error;

pub(crate) use fields::{field, resource};
pub use links::{Link, LinkPort, links};

pub(crate) use self::expand::expand;

/// What a container's environment is made of.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// The container in it.
    pub container: &'a Container,
    /// The pod's address.
    pub address: IpAddr,
    /// The machine it runs on.
    pub host: &'a Host,
    /// The objects that [`references`] names, as far as they exist.
    pub objects: &'a Objects,
    /// Variables of Services, from [`links`].
    pub links: BTreeMap<String, String>,
    /// The image's own variables.
    pub image: &'a [(String, String)],
}

/// What a container may learn of its machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub address: IpAddr,
    /// What is allocatable here, for limits that a container does not set: `cpu` in thousandths, the others in bytes.
    pub allocatable: BTreeMap<String, i64>,
}

/// ConfigMaps and Secrets by name, of the pod's namespace.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The ConfigMaps.
    pub config_maps: HashMap<String, Arc<ConfigMap>>,
    /// The Secrets.
    pub secrets: HashMap<String, Arc<Secret>>,
}

/// An object that a container's environment refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// A ConfigMap of this name.
    ConfigMap(String),
    /// A Secret of this name.
    Secret(String),
}

/// Why there is no environment. The messages are upstream's.
#[derive(Debug, Error, PartialEq)]
pub enum EnvError {
    /// An object that is not optional does not exist.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An object has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The pod's namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// What is not in it.
        key: String,
    },
    /// A secret value that is not text.
    #[error("the value of key {key} in Secret {namespace}/{name} is not UTF-8 text, as a variable must be")]
    NotText {
        /// The pod's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field or resource that pods do not have.
    #[error("{0}")]
    Field(String),
}

/// The objects to fetch before [`environment`] can be made.
pub fn references(container: &Container) -> Vec<Reference> {
    let mut found = Vec::new();
    for source in container.env_from.iter().flatten() {
        found.extend(source.config_map_ref.iter().map(|map| Reference::ConfigMap(map.name.clone())));
        found.extend(source.secret_ref.iter().map(|secret| Reference::Secret(secret.name.clone())));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        found.extend(source.config_map_key_ref.iter().map(|key| Reference::ConfigMap(key.name.clone())));
        found.extend(source.secret_key_ref.iter().map(|key| Reference::Secret(key.name.clone())));
    }
    found.sort();
    found.dedup();
    found
}

/// The environment of a container, by name.
pub fn environment(inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = BTreeMap::new();
    for source in inputs.container.env_from.iter().flatten() {
        inputs.add_all(source, &mut env)?;
    }
    for variable in inputs.container.env.iter().flatten() {
        if let Some(value) = inputs.value(variable, &env)? {
            env.insert(variable.name.clone(), value);
        }
    }
    for (name, value) in inputs.links.iter().chain(inputs.image.iter().map(|(name, value)| (name, value))) {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(env)
}

/// The program's name and its arguments. `command` replaces the image's entrypoint and, given alone, also its
/// arguments; `args` replaces only those. A component is its own program: the first word is what it is told as its
/// name (`argv[0]`), by default the container's.
pub fn command_line(
    container: &Container,
    entrypoint: &[String],
    cmd: &[String],
    env: &BTreeMap<String, String>,
) -> (String, Vec<String>) {
    let expanded = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| expand(word, |name| env.get(name).map(String::as_str))).collect()
    };
    let command = container.command.as_deref().filter(|words| !words.is_empty());
    let args = container.args.as_deref().filter(|words| !words.is_empty());
    let mut line = match command {
        Some(command) => expanded(command),
        None => entrypoint.to_vec(),
    };
    match (command, args) {
        (_, Some(args)) => line.extend(expanded(args)),
        (None, None) => line.extend_from_slice(cmd),
        (Some(_), None) => {}
    }
    if command.is_none() && entrypoint.is_empty() {
        return (container.name.clone(), line);
    }
    let rest = line.split_off(1.min(line.len()));
    (line.pop().unwrap_or_else(|| container.name.clone()), rest)
}

impl Inputs<'_> {
    fn namespace(&self) -> String {
        self.pod.metadata.namespace.clone().unwrap_or_default()
    }

    fn add_all(&self, source: &EnvFromSource, env: &mut BTreeMap<String, String>) -> Result<(), EnvError> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(ConfigMapEnvSource { name, optional }) = &source.config_map_ref {
            match self.objects.config_maps.get(name) {
                Some(map) => {
                    env.extend(map.data.iter().flatten().map(|(k, v)| (format!("{prefix}{k}"), v.clone())))
                }
                None if *optional == Some(true) => {}
                None => return Err(EnvError::Missing { kind: "configmap", name: name.clone() }),
            }
        }
        if let Some(SecretEnvSource { name, optional }) = &source.secret_ref {
            match self.objects.secrets.get(name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        env.insert(format!("{prefix}{key}"), self.text(name, key, &value.0)?);
                    }
                }
                None if *optional == Some(true) => {}
                None => return Err(EnvError::Missing { kind: "secret", name: name.clone() }),
            }
        }
        Ok(())
    }

    /// The value of a variable; `None` when what it refers to is optional and not there.
    fn value(&self, variable: &EnvVar, env: &BTreeMap<String, String>) -> Result<Option<String>, EnvError> {
        if let Some(value) = variable.value.as_deref().filter(|value| !value.is_empty()) {
            let known = |name: &str| env.get(name).or_else(|| self.links.get(name)).map(String::as_str);
            return Ok(Some(expand(value, known)));
        }
        match &variable.value_from {
            Some(source) => self.referred(source),
            None => Ok(Some(String::new())),
        }
    }

    fn referred(&self, source: &EnvVarSource) -> Result<Option<String>, EnvError> {
        if let Some(field) = &source.field_ref {
            return fields::field(self, &field.field_path).map(Some).map_err(EnvError::Field);
        }
        if let Some(resource) = &source.resource_field_ref {
            return fields::resource(self, resource).map(Some).map_err(EnvError::Field);
        }
        if let Some(key) = &source.config_map_key_ref {
            return self.config_map_key(key);
        }
        if let Some(key) = &source.secret_key_ref {
            return self.secret_key(key);
        }
        Err(EnvError::Field("valueFrom names no source that is known".to_owned()))
    }

    fn config_map_key(&self, selector: &ConfigMapKeySelector) -> Result<Option<String>, EnvError> {
        let ConfigMapKeySelector { name, key, optional } = selector;
        let map = self.objects.config_maps.get(name);
        match map.map(|map| map.data.as_ref().and_then(|data| data.get(key))) {
            Some(Some(value)) => Ok(Some(value.clone())),
            _ if *optional == Some(true) => Ok(None),
            None => Err(EnvError::Missing { kind: "configmap", name: name.clone() }),
            Some(None) => Err(EnvError::MissingKey {
                kind: "ConfigMap",
                namespace: self.namespace(),
                name: name.clone(),
                key: key.clone(),
            }),
        }
    }

    fn secret_key(&self, selector: &SecretKeySelector) -> Result<Option<String>, EnvError> {
        let SecretKeySelector { name, key, optional } = selector;
        let secret = self.objects.secrets.get(name);
        match secret.map(|secret| secret.data.as_ref().and_then(|data| data.get(key))) {
            Some(Some(value)) => self.text(name, key, &value.0).map(Some),
            _ if *optional == Some(true) => Ok(None),
            None => Err(EnvError::Missing { kind: "secret", name: name.clone() }),
            Some(None) => Err(EnvError::MissingKey {
                kind: "Secret",
                namespace: self.namespace(),
                name: name.clone(),
                key: key.clone(),
            }),
        }
    }

    fn text(&self, name: &str, key: &str, value: &[u8]) -> Result<String, EnvError> {
        String::from_utf8(value.to_vec()).map_err(|_| EnvError::NotText {
            namespace: self.namespace(),
            name: name.to_owned(),
            key: key.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
