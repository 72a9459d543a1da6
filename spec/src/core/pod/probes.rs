//! What probes and lifecycle hooks must look like.
//!
//! Follows `pkg/apis/core/validation` (validateProbe, validateHandler, validateLifecycle).

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};

use crate::field_error::{FieldErrors, Path};
use crate::validation;

/// Checks everything that is asked of a running container.
pub(super) fn all(container: &Container, path: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.child("lifecycle");
        for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(handler) = handler {
                hook(handler, &path.child(field), errors);
            }
        }
    }
    for (field, probe) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        let Some(probe) = probe else { continue };
        let path = path.child(field);
        one(probe, &path, errors);
        let ready = field == "readinessProbe";
        if let Some(threshold) = probe.success_threshold.filter(|threshold| !ready && *threshold != 1) {
            errors.invalid(&path.child("successThreshold"), threshold, "must be 1");
        }
        if let Some(seconds) = probe.termination_grace_period_seconds {
            let path = path.child("terminationGracePeriodSeconds");
            if ready {
                errors.invalid(&path, seconds, "must not be set for readinessProbes");
            } else if seconds <= 0 {
                errors.invalid(&path, seconds, "must be greater than 0");
            }
        }
    }
}

fn one(probe: &Probe, path: &Path<'_>, errors: &mut FieldErrors) {
    let grpc = probe.grpc.as_ref().map(|grpc| ("grpc", Action::Grpc(grpc.port)));
    let actions = [
        probe.exec.as_ref().map(|action| ("exec", Action::Exec(action))),
        probe.http_get.as_ref().map(|action| ("httpGet", Action::Http(action))),
        probe.tcp_socket.as_ref().map(|action| ("tcpSocket", Action::Tcp(action))),
        grpc,
    ];
    handler(&actions, path, errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        validation::nonnegative(&path.child(field), value.map(i64::from), errors);
    }
}

fn hook(hook: &LifecycleHandler, path: &Path<'_>, errors: &mut FieldErrors) {
    let actions = [
        hook.exec.as_ref().map(|action| ("exec", Action::Exec(action))),
        hook.http_get.as_ref().map(|action| ("httpGet", Action::Http(action))),
        hook.tcp_socket.as_ref().map(|action| ("tcpSocket", Action::Tcp(action))),
        hook.sleep.as_ref().map(|action| ("sleep", Action::Sleep(action.seconds))),
    ];
    handler(&actions, path, errors);
}

enum Action<'a> {
    Exec(&'a ExecAction),
    Http(&'a HTTPGetAction),
    Tcp(&'a TCPSocketAction),
    Grpc(i32),
    Sleep(i64),
}

/// Exactly one action, and that one well formed.
fn handler(actions: &[Option<(&str, Action<'_>)>; 4], path: &Path<'_>, errors: &mut FieldErrors) {
    let mut given = actions.iter().flatten();
    let Some((field, action)) = given.next() else {
        errors.required(path, "must specify a handler type");
        return;
    };
    check(action, &path.child(field), errors);
    for (field, _) in given {
        errors.forbidden(&path.child(field), "may not specify more than 1 handler type");
    }
}

fn check(action: &Action<'_>, path: &Path<'_>, errors: &mut FieldErrors) {
    match action {
        Action::Exec(exec) => {
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                errors.required(&path.child("command"), "");
            }
        }
        Action::Http(http) => {
            if http.path.as_deref().unwrap_or_default().is_empty() {
                errors.required(&path.child("path"), "");
            }
            validation::port_or_name(&path.child("port"), &http.port, errors);
            validation::required_word(
                &path.child("scheme"),
                http.scheme.as_ref(),
                &["HTTP", "HTTPS"],
                errors,
            );
            let headers = path.child("httpHeaders");
            for (index, header) in http.http_headers.iter().flatten().enumerate() {
                validation::syntax(&headers.index(index).child("name"), &header.name, header_faults, errors);
            }
        }
        Action::Tcp(tcp) => validation::port_or_name(&path.child("port"), &tcp.port, errors),
        Action::Grpc(port) => validation::port(&path.child("port"), *port, errors),
        Action::Sleep(seconds) => validation::nonnegative(&path.child("seconds"), Some(*seconds), errors),
    }
}

fn header_faults(name: &str) -> Vec<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match !name.is_empty() && name.bytes().all(allowed) {
        true => Vec::new(),
        false => vec![
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
             for validation is '[-A-Za-z0-9]+')"
                .to_owned(),
        ],
    }
}
