//! A machine asks to become a node: what is checked, what is written, and what it is given.
//!
//! A node that joined has a record, `/isopod/nodes/<name>`, with its range of pod addresses: so no two nodes ever have
//! an address in common, whichever members let them in. Joining again with the same name is for a node whose Node object
//! was deleted: until then a token does not let anybody take the place of a node that there is.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use isopod_raft_store::{Compare, KeyRange, Op, Snapshot, Txn};
use isopod_spec::registry;
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

use super::Membership;
use super::entry::{self, Entry};
use super::protocol::{NodeAnswer, NodeRequest, RenewalAnswer, RenewalRequest};
use super::record::Roll;
use super::token::Role;
use crate::objects;
use crate::security::{ca, tls};

/// Prefix of the records' keys.
const NODES: &str = "/isopod/nodes/";
/// Where pods have their addresses, and how much of it a node gets that does not say: 4,094 of them.
const POD_RANGE: Block = Block { base: Ipv4Addr::new(127, 42, 0, 0), prefix: 16 };
const NODE_PREFIX: u8 = 20;
/// A range that a node brings along must have room for some pods.
const PREFIX_MAX: u8 = 28;
/// Tries of the transaction: each means that another node joined at the same moment.
const TRIES_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    pod_cidr: String,
}

impl Membership {
    /// Lets a machine in as a node, and gives it its identity.
    pub(super) async fn enroll(&self, request: NodeRequest) -> Result<NodeAnswer, Status> {
        let entry = Entry::read(request.version, &request.token, Role::Node)?;
        entry.check_token(&self.newest().await?)?;
        entry.check_clock(request.time)?;
        check(&request, &self.service_cidr).map_err(Status::bad_request)?;
        for _ in 0..TRIES_MAX {
            let state = self.newest().await?;
            let (key, at) = entry.check_token(&state)?;
            let range = range(&state, &request).map_err(Status::bad_request)?;
            let record = serde_json::to_vec(&Record { pod_cidr: range.to_string() });
            let record = record.expect("a record has only a string");
            let txn = Txn {
                compares: vec![
                    Compare::Modified(key.into(), at),
                    Compare::RangeUnchanged(KeyRange::prefix(NODES), state.revision()),
                ],
                ops: vec![Op::Put(node_key(&request.name), record.into())],
            };
            if self.propose(txn).await?.held() {
                tracing::info!(node = request.name, %range, "a node has joined");
                return self.identity(&request, range).map_err(Status::internal);
            }
        }
        Err(Status::unavailable("many nodes join at once: try again"))
    }

    /// New certificates for a node that shows its old ones. One whose object was deleted has to join again.
    pub(super) async fn renew(&self, name: &str, request: &RenewalRequest) -> Result<RenewalAnswer, Status> {
        check_address(request.address).map_err(Status::bad_request)?;
        if self.newest().await?.get(&registry::kind_of::<Node>().key("", name)).is_none() {
            return Err(Status::bad_request(format!(
                "there is no node {name} any more: remove its data folder, and join again with a new token"
            )));
        }
        let issued = self.authority.issue_node(name, request.address, self.node_certificate_life);
        let (client, server) = issued.map_err(Status::internal)?;
        tracing::info!(node = name, "the certificates of a node are renewed");
        Ok(RenewalAnswer {
            client_certificate_pem: client.certificate_pem,
            client_key_pem: client.key_pem,
            server_certificate_pem: server.certificate_pem,
            server_key_pem: server.key_pem,
        })
    }

    fn identity(&self, request: &NodeRequest, range: Block) -> Result<NodeAnswer, ca::Error> {
        let (client, server) =
            self.authority.issue_node(&request.name, request.address, self.node_certificate_life)?;
        Ok(NodeAnswer {
            authority_pem: self.authority.certificate_pem().to_owned(),
            client_certificate_pem: client.certificate_pem,
            client_key_pem: client.key_pem,
            server_certificate_pem: server.certificate_pem,
            server_key_pem: server.key_pem,
            pod_cidr: range.to_string(),
            service_cidr: self.service_cidr.clone(),
            servers: Roll::of(&self.store)
                .all(&self.store.snapshot())
                .into_values()
                .map(|r| r.api_address)
                .collect(),
        })
    }
}

