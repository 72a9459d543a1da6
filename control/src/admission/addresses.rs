//! Service addresses and node ports: who owns which.
//!
//! Each address and port in use is a key in the store whose value names the Service. The keys are written and
//! deleted in the transaction that writes the Service, under the compare that nobody owns them, so that two
//! Services never share one, whatever races.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bytes::Bytes;
use isopod_raft_store::{Compare, Op, Snapshot};
use isopod_spec::field_error::{FieldErrors, Path, Shown};
use k8s_openapi::api::core::v1::Service;

use super::Additions;

/// Ports that a Service of type `NodePort` or `LoadBalancer` may have on every node.
pub(crate) const NODE_PORTS: RangeInclusive<u16> = 30000..=32767;

/// The start of a range, left to people who choose by hand as long as there is room elsewhere.
struct Band {
    /// One of so many.
    share: u32,
    /// At most.
    max: u32,
}

/// Upstream's bands: at least 16, so that a small range has one too.
const BAND_MIN: u32 = 16;
const ADDRESS_BAND: Band = Band { share: 16, max: 256 };
const PORT_BAND: Band = Band { share: 32, max: 128 };

const ADDRESS_KEYS: &str = "/registry/ranges/serviceips/";
const PORT_KEYS: &str = "/registry/ranges/servicenodeports/";

/// The addresses that Services get, such as `10.43.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRange {
    base: u32,
    prefix: u8,
}

/// A text that is no usable range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 range with room for services, such as 10.43.0.0/16 (/8 to /28)")]
pub struct InvalidRange(String);

impl FromStr for ServiceRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<ServiceRange, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 =
            prefix.parse().ok().filter(|prefix| (8..=28).contains(prefix)).ok_or_else(invalid)?;
        let mask = u32::MAX << (32 - u32::from(prefix));
        Ok(ServiceRange { base: address.to_bits() & mask, prefix })
    }
}

impl std::fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.prefix)
    }
}

impl ServiceRange {
    /// How many addresses can be given: all but the network's and the broadcast address.
    fn size(self) -> u32 {
        (1 << (32 - u32::from(self.prefix))) - 2
    }

    /// The address at `offset`, which counts from 0.
    fn nth(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base + 1 + offset)
    }

    /// The first address: the one of the API itself, `default/kubernetes`.
    pub fn first(self) -> Ipv4Addr {
        self.nth(0)
    }

    /// Whether a Service may have this address.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().wrapping_sub(self.base + 1);
        offset < self.size()
    }
}

/// Why a Service could not get what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A field asks for what it cannot have.
    Invalid(FieldErrors),
    /// Nothing is left.
    Full(&'static str),
}

/// Fills in addresses and ports of `service` and says what the transaction must claim and free.
///
/// `old` is the Service as stored, when this is an update. `seed` chooses among what is free.
pub(crate) fn assign(
    service: &mut Service,
    old: Option<&Service>,
    range: ServiceRange,
    snapshot: &Snapshot,
    seed: u32,
) -> Result<Additions, Refusal> {
    assign_free(service, old, range, &|key| snapshot.get(key.as_bytes()).is_some(), seed)
}

fn assign_free(
    service: &mut Service,
    old: Option<&Service>,
    range: ServiceRange,
    is_taken: &dyn Fn(&str) -> bool,
    seed: u32,
) -> Result<Additions, Refusal> {
    let held = old.map(claims).unwrap_or_default();
    let is_free = |key: &str| held.contains(key) || !is_taken(key);
    if let Some(old) = old {
        keep_assigned(service, old);
    }
    let mut errors = FieldErrors::new();
    assign_address(service, range, &is_free, seed, &mut errors)?;
    assign_ports(service, &is_free, seed, &mut errors)?;
    if !errors.is_empty() {
        return Err(Refusal::Invalid(errors));
    }
    Ok(change(&held, &claims(service), &owner(service)))
}

/// What the transaction must free when the Service goes.
pub(crate) fn release(service: &Service) -> Additions {
    change(&claims(service), &BTreeSet::new(), "")
}

fn change(held: &BTreeSet<String>, wanted: &BTreeSet<String>, owner: &str) -> Additions {
    let mut additions = Additions::default();
    for key in wanted.difference(held) {
        let key = Bytes::from(key.clone());
        additions.compares.push(Compare::Absent(key.clone()));
        additions.ops.push(Op::Put(key, Bytes::copy_from_slice(owner.as_bytes())));
    }
    additions.ops.extend(held.difference(wanted).map(|key| Op::Delete(Bytes::from(key.clone()))));
    additions
}

fn owner(service: &Service) -> String {
    let meta = &service.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// The keys a Service owns.
fn claims(service: &Service) -> BTreeSet<String> {
    let Some(spec) = &service.spec else { return BTreeSet::new() };
    let address =
        spec.cluster_ip.iter().filter(|_| needs_address(service)).map(|ip| format!("{ADDRESS_KEYS}{ip}"));
    let ports =
        spec.ports.iter().flatten().filter_map(|port| port.node_port).filter(|_| needs_ports(service));
    address.chain(ports.filter(|port| *port > 0).map(|port| format!("{PORT_KEYS}{port}"))).collect()
}

fn service_type(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

fn needs_address(service: &Service) -> bool {
    service_type(service) != "ExternalName" && !is_headless(service)
}

fn needs_ports(service: &Service) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.spec.as_ref().and_then(|spec| spec.allocate_load_balancer_node_ports) != Some(false)
        }
        _ => false,
    }
}

