//! The list of members: what the records say, and what only the leader knows.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use isopod_raft_store::{Leadership, MemberId, Members, Progress};

use super::protocol::{self, Link, MEMBERS, MemberList, MemberRole, MemberState, MemberView};
use super::record::{Record, Roll, Standing};
use super::{Membership, admit};
use crate::peers::PeerStatus;

/// How long the leader may take before a member answers with what it knows itself.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long each may take to say how far it is.
const REVISION_TIMEOUT: Duration = Duration::from_millis(500);
const LIST_BYTES_MAX: usize = 1 << 20;

/// Asks the API of other members, as a member.
pub(crate) struct LeaderClient(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl LeaderClient {
    /// A client that shows the member's certificate and trusts the cluster's authority only.
    pub(crate) fn new(tls: rustls::ClientConfig) -> LeaderClient {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        LeaderClient(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// What a member knows itself, so that two members never ask each other in circles.
    async fn list(&self, address: &str) -> Option<MemberList> {
        let asked = async {
            let request =
                Request::get(format!("https://{address}{MEMBERS}?from=here")).body(Empty::new()).ok()?;
            let answer = self.0.request(request).await.ok()?;
            let body = Limited::new(answer.into_body(), LIST_BYTES_MAX).collect().await.ok()?;
            serde_json::from_slice(&body.to_bytes()).ok()
        };
        tokio::time::timeout(LEADER_TIMEOUT, asked).await.ok().flatten()
    }
}

impl Membership {
    /// All members, as the leader sees them, or as this one does when the leader cannot be asked.
    pub(super) async fn list(&self) -> MemberList {
        let own = self.list_here();
        let leader = self.store.leadership().borrow().leader;
        let mut list = match own.members.iter().find(|member| leader == Some(MemberId(member.id))) {
            Some(leader) if leader.id != self.own.0 => {
                self.leader.list(&leader.api_address).await.unwrap_or(own)
            }
            _ => own,
        };
        let revisions = join_all(list.members.iter().map(|member| self.revision(member))).await;
        for (member, revision) in list.members.iter_mut().zip(revisions) {
            member.revision = revision;
        }
        list
    }

    /// How far a member is, as it says itself; those that are silent are not waited for.
    async fn revision(&self, member: &MemberView) -> Option<u64> {
        if member.id == self.own.0 {
            return Some(self.store.snapshot().revision().0);
        }
        if member.revision.is_some() || member.state == MemberState::Silent {
            return member.revision;
        }
        let asked = tokio::time::timeout(REVISION_TIMEOUT, self.leader.list(&member.api_address)).await;
        let list = asked.ok().flatten()?;
        list.members.into_iter().find(|itself| itself.id == member.id)?.revision
    }

    /// All members as this one sees them.
    pub(super) fn list_here(&self) -> MemberList {
        let leadership = *self.store.leadership().borrow();
        let records = Roll::of(&self.store).all(&self.store.snapshot());
        let members = self.store.members().borrow().clone();
        let progress = if leadership.leader == Some(self.own) { self.store.progress() } else { Vec::new() };
        let views = records
            .iter()
            .map(|(member, record)| self.view(*member, record, &leadership, &members, &progress));
        MemberList {
            cluster: self.store.cluster().to_string(),
            term: leadership.term,
            members: views.collect(),
            warning: warning(&records),
        }
    }

    fn link(&self, member: MemberId) -> Option<Link> {
        let status = self.peers.status().into_iter().find(|peer| peer.member == member)?;
        let PeerStatus { connected, sent_bytes, dropped_bytes, .. } = status;
        Some(Link { connected, sent_bytes, dropped_bytes })
    }

    fn view(
        &self,
        member: MemberId,
        record: &Record,
        leadership: &Leadership,
        members: &Members,
        progress: &[Progress],
    ) -> MemberView {
        let known = progress.iter().find(|progress| progress.member == member);
        let leads = leadership.leader == Some(member);
        let state = match known {
            _ if record.standing == Standing::Leaves => MemberState::Leaving,
            _ if !members.contains(member) => MemberState::Joining,
            // Whoever answers the question is well.
            _ if member == self.own => MemberState::Healthy,
            None => MemberState::Unknown,
            Some(progress) if progress.is_receiving_snapshot => MemberState::Syncing,
            Some(progress) if progress.is_active => MemberState::Healthy,
            Some(_) => MemberState::Silent,
        };
        MemberView {
            id: member.0,
            name: record.name.clone(),
            role: match member {
                _ if members.voters.contains(&member) => MemberRole::Voter,
                _ if members.learners.contains(&member) => MemberRole::Learner,
                _ => MemberRole::None,
            },
            leader: leads,
            state,
            revision: (member == self.own).then(|| self.store.snapshot().revision().0),
            behind: known
                .map(|progress| progress.behind)
                .or_else(|| (leads && member == self.own).then_some(0)),
            peer_address: record.peer_address.clone(),
            api_address: record.api_address.clone(),
            link: self.link(member),
        }
    }
}

fn warning(records: &BTreeMap<MemberId, Record>) -> Option<String> {
    protocol::advice(admit::staying(records))
}
