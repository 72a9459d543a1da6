//! Cluster names, answered without a DNS server.
//!
//! A pure resolver with the rules a pod's `resolv.conf` gives it under Kubernetes: names of fewer than five
//! dots are tried under the search domains `<namespace>.svc.cluster.local`, `svc.cluster.local` and
//! `cluster.local` first, then as they are; a trailing dot means "as it is". Source: the Kubernetes DNS
//! specification 1.1. SRV and PTR questions are not asked in process and have no answer here.

pub(crate) mod dns;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// The domain all cluster names end in.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// Names of fewer dots than this are tried under the search domains first (`ndots:5`).
const NDOTS: usize = 5;

/// No cluster name has more labels: `host.service.namespace.svc.cluster.local`.
const MAX_LABELS: usize = 6;

/// What a cluster knows by name.
pub trait Directory {
    /// A service, as the caller wants it back; cheap to clone.
    type Service;
    /// The service of this name.
    fn service(&self, namespace: &str, name: &str) -> Option<Self::Service>;
    /// The address of the pod with this host name behind the (headless) service.
    fn host(&self, service: &Self::Service, hostname: &str) -> Option<IpAddr>;
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<S> {
    /// A service: its addresses, or its pods' if it is headless.
    Service(S),
    /// One pod of a headless service.
    Host(S, IpAddr),
    /// An address spelled as a name (`10-42-0-5.shop.pod`).
    Pod(IpAddr),
    /// A name only the cluster could answer, and it does not.
    NoSuchName,
    /// A name of the world outside.
    Foreign,
}

/// Looks a name up for a pod of this namespace.
pub fn lookup<D: Directory>(name: &str, namespace: &str, directory: &D) -> Lookup<D::Service> {
    let name = lower_case(name);
    let (name, absolute) = match name.strip_suffix('.') {
        Some(name) => (name, true),
        None => (name.as_ref(), false),
    };
    let Some(labels) = Labels::of(name) else {
        return if name.ends_with(".cluster.local") { Lookup::NoSuchName } else { Lookup::Foreign };
    };
    let dots = labels.as_slice().len() - 1;
    let searches: [&[&str]; 3] = [&[namespace, "svc"], &["svc"], &[]];
    if !absolute && dots < NDOTS {
        let found =
            searches.iter().find_map(|domain| in_cluster(labels.under(domain)?.as_slice(), directory));
        if let Some(found) = found {
            return found;
        }
    }
    match labels.as_slice() {
        [inside @ .., "cluster", "local"] => in_cluster(inside, directory).unwrap_or(Lookup::NoSuchName),
        // No host outside has a name of one label, and `svc` is no top-level domain.
        [_] | [.., "svc"] => Lookup::NoSuchName,
        _ => Lookup::Foreign,
    }
}

/// Looks up a name whose labels stand before `cluster.local`.
fn in_cluster<D: Directory>(labels: &[&str], directory: &D) -> Option<Lookup<D::Service>> {
    match *labels {
        [service, namespace, "svc"] => directory.service(namespace, service).map(Lookup::Service),
        [host, service, namespace, "svc"] => {
            let service = directory.service(namespace, service)?;
            let addr = directory.host(&service, host)?;
            Some(Lookup::Host(service, addr))
        }
        [addr, _namespace, "pod"] => spelled_address(addr).map(Lookup::Pod),
        _ => None,
    }
}

/// `10-42-0-5` as an address.
fn spelled_address(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The labels of a name, leftmost first, without allocating: a request of a pod passes here.
struct Labels<'a> {
    labels: [&'a str; MAX_LABELS],
    len: usize,
}

impl<'a> Labels<'a> {
    /// `None` for what cannot name anything in the cluster: too many labels, or an empty one.
    fn of(name: &'a str) -> Option<Labels<'a>> {
        let mut all = Labels { labels: [""; MAX_LABELS], len: 0 };
        for label in name.split('.') {
            if label.is_empty() {
                return None;
            }
            all.push(label)?;
        }
        Some(all)
    }

    fn under(&self, domain: &[&'a str]) -> Option<Labels<'a>> {
        let mut all = Labels { labels: self.labels, len: self.len };
        for label in domain {
            all.push(label)?;
        }
        Some(all)
    }

    fn push(&mut self, label: &'a str) -> Option<()> {
        *self.labels.get_mut(self.len)? = label;
        self.len += 1;
        Some(())
    }

    fn as_slice(&self) -> &[&'a str] {
        &self.labels[..self.len]
    }
}

#[cfg(test)]
mod tests;
