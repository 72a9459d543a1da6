//! What tests ask of a cluster again and again, in a word each.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{run, tool};
use crate::{Cluster, eventually};

/// A component of `tests/guests`.
pub fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("guests").join(name).join(format!("{name}.wasm"))
}

impl Cluster {
    /// Stores a guest of `tests/guests` as `registry.local/<name>:v1`.
    #[track_caller]
    pub fn push_guest(&self, name: &str) {
        let component = guest(name).display().to_string();
        self.isopod(&["push", &component, &format!("registry.local/{name}:v1")]).ok();
    }

    /// Applies a manifest with the real kubectl.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        self.kubectl_with(&["apply", "-f", "-"], manifest).ok();
    }

    /// What a JSONPath gives of an object such as `pod/a`, of the namespace `default`.
    #[track_caller]
    pub fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={path}")]).ok()
    }

    /// Waits until the field is `wanted`.
    #[track_caller]
    pub fn await_field(&self, object: &str, path: &str, wanted: &str) {
        eventually(&format!("{path} of {object} becomes {wanted:?}"), || {
            let found = self.field(object, path);
            if found == wanted { Ok(()) } else { Err(found) }
        });
    }

    /// Waits until the pod is ready.
    #[track_caller]
    pub fn await_ready(&self, pod: &str) {
        self.kubectl(&["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=60s"]).ok();
    }

    /// Waits for an event about the object called `name` whose reason and message contain `part`; returns it.
    #[track_caller]
    pub fn await_event(&self, name: &str, part: &str) -> String {
        eventually(&format!("an event of {name} says {part:?}"), || {
            let field = format!("involvedObject.name={name}");
            let path = "jsonpath={range .items[*]}{.reason}: {.message}\n{end}";
            let events = self.kubectl(&["get", "events", "--field-selector", &field, "-o", path]).ok();
            let found = events.lines().find(|event| event.contains(part)).map(str::to_owned);
            found.ok_or(events)
        })
    }

    /// Waits until a Service of the namespace `default` answers 200 at `path`; returns the body.
    #[track_caller]
    pub fn await_answer(&self, service: &str, path: &str) -> String {
        eventually(&format!("{service} answers {path}"), || match self.curl(service, "default", path) {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{status} {body}")),
        })
    }

    /// Runs curl against a path of the API with the administrator's certificate and `args`; its standard output.
    #[track_caller]
    pub fn curl_api(&self, args: &[&str], path: &str) -> String {
        let identity = self.identity_file();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--insecure", "--cert"]).arg(identity);
        run(curl.args(args).arg(format!("{}{path}", self.fact("api"))), "").ok()
    }

    /// The administrator's certificate and key, as kubectl has them, in a file for other clients.
    #[track_caller]
    pub fn identity_file(&self) -> PathBuf {
        let path = "{.users[0].user.client-certificate-data} {.users[0].user.client-key-data}";
        let args = ["config", "view", "--raw", "-o", &format!("jsonpath={path}")];
        let both = self.kubectl(&args).ok();
        let pem: Vec<String> = both
            .split(' ')
            .map(|base64| run(Command::new(tool("base64")).arg("--decode"), base64).ok())
            .collect();
        let file = self.data_dir().join("administrator.pem");
        std::fs::write(&file, pem.concat()).expect("the data folder can be written");
        file
    }
}
