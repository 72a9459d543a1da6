//! `isopod node` processes that join a cluster of `isopod server` processes.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::command::isopod;
use crate::control_plane::Server;
use crate::wait::eventually;

/// One `isopod node` on free ports. Dropping it ends the process.
pub struct Node(Child);

impl Node {
    /// Starts it, and waits until it is ready.
    #[track_caller]
    pub fn start(data_dir: &Path, args: &[&str]) -> Node {
        let mut command = Node::command(data_dir, args);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the isopod binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("standard output can be read");
        assert!(line.contains("readyMs"), "the node did not become ready: {line}");
        Node(child)
    }

    /// The command that starts one, for those that are refused.
    pub fn command(data_dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(isopod());
        command.args(["node", "-o", "json", "--data-dir"]).arg(data_dir).args(args);
        command
    }
}

impl Drop for Node {
    /// SIGKILL.
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        self.0.wait().expect("a child can be waited for");
    }
}

/// A token that lets in servers or nodes.
#[track_caller]
pub fn token(server: &Server, role: &str) -> String {
    server.isopod(&["token", "create", "--role", role]).ok().trim().to_owned()
}

/// Waits until the node's condition `Ready` is this.
#[track_caller]
pub fn await_ready(server: &Server, node: &str, wanted: &str) {
    eventually(&format!("the condition Ready of {node} is {wanted}"), || {
        let condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let outcome = server.kubectl(&["get", "node", node, "-o", condition]);
        if outcome.success && outcome.stdout == wanted {
            Ok(())
        } else {
            Err(outcome.stdout + &outcome.stderr)
        }
    });
}
