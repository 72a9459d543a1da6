//! The ConfigMaps and Secrets that containers refer to, fetched when a container starts: what it sees is never older
//! than its own start. And the tokens by which pods show who they are.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;

use super::env::{Objects, Reference};
use super::pod::spec;
use crate::coalesce::Coalesce;
use crate::images::Credentials;

/// The ConfigMap that every namespace has.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// How long a pod that comes with its namespace waits for what controllers put into every namespace.
const NEW_NAMESPACE: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

type Fetched<T> = Result<Option<Arc<T>>, Arc<kube::Error>>;

/// Fetches by namespace and name.
#[derive(Clone)]
pub struct Sources {
    client: kube::Client,
    config_maps: Coalesce<(String, String), Fetched<ConfigMap>>,
    secrets: Coalesce<(String, String), Fetched<Secret>>,
}

impl Sources {
    /// Over this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, config_maps: Coalesce::default(), secrets: Coalesce::default() }
    }

    /// The objects that exist of those referred to.
    pub async fn fetch(
        &self,
        namespace: &str,
        references: &[Reference],
    ) -> Result<Objects, Arc<kube::Error>> {
        let mut objects = Objects::default();
        for reference in references {
            match reference {
                Reference::ConfigMap(name) => {
                    let found = self.config_map(namespace, name).await?;
                    objects.config_maps.extend(found.map(|map| (name.clone(), map)));
                }
                Reference::Secret(name) => {
                    let found = self.secret(namespace, name).await?;
                    objects.secrets.extend(found.map(|secret| (name.clone(), secret)));
                }
            }
        }
        Ok(objects)
    }

    /// What the pod's `imagePullSecrets` hold. Like upstream, one that is missing or broken is passed over: the
    /// image may do without.
    pub async fn credentials(&self, pod: &Pod) -> Credentials {
        let mut credentials = Credentials::default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for reference in spec(pod).image_pull_secrets.iter().flatten() {
            let secret = match self.secret(namespace, &reference.name).await {
                Ok(Some(secret)) => secret,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(namespace, name = reference.name, %error, "pull secret not readable");
                    continue;
                }
            };
            let json = secret.data.as_ref().and_then(|data| data.get(".dockerconfigjson"));
            if let Some(Err(error)) = json.map(|json| credentials.add_docker_config(&json.0)) {
                tracing::warn!(namespace, name = reference.name, %error, "pull secret not usable");
            }
        }
        credentials
    }

    /// A new token of the pod's ServiceAccount. It ends with the pod, or when its time is over.
    pub async fn token(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, kube::Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let account = spec(pod).service_account_name.as_deref().unwrap_or("default");
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        };
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: wanted
                    .audience
                    .clone()
                    .filter(|audience| !audience.is_empty())
                    .map(|own| vec![own]),
                bound_object_ref: Some(bound),
                expiration_seconds: wanted.expiration_seconds,
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let deadline = Instant::now() + NEW_NAMESPACE;
        let made = loop {
            match api.create_token_request(account, &PostParams::default(), &request).await {
                Err(kube::Error::Api(status)) if status.is_not_found() && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                made => break made?,
            }
        };
        Ok(made.status.and_then(|status| status.token).unwrap_or_default())
    }

    /// The ConfigMap with the cluster's authority, which a controller makes just after its namespace.
    pub async fn await_root_ca(&self, namespace: &str) {
        let deadline = Instant::now() + NEW_NAMESPACE;
        while Instant::now() < deadline && !matches!(self.config_map(namespace, ROOT_CA).await, Ok(Some(_))) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn config_map(&self, namespace: &str, name: &str) -> Fetched<ConfigMap> {
        let key = (namespace.to_owned(), name.to_owned());
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        self.config_maps.get(key.clone(), async move { fetch(api, key.1).await }).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Fetched<Secret> {
        let key = (namespace.to_owned(), name.to_owned());
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        self.secrets.get(key.clone(), async move { fetch(api, key.1).await }).await
    }
}

async fn fetch<K>(api: Api<K>, name: String) -> Fetched<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.get_opt(&name).await.map(|found| found.map(Arc::new)).map_err(Arc::new)
}
