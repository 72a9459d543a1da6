//! What `dev` and `demo` print when they are ready: at most eight lines, or one JSON object.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Facts of a running cluster.
pub(crate) struct Banner {
    pub(crate) ready_after: Duration,
    pub(crate) api: SocketAddr,
    pub(crate) ingress: SocketAddr,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) nodes: Vec<String>,
}

impl Banner {
    /// Lines for people.
    pub(crate) fn text(&self, out: &mut impl Write) -> io::Result<()> {
        let kubeconfig = self.kubeconfig.display();
        writeln!(out, "isopod is ready in {} ms", self.ready_after.as_millis())?;
        writeln!(out, "  API      https://{}", self.api)?;
        writeln!(out, "  services http://<service>.<namespace>.localhost:{}", self.ingress.port())?;
        writeln!(out, "  logs     {}", self.log.display())?;
        writeln!(out, "try next:")?;
        writeln!(out, "  export KUBECONFIG={kubeconfig}")?;
        writeln!(out, "  kubectl get nodes,pods -A")
    }

    /// One object for programs.
    pub(crate) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let facts = serde_json::json!({
            "readyMs": self.ready_after.as_millis(),
            "api": format!("https://{}", self.api),
            "ingress": format!("http://{}", self.ingress),
            "kubeconfig": self.kubeconfig,
            "log": self.log,
            "nodes": self.nodes,
            "pid": std::process::id(),
        });
        writeln!(out, "{facts}")
    }
}
