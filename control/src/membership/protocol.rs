//! What members and the command line say to each other below `/isopod/v1/`, as JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::record::Record;

/// Where a machine asks to become a member: POST a [`JoinRequest`]. The token is the only identity asked for.
pub const JOIN: &str = "/isopod/v1/join";
/// Where a machine asks to become a node: POST a [`NodeRequest`]. The token is the only identity asked for. Below it a
/// node keeps its connection (GET `<node>/connection`, an answer that does not end) and asks for new certificates (POST a
/// [`RenewalRequest`] to `<node>/certificates`).
pub const NODES: &str = "/isopod/v1/nodes";
/// GET lists the members ([`MemberList`]); DELETE below it removes one; POST to `<member>/promote` promotes one.
pub const MEMBERS: &str = "/isopod/v1/members";
/// POST hands over leadership ([`HandOver`]).
pub const LEADER: &str = "/isopod/v1/leader";

/// GET sends a snapshot of the whole store, as `isopod snapshot save` writes it.
pub const SNAPSHOT: &str = "/isopod/v1/snapshot";

/// Version of these messages; a member refuses one that it does not know.
pub const VERSION: u32 = 1;

/// A machine that wants to be a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// [`VERSION`] of the asking side.
    pub version: u32,
    /// Id and secret of the token.
    pub token: String,
    /// What it wants to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `host:port` where the other members shall reach it.
    pub peer_address: String,
    /// `host:port` of its API.
    pub api_address: String,
    /// Its clock: seconds since 1970.
    pub time: i64,
    /// The range of Service addresses that it was told, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<String>,
    /// Drawn at random. Whoever asks again with the same key, because the answer did not arrive, is the same machine.
    #[serde(default)]
    pub key: String,
}

/// What a new member is told.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinAnswer {
    /// The cluster's number, in hexadecimal digits.
    pub cluster: String,
    /// Its own number.
    pub member: u64,
    /// Its name.
    pub name: String,
    /// Certificate of the cluster's authority, PEM.
    pub authority_pem: String,
    /// Key of the cluster's authority, PEM.
    pub authority_key_pem: String,
    /// The key that the cluster's ServiceAccount tokens are signed with, PEM, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_key_pem: Option<String>,
    /// The cluster's range of Service addresses.
    pub service_cidr: String,
    /// All members, with itself.
    pub members: BTreeMap<u64, Record>,
    /// What the person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A machine that wants to be a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRequest {
    /// [`VERSION`] of the asking side.
    pub version: u32,
    /// Id and secret of the token.
    pub token: String,
    /// The name of its Node object.
    pub name: String,
    /// The address at which members ask it for logs.
    pub address: IpAddr,
    /// Its clock: seconds since 1970.
    pub time: i64,
    /// The range of pod addresses that it was told, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<String>,
}

/// What a new node is told.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAnswer {
    /// Certificate of the cluster's authority, PEM.
    pub authority_pem: String,
    /// The certificate that it shows to the API, PEM.
    pub client_certificate_pem: String,
    /// Its key, PEM.
    pub client_key_pem: String,
    /// The certificate of its own server, PEM.
    pub server_certificate_pem: String,
    /// Its key, PEM.
    pub server_key_pem: String,
    /// The range of its pods' addresses; no other node has any of them.
    pub pod_cidr: String,
    /// The cluster's range of Service addresses.
    pub service_cidr: String,
    /// `host:port` of every member's API.
    pub servers: Vec<String>,
}

/// A node whose certificates near their end; it shows them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalRequest {
    /// The address at which members ask it for logs.
    pub address: IpAddr,
}

/// What it is given.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalAnswer {
    /// The certificate that it shows to the API, PEM.
    pub client_certificate_pem: String,
    /// Its key, PEM.
    pub client_key_pem: String,
    /// The certificate of its own server, PEM.
    pub server_certificate_pem: String,
    /// Its key, PEM.
    pub server_key_pem: String,
}

/// All members, as the leader sees them when it can be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberList {
    /// The cluster's number, in hexadecimal digits.
    pub cluster: String,
    /// The Raft term.
    pub term: u64,
    /// The members, by number.
    pub members: Vec<MemberView>,
    /// What the person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it votes.
    pub role: MemberRole,
    /// Whether it leads.
    pub leader: bool,
    /// How it is.
    pub state: MemberState,
    /// The newest revision that it has applied; `None` when it did not say in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Log entries that it has not confirmed; known to the leader only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Where other members reach it.
    pub peer_address: String,
    /// Where its API is.
    pub api_address: String,
    /// The way to it from the member that made the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
}

/// The way from one member to another, since the first was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Whether messages are taken now.
    pub connected: bool,
    /// Bytes handed to the connection.
    pub sent_bytes: u64,
    /// Bytes dropped because the other side was slow or away.
    pub dropped_bytes: u64,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// It votes, and its disk counts for writes.
    Voter,
    /// It gets everything and decides nothing.
    Learner,
    /// It takes no part yet, or no more.
    None,
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberState {
    /// It answers.
    Healthy,
    /// It has not answered for some time.
    Silent,
    /// It is being sent the state.
    Syncing,
    /// It has joined and does not take part yet.
    Joining,
    /// It is being taken out.
    Leaving,
    /// Only the leader knows, and the leader cannot be asked.
    Unknown,
}

/// Whom to hand over leadership to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOver {
    /// Name or number; `None` for the one that is furthest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What was done, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The member that it was done to, or that leads now.
    pub member: u64,
    /// Its name.
    pub name: String,
    /// What the person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What to say about a number of voters; only odd ones are worth having.
pub fn advice(voters: usize) -> Option<String> {
    (voters >= 2 && voters.is_multiple_of(2)).then(|| {
        format!(
            "{voters} voting members survive the loss of {}, as {} would, and every write waits for one disk more: add or remove one",
            voters / 2 - 1,
            voters - 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_numbers_of_voters_are_advised_against() {
        assert_eq!([1, 3, 5].map(advice), [None, None, None]);
        let two = advice(2).unwrap();
        assert!(two.starts_with("2 voting members survive the loss of 0, as 1 would"), "{two}");
        let four = advice(4).unwrap();
        assert!(four.starts_with("4 voting members survive the loss of 1, as 3 would"), "{four}");
    }
}
