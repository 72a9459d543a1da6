//! The members' part of the API: `/isopod/v1/…`. Errors are Kubernetes `Status` objects, so that every client shows
//! their message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use isopod_raft_store::{Compare, MemberId, MembershipChange, MembershipError, TransferError};
use isopod_spec::status::{GroupResource, Reason, Status};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::{self, Done, HandOver, JOIN, MemberList, MemberRole, MemberState, NODES};
use super::record::{self, Roll, Standing};
use super::{Membership, admit, snapshot};
use crate::api::{BoxError, ResponseBody};

/// What all paths begin with that are answered here.
const PREFIX: &str = "/isopod/v1/";
/// A join request has a token, a name and two addresses.
const BODY_BYTES_MAX: usize = 16 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member that is taken out may take to be out.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether anybody may ask this: the token is then what counts.
pub(crate) fn is_open(method: &Method, path: &str) -> bool {
    method == Method::POST && (path == JOIN || path == NODES)
}

/// Answers a request of a caller who may ask it.
pub(crate) async fn handle<B>(membership: Arc<Membership>, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let answer = answer(&membership, request).await;
    answer.unwrap_or_else(|status| {
        json(StatusCode::from_u16(status.code).unwrap_or_default(), status.to_json())
    })
}

/// The answer to a caller who may not ask.
pub(crate) fn denied(why: &str) -> Response<ResponseBody> {
    let status = Status::forbidden(GroupResource { group: "", resource: "" }, "", why);
    json(StatusCode::FORBIDDEN, status.to_json())
}

async fn answer<B>(membership: &Membership, request: Request<B>) -> Result<Response<ResponseBody>, Status>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let decoded = |word| percent_decode_str(word).decode_utf8_lossy();
    let words =
        parts.uri.path().strip_prefix(PREFIX).map(|rest| rest.split('/').map(decoded).collect::<Vec<_>>());
    let words: Vec<&str> = words.iter().flatten().map(AsRef::as_ref).collect();
    match (&parts.method, &*words) {
        (&Method::POST, ["join"]) => Ok(ok(&membership.admit(read(body).await?).await?)),
        (&Method::POST, ["nodes"]) => Ok(ok(&membership.enroll(read(body).await?).await?)),
        (&Method::GET, ["nodes", node, "connection"]) => Ok(membership.presence.connect(node)),
        (&Method::POST, ["nodes", node, "certificates"]) => {
            Ok(ok(&membership.renew(node, &read(body).await?).await?))
        }
        (&Method::POST, ["leader"]) => Ok(ok(&membership.hand_over(read(body).await?).await?)),
        (&Method::GET, ["snapshot"]) => Ok(snapshot::answer(membership.store.clone())),
        (&Method::GET, ["members"]) if parts.uri.query() == Some("from=here") => {
            Ok(ok(&membership.list_here()))
        }
        (&Method::GET, ["members"]) => Ok(ok(&membership.list().await)),
        (&Method::DELETE, ["members", member]) => Ok(ok(&membership.remove(member).await?)),
        (&Method::POST, ["members", member, "promote"]) => Ok(ok(&membership.promote(member).await?)),
        _ => Err(Status::no_such_resource()),
    }
}

impl Membership {
    /// Takes a member out, and waits until it is.
    async fn remove(&self, word: &str) -> Result<Done, Status> {
        let (roll, state) = (Roll::of(&self.store), self.newest().await?);
        let records = roll.all(&state);
        let member = record::find(&records, word).ok_or_else(|| no_member(word))?;
        check_removal(&self.list().await, member.0).map_err(conflict)?;
        let (mut record, at) = roll.get(&state, member).ok_or_else(|| no_member(word))?;
        record.standing = Standing::Leaves;
        let mut txn = roll.replace(member, &record, at);
        // Two removals at once must not leave nobody: both are decided on the records as they are.
        txn.compares.push(Compare::RangeUnchanged(roll.range(), state.revision()));
        if !self.propose(txn).await?.held() {
            return Err(conflict("the members changed at the same moment: try again".to_owned()));
        }
        self.wait_until_gone(member).await?;
        let warning = protocol::advice(admit::staying(&roll.all(&self.store.snapshot())));
        Ok(Done { member: member.0, name: record.name, warning })
    }