/// What can be said without looking at other nodes.
fn check(request: &NodeRequest, service_cidr: &str) -> Result<(), String> {
    let NodeRequest { name, address, .. } = request;
    entry::check_name(name, "node")?;
    if tls::is_a_members_name(name) {
        return Err(format!(
            "{name:?} stands for members of the control plane: choose another name with --name"
        ));
    }
    check_address(*address)?;
    let is_loopback = Block::parse(service_cidr).is_some_and(|range| range.base.is_loopback());
    if !is_loopback {
        return Err(format!(
            "the cluster's range of Service addresses is {service_cidr}, and nodes of this release need one in 127.0.0.0/8: found the cluster with --service-cidr 127.43.0.0/16"
        ));
    }
    Ok(())
}

/// Traffic between machines has no way yet, so a node must be where the addresses of its pods are.
fn check_address(address: IpAddr) -> Result<(), String> {
    if address.is_loopback() {
        return Ok(());
    }
    Err(format!("{address} is not in 127.0.0.0/8: this release runs the nodes of a cluster on one machine"))
}

/// The range that the node gets.
fn range(state: &Snapshot, request: &NodeRequest) -> Result<Block, String> {
    let name = &request.name;
    let object = registry::kind_of::<Node>().key("", name);
    let own: Option<Record> =
        state.get(&node_key(name)).and_then(|entry| serde_json::from_slice(&entry.value).ok());
    if own.is_some() && state.get(&object).is_some() {
        return Err(format!(
            "there is a node {name} already: choose another name with --name, or delete it first (kubectl delete node {name}) when this machine takes its place"
        ));
    }
    let taken = taken(state, name);
    choose(request.pod_cidr.as_deref(), own.map(|record| record.pod_cidr).as_deref(), &taken)
}

/// Ranges of other nodes: those that joined, and those that a member itself runs.
fn taken(state: &Snapshot, name: &str) -> Vec<(String, Block)> {
    let joined = state.range(&KeyRange::prefix(NODES)).filter_map(|(key, entry)| {
        let node = std::str::from_utf8(key.get(NODES.len()..)?).ok()?;
        let record: Record = serde_json::from_slice(&entry.value).ok()?;
        Some((node.to_owned(), record.pod_cidr))
    });
    let objects = state.range(&KeyRange::prefix(registry::kind_of::<Node>().prefix(None)));
    let registered = objects.filter_map(|(_, entry)| {
        let node: Node = objects::try_decode(entry).ok()?;
        Some((node.metadata.name?, node.spec?.pod_cidr?))
    });
    let all = joined.chain(registered).filter(|(node, _)| node != name);
    all.filter_map(|(node, range)| Some((node, Block::parse(&range)?))).collect()
}

/// The range that is wanted, else that of last time, else the first free one.
fn choose(wanted: Option<&str>, before: Option<&str>, taken: &[(String, Block)]) -> Result<Block, String> {
    let in_the_way = |range: Block| taken.iter().find(|(_, other)| other.overlaps(range));
    if let Some(text) = wanted {
        let range = Block::parse(text).filter(|range| range.base.is_loopback() && range.prefix <= PREFIX_MAX);
        let range = range.ok_or_else(|| {
            format!("{text:?} is not a range of pod addresses in 127.0.0.0/8 with room for 16, such as 127.42.16.0/20")
        })?;
        return match in_the_way(range) {
            Some((node, other)) => Err(format!("node {node} has {other}, which overlaps with {range}")),
            None => Ok(range),
        };
    }
    let before = before.and_then(Block::parse).filter(|range| in_the_way(*range).is_none());
    let free = || POD_RANGE.parts(NODE_PREFIX).find(|range| in_the_way(*range).is_none());
    before.or_else(free).ok_or_else(|| {
        format!("all of {POD_RANGE} belongs to other nodes: give this one a range of its own with --pod-cidr")
    })
}

