//! A machine asks to become a member: what is checked, and what is written.
//!
//! Everything is checked before the token is used up, so whatever is refused harms nothing and can be tried again. So can
//! what was granted, by the same machine, until it has started: an answer may be lost on its way.

use std::collections::BTreeMap;
use std::time::Duration;

use isopod_raft_store::{Compare, MemberId, Op, Snapshot, Txn};
use isopod_spec::status::Status;
use tokio::net::TcpStream;

use super::entry::{self, Entry};
use super::protocol::{self, JoinAnswer, JoinRequest};
use super::record::{self, Record, Roll, Standing};
use super::token::{self, Role};
use super::{Membership, SERVICE_ACCOUNT_KEY, folder};
use crate::security::ca;

/// How long the joining machine's listener may take to answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);
/// Tries of the transaction: each means that another machine joined at the same moment.
const TRIES_MAX: usize = 8;
impl Membership {
    /// Lets a machine in, and tells it all it needs.
    pub(super) async fn admit(&self, request: JoinRequest) -> Result<JoinAnswer, Status> {
        let entry = Entry::read(request.version, &request.token, Role::Server)?;
        let proof = (!request.key.is_empty()).then(|| token::proof(entry.shown(), &request.key));
        let state = self.newest().await?;
        let records = Roll::of(&self.store).all(&state);
        if let Some(member) = proof.as_deref().and_then(|proof| record::asked_by(&records, proof)) {
            tracing::info!(%member, "a member that has joined asks again for its answer");
            return self.welcome(member).await;
        }
        entry.check_token(&state)?;
        entry.check_clock(request.time)?;
        check_range(request.service_cidr.as_deref(), &self.service_cidr).map_err(Status::bad_request)?;
        reach(&request.peer_address).await.map_err(Status::bad_request)?;
        for _ in 0..TRIES_MAX {
            let state = self.newest().await?;
            let (key, at) = entry.check_token(&state)?;
            let (member, mut txn) = admission(Roll::of(&self.store), &state, &request, proof.clone())?;
            txn.compares.push(Compare::Modified(key.clone().into(), at));
            txn.ops.push(Op::Delete(key.into()));
            let response = self.propose(txn).await?;
            if response.held() {
                tracing::info!(%member, address = request.peer_address, "a member has joined");
                return self.welcome(member).await;
            }
        }
        Err(Status::unavailable("many machines join at once: try again"))
    }

    async fn welcome(&self, member: MemberId) -> Result<JoinAnswer, Status> {
        let records = Roll::of(&self.store).all(&self.newest().await?);
        let own = records.get(&member).ok_or_else(|| {
            Status::unavailable(format!("member {member} was removed as soon as it had joined"))
        })?;
        Ok(JoinAnswer {
            cluster: self.store.cluster().to_string(),
            member: member.0,
            name: own.name.clone(),
            authority_pem: self.authority.certificate_pem().to_owned(),
            authority_key_pem: self.authority.key_pem().to_owned(),
            service_account_key_pem: ca::read_private(&self.data_dir.join(SERVICE_ACCOUNT_KEY))
                .map_err(|error| Status::internal(&error))?,
            service_cidr: self.service_cidr.clone(),
            warning: protocol::advice(staying(&records)),
            members: records.into_iter().map(|(member, record)| (member.0, record)).collect(),
        })
    }
}

/// How many members there will be when those that leave have left.
pub(super) fn staying(records: &BTreeMap<MemberId, Record>) -> usize {
    records.values().filter(|record| record.standing == Standing::Stays).count()
}

/// The number and the transaction of a new member.
fn admission(
    roll: Roll,
    state: &Snapshot,
    request: &JoinRequest,
    asked_by: Option<String>,
) -> Result<(MemberId, Txn), Status> {
    let records = roll.all(state);
    let taken = records.iter().find(|(_, record)| record.peer_address == request.peer_address);
    if let Some((member, record)) = taken {
        return Err(Status::bad_request(format!(
            "{} is the address of member {member} ({name}): if it lost its data, `isopod member remove {name}` first, then join again",
            request.peer_address,
            name = record.name
        )));
    }
    let mut record = Record {
        name: request.name.clone().unwrap_or_default(),
        peer_address: request.peer_address.clone(),
        api_address: request.api_address.clone(),
        standing: Standing::Stays,
        asked_by,
    };
    let starting = || Status::unavailable("the cluster is only just being founded: try again");
    let (member, _) = roll.admit(state, &record).ok_or_else(starting)?;
    if request.name.is_none() {
        record.name = folder::default_name(member.0);
    }
    check_name(&record.name, &records).map_err(Status::bad_request)?;
    roll.admit(state, &record).ok_or_else(starting)
}

fn check_name(name: &str, records: &BTreeMap<MemberId, Record>) -> Result<(), String> {
    entry::check_name(name, "member")?;
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{name:?} cannot be the name of a member: members have numbers too"));
    }
    match records.iter().find(|(_, record)| record.name == name) {
        Some((member, _)) => {
            Err(format!("member {member} has the name {name:?} already: choose another with --name"))
        }
        None => Ok(()),
    }
}

fn check_range(theirs: Option<&str>, ours: &str) -> Result<(), String> {
    match theirs {
        Some(theirs) if theirs != ours => Err(format!(
            "the cluster's range of Service addresses is {ours}, not {theirs}: leave --service-cidr out"
        )),
        _ => Ok(()),
    }
}

/// Members must reach each other, and now is the time to find out.
async fn reach(address: &str) -> Result<(), String> {
    let failed = |why: String| {
        format!(
            "this member cannot reach {address}, where the joining machine says that it listens for other members ({why}): name an address that they reach with --advertise-address"
        )
    };
    match tokio::time::timeout(REACH_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("no answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hosts_and_taken_once() {
        let record = Record {
            name: "a".into(),
            peer_address: String::new(),
            api_address: String::new(),
            standing: Standing::Stays,
            asked_by: None,
        };
        let records = BTreeMap::from([(MemberId(7), record)]);
        for (name, expected) in [
            ("b-1.example", None),
            ("", Some("cannot be")),
            ("A", Some("cannot be")),
            ("12", Some("numbers")),
            ("a", Some("member 7 has the name")),
        ] {
            let error = check_name(name, &records).err();
            assert_eq!(error.is_some(), expected.is_some(), "{name:?}");
            assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{name:?}");
        }
    }

    #[tokio::test]
    async fn an_address_that_nobody_answers_at_or_that_does_not_resolve_is_named() {
        for address in ["127.0.0.1:1", "no-such-host.invalid:6444", "nonsense"] {
            let error = reach(address).await.unwrap_err();
            assert!(error.contains(address) && error.contains("--advertise-address"), "{error}");
        }
    }
}
