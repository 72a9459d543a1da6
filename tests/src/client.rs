//! The Kubernetes client of Rust, for one member, without the retries that would hide what the member answered.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A member that was killed refuses at once; one that was stopped does not answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A client as the kubeconfig says. To be called in the runtime that the client is used in.
pub async fn client(kubeconfig: &Path) -> Client {
    made(config(kubeconfig).await)
}

/// The same in the name of a user, which an administrator may.
pub async fn client_as(kubeconfig: &Path, user: &str) -> Client {
    let mut config = config(kubeconfig).await;
    config.auth_info.impersonate = Some(user.to_owned());
    made(config)
}

async fn config(kubeconfig: &Path) -> Config {
    let read = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig can be read");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.expect("the kubeconfig names a cluster and a user");
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_WITHIN);
    config
}

fn made(config: Config) -> Client {
    Client::try_from(config).expect("a client can be made of the kubeconfig")
}
