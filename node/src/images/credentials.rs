//! Names and passwords for registries, from Secrets of type `kubernetes.io/dockerconfigjson`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use thiserror::Error;

/// What a pod's `imagePullSecrets` give, by registry host.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    by_host: BTreeMap<String, (String, String)>,
}

/// A pull secret that cannot be read. Says nothing of its content.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// Not JSON of the known form.
    #[error("the pull secret is not a Docker configuration")]
    Malformed(#[source] serde_json::Error),
    /// `auth` is not `user:password` in base64.
    #[error("the pull secret's entry for {host} has an unreadable auth field")]
    Auth {
        /// The registry.
        host: String,
    },
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

impl Credentials {
    /// Adds what a `.dockerconfigjson` holds; what was there before wins.
    pub fn add_docker_config(&mut self, json: &[u8]) -> Result<(), CredentialsError> {
        let config: DockerConfig = serde_json::from_slice(json).map_err(CredentialsError::Malformed)?;
        for (server, entry) in config.auths {
            let host = host_of(&server);
            let login = entry.login().ok_or_else(|| CredentialsError::Auth { host: host.to_owned() })?;
            self.by_host.entry(host.to_owned()).or_insert(login);
        }
        Ok(())
    }

    /// The user and password for a registry.
    pub(crate) fn for_host(&self, host: &str) -> Option<(&str, &str)> {
        self.by_host.get(host).map(|(user, password)| (user.as_str(), password.as_str()))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_host.keys()).finish()
    }
}

impl Entry {
    fn login(self) -> Option<(String, String)> {
        if self.auth.is_empty() {
            return Some((self.username, self.password));
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }
}

/// `https://index.docker.io/v1/` is how Docker writes its own registry.
fn host_of(server: &str) -> &str {
    let host = server.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_an_entry() {
        let mut credentials = Credentials::default();
        let json = br#"{"auths": {"ghcr.io": {"username": "u", "password": "p"},
                                  "https://index.docker.io/v1/": {"auth": "YTpiOmM="}}}"#;
        credentials.add_docker_config(json).unwrap();
        assert_eq!(credentials.for_host("ghcr.io"), Some(("u", "p")));
        assert_eq!(credentials.for_host("docker.io"), Some(("a", "b:c")));
        assert_eq!(credentials.for_host("quay.io"), None);
        assert_eq!(format!("{credentials:?}"), r#"{"docker.io", "ghcr.io"}"#, "no password is shown");
    }

    #[test]
    fn a_broken_secret_is_told_without_its_content() {
        let mut credentials = Credentials::default();
        let error = credentials.add_docker_config(br#"{"auths": {"x": {"auth": "c2VjcmV0"}}}"#).unwrap_err();
        assert_eq!(error.to_string(), "the pull secret's entry for x has an unreadable auth field");
        assert!(credentials.add_docker_config(b"secret").is_err());
    }
}