    async fn wait_until_gone(&self, member: MemberId) -> Result<(), Status> {
        let roll = Roll::of(&self.store);
        let gone = async {
            loop {
                let state = self.store.snapshot();
                if roll.get(&state, member).is_none() {
                    return;
                }
                match self.store.watch(roll.range(), state.revision()) {
                    Ok(mut changes) => drop(changes.next().await),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(REMOVE_TIMEOUT, gone).await.map_err(|_| {
            conflict(format!(
                "member {member} is to leave, and has not left yet: `isopod member list` shows how it goes on"
            ))
        })
    }

    /// Lets a learner vote at once.
    async fn promote(&self, word: &str) -> Result<Done, Status> {
        let records = Roll::of(&self.store).all(&self.newest().await?);
        let member = record::find(&records, word).ok_or_else(|| no_member(word))?;
        match self.store.change_membership(MembershipChange::Promote(member)).await {
            Ok(()) | Err(MembershipError::IsAVoter { .. }) => {}
            Err(error) => return Err(refusal(&error)),
        }
        let name = records.get(&member).map(|record| record.name.clone()).unwrap_or_default();
        let warning = protocol::advice(self.store.members().borrow().voters.len());
        Ok(Done { member: member.0, name, warning })
    }

    async fn hand_over(&self, wanted: HandOver) -> Result<Done, Status> {
        let records = Roll::of(&self.store).all(&self.newest().await?);
        let find = |word: String| record::find(&records, &word).ok_or_else(|| no_member(&word));
        let to = wanted.to.map(find).transpose()?;
        let leader = self.store.transfer_leadership(to).await.map_err(|error| match error {
            TransferError::NotAVoter { .. } | TransferError::NoOtherVoter => {
                Status::bad_request(error.to_string())
            }
            _ => Status::unavailable(error.to_string()),
        })?;
        let name = records.get(&leader).map(|record| record.name.clone()).unwrap_or_default();
        Ok(Done { member: leader.0, name, warning: None })
    }
}

/// Whether the others can do without the member: there must be a voter that stays, and a majority of voters that answer.
fn check_removal(list: &MemberList, member: u64) -> Result<(), String> {
    let is_voter = |other: &&protocol::MemberView| other.role == MemberRole::Voter;
    let voters: Vec<_> = list.members.iter().filter(is_voter).collect();
    if !voters.iter().any(|voter| voter.id == member) {
        return Ok(());
    }
    let stays = |voter: &protocol::MemberView| voter.id != member && voter.state != MemberState::Leaving;
    let staying: Vec<_> = voters.iter().filter(|voter| stays(voter)).collect();
    if staying.is_empty() {
        return Err(format!(
            "member {member} is the last voter: the cluster would be gone. To end it, stop the process and delete its folder"
        ));
    }
    let silent: Vec<_> = staying.iter().filter(|voter| voter.state == MemberState::Silent).collect();
    if staying.len() - silent.len() > staying.len() / 2 {
        return Ok(());
    }
    let names: Vec<&str> = silent.iter().map(|voter| voter.name.as_str()).collect();
    Err(format!(
        "without member {member}, {} of {} voters would not answer ({}) and nothing could be written any more: bring them back or remove them first",
        silent.len(),
        staying.len(),
        names.join(", ")
    ))
}

/// 409: not as things are. Clients do not try it again by themselves, as they do when a server is not available.
fn conflict(message: String) -> Status {
    Status { code: StatusCode::CONFLICT.as_u16(), reason: Reason::Conflict, message, details: None }
}

fn no_member(word: &str) -> Status {
    Status::bad_request(format!(
        "no member has the name or number {word:?}: `isopod member list` shows them all"
    ))
}

fn refusal(error: &MembershipError) -> Status {
    match error {
        MembershipError::NoLeader | MembershipError::Closed | MembershipError::Unknown => {
            Status::unavailable(error.to_string())
        }
        _ => Status::bad_request(error.to_string()),
    }
}

async fn read<T: DeserializeOwned, B>(body: B) -> Result<T, Status>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = collected
        .map_err(|_| Status::timeout("the body did not arrive", 1))?
        .map_err(|error| Status::bad_request(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| Status::bad_request(format!("the body is not what was expected: {error}")))
}

fn ok(answer: &impl Serialize) -> Response<ResponseBody> {
    json(StatusCode::OK, serde_json::to_vec(answer).expect("an answer has only strings and numbers"))
}

fn json(code: StatusCode, body: Vec<u8>) -> Response<ResponseBody> {
    let body = Full::new(Bytes::from(body)).map_err(|error: std::convert::Infallible| match error {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(states: &[(u64, MemberRole, MemberState)]) -> MemberList {
        let member = |&(id, role, state): &(u64, MemberRole, MemberState)| protocol::MemberView {
            id,
            name: format!("member-{id}"),
            role,
            leader: id == 1,
            state,
            revision: None,
            behind: None,
            peer_address: String::new(),
            api_address: String::new(),
            link: None,
        };
        MemberList { members: states.iter().map(member).collect(), ..MemberList::default() }
    }

    #[test]
    fn a_removal_leaves_a_majority_that_answers() {
        use MemberRole::{Learner, Voter};
        use MemberState::{Healthy, Leaving, Silent};
        let one_is_silent = list(&[(1, Voter, Healthy), (2, Voter, Silent), (3, Voter, Healthy)]);
        assert_eq!(check_removal(&one_is_silent, 2), Ok(()));
        let error = check_removal(&one_is_silent, 3).unwrap_err();
        assert!(error.contains("1 of 2 voters would not answer (member-2)"), "{error}");
        let last = list(&[(1, Voter, Healthy), (2, Voter, Leaving), (3, Learner, Healthy)]);
        assert!(check_removal(&last, 1).unwrap_err().contains("the last voter"));
        assert_eq!(check_removal(&last, 3), Ok(()));
    }
}
