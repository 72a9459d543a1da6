//! The Kubernetes client of Rust, for one member, without the retries that would hide what the member answered.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A member that was killed refuses at once; one that was stopped does not answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A client as the kubeconfig says. To be called in the runtime that the client is used in.
pub async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig can be read");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.expect("the kubeconfig names a cluster and a user");
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_WITHIN);
    Client::try_from(config).expect("a client can be made of the kubeconfig")
}
