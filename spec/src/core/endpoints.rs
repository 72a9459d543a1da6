//! Endpoints: the older list of addresses behind a Service; EndpointSlice has taken its place.
//!
//! Rules: `pkg/apis/core/validation` (ValidateEndpoints). Addresses in the loopback range are allowed, other than
//! upstream: pods of a cluster on one machine have them.

use k8s_openapi::api::core::v1::{EndpointPort, EndpointSubset, Endpoints};
use k8s_openapi::jiff::Timestamp;

use crate::defaults;
use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, Resource};
use crate::table::{Cell, Column, age};
use crate::validation;

/// How many addresses a table cell shows.
const SHOWN: usize = 3;

impl Resource for Endpoints {
    fn declaration() -> Declaration {
        Declaration { create_on_update: true, ..Declaration::of::<Self>("endpoints").short_names(&["ep"]) }
    }

    fn set_defaults(&mut self) {
        for port in self.subsets.iter_mut().flatten().flat_map(|subset| subset.ports.iter_mut().flatten()) {
            defaults::text(&mut port.protocol, "TCP");
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let subsets = Path::new("subsets");
        for (index, subset) in self.subsets.iter().flatten().enumerate() {
            validate_subset(subset, &subsets.index(index), errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Endpoints", "Addresses that answer for the service."), Column::AGE]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(addresses(self.subsets.as_deref().unwrap_or_default())),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

fn validate_subset(subset: &EndpointSubset, path: &Path<'_>, errors: &mut FieldErrors) {
    let ready = subset.addresses.as_deref().unwrap_or_default();
    let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
    if ready.is_empty() && not_ready.is_empty() {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        let list = path.child(field);
        for (index, address) in addresses.iter().enumerate() {
            validation::ip_address(&list.index(index).child("ip"), &address.ip, errors);
            if let Some(hostname) = address.hostname.as_deref().filter(|name| !name.is_empty()) {
                let path = list.index(index);
                validation::syntax(&path.child("hostname"), hostname, meta::dns_1123_label_faults, errors);
            }
        }
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    let list = path.child("ports");
    for (index, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &list.index(index), errors);
    }
}

fn validate_port(port: &EndpointPort, named: bool, path: &Path<'_>, errors: &mut FieldErrors) {
    match port.name.as_deref().unwrap_or_default() {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        name => validation::syntax(&path.child("name"), name, meta::dns_1123_label_faults, errors),
    }
    validation::port(&path.child("port"), port.port, errors);
    validation::required_word(&path.child("protocol"), port.protocol.as_ref(), validation::PROTOCOLS, errors);
}

fn addresses(subsets: &[EndpointSubset]) -> String {
    let mut all = Vec::new();
    for subset in subsets {
        let ips = subset.addresses.iter().flatten().map(|address| address.ip.as_str());
        match subset.ports.as_deref().unwrap_or_default() {
            [] => all.extend(ips.map(str::to_owned)),
            ports => {
                for port in ports {
                    all.extend(ips.clone().map(|ip| host_port(ip, port.port)));
                }
            }
        }
    }
    match (subsets, all.len()) {
        ([], _) => "<none>".to_owned(),
        (_, count) if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests;
