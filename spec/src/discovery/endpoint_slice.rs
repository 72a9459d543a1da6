//! EndpointSlice: addresses that answer for a Service, at most a thousand to a slice.
//!
//! Rules: `pkg/apis/discovery/validation`, `pkg/registry/discovery/endpointslice`. Addresses in the loopback range
//! are allowed, other than upstream: pods of a cluster on one machine have them.

use std::net::{Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::jiff::Timestamp;

use crate::defaults;
use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
/// How many items a table cell shows.
const SHOWN: usize = 3;

impl Resource for EndpointSlice {
    fn declaration() -> Declaration {
        Declaration { has_generation: true, ..Declaration::of::<Self>("endpointslice") }
    }

    fn set_defaults(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            // Never null: clients compare the name with that of the service's port.
            port.name.get_or_insert_default();
            defaults::text(&mut port.protocol, "TCP");
        }
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.endpoints != old.endpoints
            || self.ports != old.ports
            || self.address_type != old.address_type
            || self.metadata.labels != old.metadata.labels
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validation::required_word(
            &Path::new("addressType"),
            Some(&self.address_type),
            &["FQDN", "IPv4", "IPv6"],
            errors,
        );
        let list = Path::new("endpoints");
        let endpoints = self.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > ENDPOINTS_MAX {
            errors.too_many(&list, endpoints.len(), ENDPOINTS_MAX);
            return;
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, &self.address_type, &list.index(index), errors);
        }
        validate_ports(self.ports.as_deref().unwrap_or_default(), errors);
    }

    fn validate_update(&self, old: &Self, _: Target, errors: &mut FieldErrors) {
        meta::immutable(&Path::new("addressType"), &self.address_type, &old.address_type, errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("AddressType", "What the addresses are."),
            Column::text("Ports", "Ports that each of them answers on."),
            Column::text("Endpoints", "The addresses."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let ports = self.ports.iter().flatten().map(port_text);
        let addresses =
            self.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.iter().cloned());
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(self.address_type.as_str()),
            Cell::from(first_few(ports.collect())),
            Cell::from(first_few(addresses.collect())),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

fn validate_endpoint(endpoint: &Endpoint, address_type: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let list = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&list, "must contain at least 1 address"),
        count if count > ADDRESSES_MAX => errors.too_many(&list, count, ADDRESSES_MAX),
        _ => {}
    }
    for (index, address) in endpoint.addresses.iter().enumerate() {
        let path = list.index(index);
        match address_type {
            "IPv4" if address.parse::<Ipv4Addr>().is_err() => {
                errors.invalid(&path, address, "must be a valid IPv4 address");
            }
            "IPv6" if address.parse::<Ipv6Addr>().is_err() => {
                errors.invalid(&path, address, "must be a valid IPv6 address");
            }
            "FQDN" => validation::syntax(&path, address, meta::dns_1123_subdomain_faults, errors),
            _ => {}
        }
    }
    if let Some(hostname) = &endpoint.hostname {
        validation::syntax(&path.child("hostname"), hostname, meta::dns_1123_label_faults, errors);
    }
}

fn validate_ports(ports: &[EndpointPort], errors: &mut FieldErrors) {
    let list = Path::new("ports");
    if ports.len() > PORTS_MAX {
        errors.too_many(&list, ports.len(), PORTS_MAX);
        return;
    }
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            validation::syntax(&path.child("name"), name, meta::dns_1123_label_faults, errors);
        }
        if ports[..index].iter().any(|other| other.name == port.name) {
            errors.duplicate(&path.child("name"), name);
        }
        let protocol = port.protocol.as_ref();
        validation::required_word(&path.child("protocol"), protocol, validation::PROTOCOLS, errors);
        if let Some(number) = port.port {
            validation::port(&path.child("port"), number, errors);
        }
    }
}

fn port_text(port: &EndpointPort) -> String {
    match (port.port, &port.name) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "*".to_owned(),
    }
}

fn first_few(items: Vec<String>) -> String {
    match items.len() {
        0 => "<unset>".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", items[..SHOWN].join(","), count - SHOWN),
        _ => items.join(","),
    }
}

#[cfg(test)]
mod tests;
