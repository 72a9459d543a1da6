//! Images in the Docker daemon: what is there, and pulling what is not.

use bollard::auth::DockerCredentials;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::{CreateImageOptions, ImportImageOptionsBuilder};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use thiserror::Error;

use super::{Docker, DockerError, is_missing, told};

/// An image that is in the daemon.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Its id, by which containers are made of it: a tag may move meanwhile.
    pub id: String,
    /// For `imageID`.
    pub shown: String,
    /// In bytes.
    pub size: u64,
    /// Its `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// Its `Cmd`.
    pub cmd: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// The user it runs as; empty is root.
    pub user: String,
    /// What asks it to end; empty is `SIGTERM`.
    pub stop_signal: String,
}

/// Why an image could not be pulled.
#[derive(Debug, Error)]
pub enum PullError {
    /// There is none of that name, or not for this architecture.
    #[error("{0}")]
    Refused(String),
    /// The registry wants other credentials.
    #[error("{0}")]
    Denied(String),
}

impl Docker {
    /// The image of this name, if the daemon has it.
    pub async fn image(&self, name: &str) -> Result<Option<Image>, DockerError> {
        let found = match self.inner.client.inspect_image(name).await {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let id = found.id.unwrap_or_default();
        let pulled = found.repo_digests.unwrap_or_default().into_iter().next();
        let config = found.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let env = env.iter().filter_map(|pair| pair.split_once('='));
        Ok(Some(Image {
            shown: pulled
                .map_or_else(|| format!("docker://{id}"), |digest| format!("docker-pullable://{digest}")),
            id,
            size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            user: config.user.unwrap_or_default(),
            stop_signal: config.stop_signal.unwrap_or_default(),
        }))
    }

    /// Has the daemon pull an image. `login` is the user and password for its registry.
    pub async fn pull(&self, name: &str, login: Option<(&str, &str)>) -> Result<Image, PullError> {
        let credentials = login.map(|(user, password)| DockerCredentials {
            username: Some(user.to_owned()),
            password: Some(password.to_owned()),
            ..Default::default()
        });
        let (repository, tag) = split(name);
        let options = CreateImageOptions {
            from_image: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            ..Default::default()
        };
        let mut progress = self.inner.client.create_image(Some(options), None, credentials);
        while let Some(step) = progress.next().await {
            step.map_err(refused)?;
        }
        self.pulled(name).await
    }

    /// Gives the daemon an image as `docker save` writes it.
    pub async fn load(
        &self,
        name: &str,
        archive: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Image, PullError> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let body = bollard::body_stream(archive);
        let mut progress = self.inner.client.import_image(options, body, None);
        while let Some(step) = progress.next().await {
            step.map_err(refused)?;
        }
        self.pulled(name).await
    }

    async fn pulled(&self, name: &str) -> Result<Image, PullError> {
        let image = self.image(name).await.map_err(|error| PullError::Refused(error.to_string()))?;
        image.ok_or_else(|| {
            PullError::Refused(format!("{name} is not there although the daemon has pulled it"))
        })
    }

    /// The machine's architecture, in Go's words.
    pub fn architecture(&self) -> &str {
        &self.inner.architecture
    }
}

fn refused(error: ApiError) -> PullError {
    let text = told(&error);
    let text = match &error {
        // Errors in the midst of a pull come as a part of its progress.
        ApiError::DockerStreamError { error } => error.clone(),
        _ => text,
    };
    let denied = ["denied", "unauthorized", "authentication required"];
    if denied.iter().any(|word| text.contains(word)) {
        PullError::Denied(text)
    } else {
        PullError::Refused(text)
    }
}

/// The name without its tag or digest, and those.
fn split(name: &str) -> (&str, &str) {
    if let Some((repository, digest)) = name.split_once('@') {
        return (repository, digest);
    }
    match name.rsplit_once(':') {
        // What follows the last colon may be a port and the rest of the name.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_tags() {
        for (name, want) in [
            ("nginx", ("nginx", "latest")),
            ("nginx:1", ("nginx", "1")),
            ("localhost:5000/a", ("localhost:5000/a", "latest")),
            ("localhost:5000/a:b", ("localhost:5000/a", "b")),
            ("a/b@sha256:0", ("a/b", "sha256:0")),
        ] {
            assert_eq!(split(name), want, "{name}");
        }
    }
}