/// What an update leaves out it keeps, and what its type no longer has it loses, so that a manifest without
/// addresses can be applied again and again, also after a change of type.
fn keep_assigned(service: &mut Service, old: &Service) {
    let (address, ports) = (needs_address(service), needs_ports(service));
    let had_address = needs_address(old);
    let (Some(spec), Some(before)) = (service.spec.as_mut(), old.spec.as_ref()) else { return };
    let unset = spec.cluster_ip.as_deref().is_none_or(str::is_empty);
    if address && had_address && unset {
        spec.cluster_ip.clone_from(&before.cluster_ip);
        spec.cluster_ips.clone_from(&before.cluster_ips);
    }
    if !address && had_address && spec.cluster_ip == before.cluster_ip {
        spec.cluster_ip = None;
        spec.cluster_ips = None;
    }
    for port in spec.ports.iter_mut().flatten() {
        let same =
            before.ports.iter().flatten().find(|own| own.port == port.port && own.protocol == port.protocol);
        let assigned = same.and_then(|own| own.node_port);
        if ports && port.node_port.unwrap_or(0) == 0 {
            port.node_port = assigned;
        } else if !ports && port.node_port == assigned {
            port.node_port = None;
        }
    }
}

fn assign_address(
    service: &mut Service,
    range: ServiceRange,
    is_free: &dyn Fn(&str) -> bool,
    seed: u32,
    errors: &mut FieldErrors,
) -> Result<(), Refusal> {
    let needed = needs_address(service);
    let Some(spec) = service.spec.as_mut().filter(|_| needed) else { return Ok(()) };
    let free = |address: Ipv4Addr| is_free(&format!("{ADDRESS_KEYS}{address}"));
    let asked = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
    let Some(asked) = asked else {
        let offset = pick(range.size(), &ADDRESS_BAND, seed, |offset| free(range.nth(offset)));
        let address = offset.map(|offset| range.nth(offset).to_string());
        let address = address.ok_or(Refusal::Full("failed to allocate a serviceIP: range is full"))?;
        spec.cluster_ips = Some(vec![address.clone()]);
        spec.cluster_ip = Some(address);
        return Ok(());
    };
    let address: Option<Ipv4Addr> = asked.parse().ok();
    let problem = match address {
        None => "the provided network does not match the current range".to_owned(),
        Some(address) if !range.contains(address) => format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
        ),
        Some(address) if !free(address) => "provided IP is already allocated".to_owned(),
        Some(_) => {
            if spec.cluster_ips.as_deref().is_none_or(<[String]>::is_empty) {
                spec.cluster_ips = Some(vec![asked.to_owned()]);
            }
            return Ok(());
        }
    };
    let detail = format!("failed to allocate IP {asked}: {problem}");
    errors.invalid(&Path::new("spec").child("clusterIPs"), Shown::json(&[asked]), &detail);
    Ok(())
}

fn assign_ports(
    service: &mut Service,
    is_free: &dyn Fn(&str) -> bool,
    seed: u32,
    errors: &mut FieldErrors,
) -> Result<(), Refusal> {
    let needed = needs_ports(service);
    let Some(spec) = service.spec.as_mut().filter(|_| needed) else { return Ok(()) };
    let free = |port: u16| is_free(&format!("{PORT_KEYS}{port}"));
    // The same number may serve two protocols of one Service, so only what others own is taken.
    let ports = spec.ports.as_deref_mut().unwrap_or_default();
    let mut own: BTreeSet<u16> =
        ports.iter().filter_map(|port| u16::try_from(port.node_port?).ok()).collect();
    let spec_path = Path::new("spec");
    let list = spec_path.child("ports");
    for (index, port) in ports.iter_mut().enumerate() {
        let asked = port.node_port.unwrap_or(0);
        if asked == 0 {
            let size = u32::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
            let nth = |offset: u32| NODE_PORTS.start() + u16::try_from(offset).unwrap_or(0);
            let offset =
                pick(size, &PORT_BAND, seed, |offset| !own.contains(&nth(offset)) && free(nth(offset)));
            let given =
                offset.map(nth).ok_or(Refusal::Full("failed to allocate a nodePort: range is full"))?;
            own.insert(given);
            port.node_port = Some(given.into());
            continue;
        }
        let number = u16::try_from(asked).ok().filter(|number| NODE_PORTS.contains(number));
        let problem = match number {
            None => format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            ),
            Some(number) if !free(number) => "provided port is already allocated".to_owned(),
            Some(_) => continue,
        };
        errors.invalid(&list.index(index).child("nodePort"), asked, &problem);
    }
    Ok(())
}

/// A free offset below `size`: chosen by `seed` above the band that is left to people, else inside it.
fn pick(size: u32, band: &Band, seed: u32, free: impl Fn(u32) -> bool) -> Option<u32> {
    let band = (size / band.share).clamp(BAND_MIN.min(size), band.max.min(size));
    let from = |start: u32, length: u32| {
        let first = seed.checked_rem(length).unwrap_or(0);
        (0..length).map(|step| start + (first + step) % length).find(|offset| free(*offset))
    };
    from(band, size - band).or_else(|| from(0, band))
}

#[cfg(test)]
mod tests;
