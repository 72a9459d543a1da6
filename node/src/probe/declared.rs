//! A probe as the pod declares it, with the kubelet's defaults.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe as Declared, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What to ask, how often, and how often it may fail.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    pub check: Check,
    pub initial_delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    /// How long the container has to stop when this probe is why.
    pub grace: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Check {
    Http(HttpCheck),
    Tcp {
        host: Option<String>,
        port: u16,
    },
    /// A program that says so by its exit code.
    Exec(Vec<String>),
    /// Cannot be asked here, and why.
    Impossible(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct HttpCheck {
    pub host: Option<String>,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Probe {
    pub(super) fn read(declared: &Declared, container: &Container) -> Self {
        let seconds = |value: Option<i32>, default: u64, least: u64| {
            Duration::from_secs(
                value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default).max(least),
            )
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Self {
            check: check(declared, container),
            initial_delay: seconds(declared.initial_delay_seconds, 0, 0),
            period: seconds(declared.period_seconds, 10, 1),
            timeout: seconds(declared.timeout_seconds, 1, 1),
            success_threshold: count(declared.success_threshold, 1),
            failure_threshold: count(declared.failure_threshold, 3),
            grace: declared
                .termination_grace_period_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
        }
    }
}

fn check(declared: &Declared, container: &Container) -> Check {
    if let Some(http) = &declared.http_get {
        return http_check(http, container);
    }
    if let Some(TCPSocketAction { host, port }) = &declared.tcp_socket {
        return match number(port, container) {
            Some(port) => Check::Tcp { host: given(host), port },
            None => Check::Impossible("the container declares no port of that name"),
        };
    }
    if declared.grpc.is_some() {
        return Check::Impossible(
            "grpc probes are not available for WebAssembly containers; use httpGet or tcpSocket",
        );
    }
    let command = declared.exec.as_ref().and_then(|exec| exec.command.clone());
    command.map_or(Check::Impossible("the probe says nothing to ask"), Check::Exec)
}

pub(super) fn http_check(http: &HTTPGetAction, container: &Container) -> Check {
    if http.scheme.as_deref() == Some("HTTPS") {
        return Check::Impossible(
            "HTTPS probes are not available for WebAssembly containers, which answer plain HTTP",
        );
    }
    let Some(port) = number(&http.port, container) else {
        return Check::Impossible("the container declares no port of that name");
    };
    let path = http.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let headers =
        http.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
    Check::Http(HttpCheck { host: given(&http.host), port, path, headers: headers.collect() })
}

fn given(host: &Option<String>) -> Option<String> {
    host.clone().filter(|host| !host.is_empty())
}

fn number(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            named.map_or_else(|| name.parse().ok(), |port| u16::try_from(port.container_port).ok())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(probe: Value) -> Probe {
        let container = json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]});
        Probe::read(&serde_json::from_value(probe).unwrap(), &serde_json::from_value(container).unwrap())
    }

    #[test]
    fn defaults_are_the_kubelets() {
        let probe = read(json!({"httpGet": {"port": "web"}}));
        let seconds = Duration::from_secs;
        assert_eq!((probe.initial_delay, probe.period, probe.timeout), (seconds(0), seconds(10), seconds(1)));
        assert_eq!((probe.success_threshold, probe.failure_threshold, probe.grace), (1, 3, None));
        let http = HttpCheck { host: None, port: 8080, path: "/".into(), headers: vec![] };
        assert_eq!(probe.check, Check::Http(http));
    }

    #[test]
    fn what_is_declared_is_read() {
        let probe = read(json!({"httpGet": {"port": 81, "path": "ok?x=1", "host": "h",
                                            "httpHeaders": [{"name": "A", "value": "b"}]},
                                "periodSeconds": 2, "timeoutSeconds": 3, "initialDelaySeconds": 4,
                                "successThreshold": 5, "failureThreshold": 6, "terminationGracePeriodSeconds": 7}));
        let headers = vec![("A".to_owned(), "b".to_owned())];
        assert_eq!(
            probe.check,
            Check::Http(HttpCheck { host: Some("h".into()), port: 81, path: "/ok?x=1".into(), headers })
        );
        assert_eq!((probe.success_threshold, probe.failure_threshold), (5, 6));
        assert_eq!(probe.grace, Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        for probe in [
            json!({}),
            json!({"grpc": {"port": 1}}),
            json!({"tcpSocket": {"port": "none"}}),
            json!({"httpGet": {"port": 1, "scheme": "HTTPS"}}),
        ] {
            assert!(matches!(read(probe.clone()).check, Check::Impossible(_)), "{probe}");
        }
    }
}
