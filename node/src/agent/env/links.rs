//! Variables that tell a container of the Services in its namespace: `WEB_SERVICE_HOST`, `WEB_SERVICE_PORT`, and the
//! older `WEB_PORT_80_TCP…`. The API server's own are always there; the others unless the pod says
//! `enableServiceLinks: false`.

use std::collections::BTreeMap;

/// What the variables of one Service are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The Service's name.
    pub name: String,
    /// Its cluster address.
    pub address: String,
    /// Its ports, at least one.
    pub ports: Vec<LinkPort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPort {
    /// Empty for the only one without a name.
    pub name: String,
    /// The number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// The variables of these Services.
pub fn links<'a>(services: impl IntoIterator<Item = &'a Link>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for link in services {
        let name = variable(&link.name);
        let Some(first) = link.ports.first() else { continue };
        env.insert(format!("{name}_SERVICE_HOST"), link.address.clone());
        env.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
        env.insert(format!("{name}_PORT"), url(link, first));
        for port in &link.ports {
            if !port.name.is_empty() {
                env.insert(format!("{name}_SERVICE_PORT_{}", variable(&port.name)), port.port.to_string());
            }
            let prefix = format!("{name}_PORT_{}_{}", port.port, port.protocol.to_uppercase());
            env.insert(format!("{prefix}_PROTO"), port.protocol.to_lowercase());
            env.insert(format!("{prefix}_PORT"), port.port.to_string());
            env.insert(format!("{prefix}_ADDR"), link.address.clone());
            env.insert(prefix, url(link, port));
        }
    }
    env
}

fn url(link: &Link, port: &LinkPort) -> String {
    format!("{}://{}:{}", port.protocol.to_lowercase(), link.address, port.port)
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
