//! Ingress: which requests from outside go to which Service.
//!
//! Rules: `pkg/apis/networking/validation` (ValidateIngressCreate), `pkg/registry/networking/ingress`; columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressSpec, IngressStatus, ServiceBackendPort,
};
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::{SPEC, keep_unwritten};
use crate::field_error::{FieldErrors, Path, Shown};
use crate::resource::{Declaration, Resource, Subresource, Target};
use crate::table::{Cell, Column, age, first_and_more};
use crate::{meta, validation};

impl Resource for Ingress {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            inert: Some(
                "Ingress has no effect yet: it is stored only. The ingress address serves each Service by its name",
            ),
            ..Declaration::of::<Self>("ingress").short_names(&["ing"]).subresources(&[Subresource::STATUS])
        }
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        self.status.get_or_insert_default();
    }

    fn prepare_create(&mut self) {
        self.status = Some(IngressStatus::default());
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        keep_unwritten(target, (&mut self.spec, &old.spec), (&mut self.status, &old.status));
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        if let Some(spec) = &self.spec {
            validate_spec(spec, errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Class", "Who serves it."),
            Column::text("Hosts", "Names that requests ask for."),
            Column::text("Address", "Where it is served."),
            Column::text("Ports", "Ports of that address."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let spec = self.spec.as_ref();
        let rules = spec.and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
        let hosts: Vec<&str> = rules.iter().filter_map(|rule| rule.host.as_deref()).collect();
        let balancer = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        let address = points.iter().filter_map(|point| point.ip.as_deref().or(point.hostname.as_deref()));
        let has_tls = spec.is_some_and(|spec| spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()));
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(spec.and_then(|spec| spec.ingress_class_name.as_deref()).unwrap_or("<none>")),
            Cell::from(if hosts.is_empty() { "*".to_owned() } else { first_and_more(&hosts, 3) }),
            Cell::from(address.collect::<Vec<_>>().join(",")),
            Cell::from(if has_tls { "80, 443" } else { "80" }),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

fn validate_spec(spec: &IngressSpec, errors: &mut FieldErrors) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    match &spec.default_backend {
        None if rules.is_empty() => {
            errors.invalid(&SPEC, Shown::json(spec), "either `defaultBackend` or `rules` must be specified");
        }
        None => {}
        Some(backend) => validate_backend(backend, &SPEC.child("defaultBackend"), errors),
    }
    if let Some(class) = &spec.ingress_class_name {
        let path = SPEC.child("ingressClassName");
        validation::syntax(&path, class, meta::dns_1123_subdomain_faults, errors);
    }
    let list = SPEC.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        if let Some(host) = rule.host.as_ref().filter(|host| !host.is_empty()) {
            validate_host(host, &path.child("host"), errors);
        }
        let http = path.child("http");
        let paths = rule.http.as_ref().map(|http| http.paths.as_slice());
        if paths.is_some_and(|paths| paths.is_empty()) {
            errors.required(&http.child("paths"), "");
        }
        let list = http.child("paths");
        for (index, path) in paths.unwrap_or_default().iter().enumerate() {
            validate_path(path, &list.index(index), errors);
        }
    }
}

fn validate_host(host: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.invalid(path, host, "must be a DNS name, not an IP address");
    } else {
        let name = host.strip_prefix("*.").unwrap_or(host);
        for fault in meta::dns_1123_subdomain_faults(name) {
            errors.invalid(path, host, &fault);
        }
    }
}

fn validate_path(item: &HTTPIngressPath, path: &Path<'_>, errors: &mut FieldErrors) {
    let known = &["Exact", "ImplementationSpecific", "Prefix"];
    validation::required_word(&path.child("pathType"), Some(&item.path_type), known, errors);
    let text = item.path.as_deref().unwrap_or_default();
    let must_begin = matches!(item.path_type.as_str(), "Exact" | "Prefix") || !text.is_empty();
    if must_begin && !text.starts_with('/') {
        errors.invalid(&path.child("path"), text, "must be an absolute path");
    }
    validate_backend(&item.backend, &path.child("backend"), errors);
}

fn validate_backend(backend: &IngressBackend, path: &Path<'_>, errors: &mut FieldErrors) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.required(path, "resource or service backend is required"),
        (None, Some(resource)) if resource.name.is_empty() => {
            let resource = path.child("resource");
            errors.required(&resource.child("name"), "");
        }
        (None, Some(_)) => {}
        (Some(service), None) => {
            let path = path.child("service");
            if service.name.is_empty() {
                errors.required(&path.child("name"), "");
            } else {
                validation::syntax(&path.child("name"), &service.name, meta::dns_1035_label_faults, errors);
            }
            validate_port(service.port.as_ref(), &path.child("port"), errors);
        }
    }
}

fn validate_port(port: Option<&ServiceBackendPort>, path: &Path<'_>, errors: &mut FieldErrors) {
    let name = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
    match (name, port.and_then(|port| port.number).filter(|number| *number != 0)) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both port name & port number"),
        (None, None) => errors.required(path, "port name or number is required"),
        (Some(name), None) => validation::syntax(&path.child("name"), name, meta::port_name_faults, errors),
        (None, Some(number)) => validation::port(&path.child("number"), number, errors),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, update};

    const INGRESS: &str = "
metadata: {name: web}
spec:
  ingressClassName: nginx
  tls: [{hosts: [a.test]}]
  rules:
  - {host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}
  - {host: '*.b.test', http: {paths: [{pathType: ImplementationSpecific, backend: {service: {name: web, port: {name: http}}}}]}}
";

    #[test]
    fn broken_ingresses_are_told_what_is_wrong() {
        check_invalid::<Ingress>(
            "{metadata: {name: web}, spec: {}}",
            expect!["spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"],
        );
        check_invalid::<Ingress>(
            "
metadata: {name: web}
spec:
  defaultBackend: {}
  rules:
  - {host: 10.1.2.3, http: {paths: []}}
  - {host: A.test, http: {paths: [{path: x, pathType: Prefix, backend: {service: {name: '', port: {}}}}]}}
  - {http: {paths: [{pathType: Some, backend: {service: {name: web, port: {name: a, number: 1}}}}]}}
",
            expect![[r#"
                spec.defaultBackend: Required value: resource or service backend is required
                spec.rules[0].host: Invalid value: "10.1.2.3": must be a DNS name, not an IP address
                spec.rules[0].http.paths: Required value
                spec.rules[1].host: Invalid value: "A.test": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                spec.rules[1].http.paths[0].path: Invalid value: "x": must be an absolute path
                spec.rules[1].http.paths[0].backend.service.name: Required value
                spec.rules[1].http.paths[0].backend.service.port: Required value: port name or number is required
                spec.rules[2].http.paths[0].pathType: Unsupported value: "Some": supported values: "Exact", "ImplementationSpecific", "Prefix"
                spec.rules[2].http.paths[0].backend.service.port: Invalid value: "": cannot set both port name & port number"#]],
        );
    }

    #[test]
    fn an_ingress_is_a_row() {
        let served = format!("{INGRESS}\nstatus: {{loadBalancer: {{ingress: [{{ip: 127.0.0.1}}]}}}}");
        check_row::<Ingress>(
            update::<Ingress>(INGRESS, &served, Target::Status).unwrap().as_ref(),
            expect![[r#"
                Name: "web"
                Class: "nginx"
                Hosts: "a.test,*.b.test"
                Address: "127.0.0.1"
                Ports: "80, 443"
                Age: "0s""#]],
        );
    }
}
