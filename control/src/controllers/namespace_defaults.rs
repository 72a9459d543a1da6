//! What every namespace has from the start: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt` by which
//! applications know the API server.

use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::facts;
use super::outcome;
use super::runner::{Controller, Planned, Shell};
use crate::cache::{Change, ObjectKey, View};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_KEY: &str = "ca.crt";

/// Keeps the two objects in every namespace that is not being deleted.
#[derive(Debug)]
pub(crate) struct NamespaceDefaults {
    root_ca_pem: Arc<str>,
}

/// A namespace to check.
#[derive(Debug)]
pub(crate) struct Check {
    namespace: String,
    root_ca_pem: Arc<str>,
}

impl NamespaceDefaults {
    /// `root_ca_pem` is the certificate that the API server's own is signed with.
    pub(crate) fn new(root_ca_pem: &str) -> Self {
        NamespaceDefaults { root_ca_pem: root_ca_pem.into() }
    }
}

impl Controller for NamespaceDefaults {
    const NAME: &'static str = "namespace-defaults";
    type Plan = Check;

    fn wakes(&mut self, change: &Change, _view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Namespace(delta) => wake(delta.key.clone()),
            Change::Other { kind, key }
                if matches!(
                    (kind.plural.as_str(), key.name()),
                    ("serviceaccounts", ACCOUNT) | ("configmaps", ROOT_CA)
                ) =>
            {
                wake(ObjectKey::new("", key.namespace()));
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Check> {
        let lives = |namespace: &&Arc<Namespace>| !facts::is_terminating(&namespace.metadata);
        let plan = view
            .namespaces
            .get(key)
            .filter(lives)
            .map(|_| Check { namespace: key.name().to_owned(), root_ca_pem: self.root_ca_pem.clone() });
        Planned { plan, again_after: None }
    }

    async fn apply(shell: Shell, check: Check) -> Result<(), Status> {
        let checked = async {
            keep_account(&shell, &check.namespace).await?;
            keep_root_ca(&shell, &check).await
        };
        match checked.await {
            Err(status) if outcome::is_namespace_going(&status) || outcome::is_taken(&status) => Ok(()),
            checked => checked,
        }
    }
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() }
}

async fn keep_account(shell: &Shell, namespace: &str) -> Result<(), Status> {
    if shell.objects.get::<ServiceAccount>(namespace, ACCOUNT).await?.is_some() {
        return Ok(());
    }
    let account = ServiceAccount { metadata: metadata(namespace, ACCOUNT), ..ServiceAccount::default() };
    shell.objects.create(account).await.map(drop)
}

async fn keep_root_ca(shell: &Shell, check: &Check) -> Result<(), Status> {
    let data = Some([(ROOT_CA_KEY.to_owned(), check.root_ca_pem.to_string())].into());
    match shell.objects.get::<ConfigMap>(&check.namespace, ROOT_CA).await? {
        Some(stored) if stored.data == data => Ok(()),
        Some(stored) => shell.objects.update(&ConfigMap { data, ..stored }).await.map(drop),
        None => {
            let mut metadata = metadata(&check.namespace, ROOT_CA);
            let about = "The certificate that verifies the API server at its addresses inside the cluster, such as \
                         kubernetes.default.svc.";
            metadata.annotations = Some([("kubernetes.io/description".to_owned(), about.to_owned())].into());
            shell.objects.create(ConfigMap { metadata, data, ..ConfigMap::default() }).await.map(drop)
        }
    }
}
