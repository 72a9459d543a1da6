//! The API client of the command line: which cluster, and as whom.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::paths;

/// Which cluster a command talks to.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Connection {
    /// Kubeconfig file [default: $KUBECONFIG, else that of `isopod dev` on this machine, else ~/.kube/config]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
}

impl Connection {
    /// Talks to the cluster that this kubeconfig names.
    pub(crate) fn at(kubeconfig: &Path) -> Connection {
        Connection { kubeconfig: Some(kubeconfig.to_owned()), context: None }
    }

    /// A client, and the namespace of the context.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Client::try_from(self.config().await?).context("cannot make an API client")
    }

    /// Where the cluster is, whom it is trusted by, and as whom to talk to it.
    pub(crate) async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let (kubeconfig, origin) = self.read()?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        config.with_context(|| format!("the kubeconfig {origin} cannot be used"))
    }

    fn read(&self) -> anyhow::Result<(Kubeconfig, String)> {
        if let Some(file) = &self.kubeconfig {
            let read = Kubeconfig::read_from(file)
                .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
            return Ok((read, file.display().to_string()));
        }
        if std::env::var_os("KUBECONFIG").is_some() {
            let read = Kubeconfig::read().context("cannot read the kubeconfig that $KUBECONFIG names")?;
            return Ok((read, "of $KUBECONFIG".into()));
        }
        let own = paths::data_dir().join(isopod_control::run::KUBECONFIG_FILE);
        if own.exists() {
            let read =
                Kubeconfig::read_from(&own).with_context(|| format!("cannot read {}", own.display()))?;
            return Ok((read, own.display().to_string()));
        }
        let read = Kubeconfig::read().context(
            "no cluster found: start one with `isopod dev`, or name a kubeconfig with --kubeconfig",
        )?;
        Ok((read, "~/.kube/config".into()))
    }
}