fn node_key(name: &str) -> Bytes {
    format!("{NODES}{name}").into()
}

/// A range of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    base: Ipv4Addr,
    prefix: u8,
}

impl Block {
    fn parse(text: &str) -> Option<Block> {
        let (base, prefix) = text.split_once('/')?;
        let (base, prefix): (Ipv4Addr, u8) = (base.parse().ok()?, prefix.parse().ok()?);
        let block = Block { base, prefix };
        (prefix <= 32 && base.to_bits() & !block.mask() == 0).then_some(block)
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    fn overlaps(self, other: Block) -> bool {
        let mask = self.mask() & other.mask();
        self.base.to_bits() & mask == other.base.to_bits() & mask
    }

    /// Its parts of this length, in order.
    fn parts(self, prefix: u8) -> impl Iterator<Item = Block> {
        let count = 1u32 << (prefix - self.prefix);
        let step = 1u32 << (32 - prefix);
        (0..count).map(move |n| Block { base: Ipv4Addr::from_bits(self.base.to_bits() + n * step), prefix })
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol;
    use super::*;

    fn taken(ranges: &[&str]) -> Vec<(String, Block)> {
        ranges.iter().map(|range| ("other".to_owned(), Block::parse(range).unwrap())).collect()
    }

    #[test]
    fn a_node_gets_the_first_range_that_nobody_has() {
        let range = |others: &[&str]| choose(None, None, &taken(others)).map(|range| range.to_string());
        assert_eq!(range(&[]), Ok("127.42.0.0/20".into()));
        assert_eq!(range(&["127.42.0.0/20", "127.42.32.0/20"]), Ok("127.42.16.0/20".into()));
        assert_eq!(range(&["127.42.0.0/18"]), Ok("127.42.64.0/20".into()));
        assert!(range(&["127.42.0.0/16"]).unwrap_err().contains("--pod-cidr"));
    }

    #[test]
    fn a_node_that_joins_again_keeps_its_range() {
        let again = choose(None, Some("127.42.48.0/20"), &taken(&["127.42.0.0/20"]));
        assert_eq!(again.unwrap().to_string(), "127.42.48.0/20");
        let lost = choose(None, Some("127.42.48.0/20"), &taken(&["127.42.48.0/24"]));
        assert_eq!(lost.unwrap().to_string(), "127.42.0.0/20");
    }

    #[test]
    fn a_range_that_is_wanted_must_be_one_that_can_be_had() {
        let wanted = |text| choose(Some(text), None, &taken(&["127.42.0.0/20"]));
        assert_eq!(wanted("127.50.0.0/24").unwrap().to_string(), "127.50.0.0/24");
        assert_eq!(
            wanted("127.42.8.0/24").unwrap_err(),
            "node other has 127.42.0.0/20, which overlaps with 127.42.8.0/24"
        );
        for text in ["10.1.0.0/16", "127.42.0.0/30", "127.42.0.1/20", "127.42.0.0", "x"] {
            let error = wanted(text).unwrap_err();
            assert!(error.contains(text) && error.contains("such as"), "{error}");
        }
    }

    #[test]
    fn what_a_node_of_this_release_cannot_be_is_said() {
        let request = NodeRequest {
            version: protocol::VERSION,
            token: String::new(),
            name: "n1".into(),
            address: Ipv4Addr::LOCALHOST.into(),
            time: 0,
            pod_cidr: None,
        };
        assert_eq!(check(&request, "127.43.0.0/16"), Ok(()));
        let error = |request: &NodeRequest, range| check(request, range).unwrap_err();
        assert!(error(&request, "10.43.0.0/16").contains("--service-cidr 127.43.0.0/16"));
        let far = NodeRequest { address: Ipv4Addr::new(192, 0, 2, 1).into(), ..request.clone() };
        assert!(error(&far, "127.43.0.0/16").contains("on one machine"));
        let named = NodeRequest { name: "N 1".into(), ..request };
        assert!(error(&named, "127.43.0.0/16").contains("--name"));
    }
}
