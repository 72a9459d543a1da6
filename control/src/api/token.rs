//! `serviceaccounts/token`: a token that says that its bearer is this ServiceAccount.
//!
//! As upstream's `pkg/registry/core/serviceaccount/storage/token.go`.

use http::StatusCode;
use isopod_raft_store::Snapshot;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::registry;
use isopod_spec::resource::Resource;
use isopod_spec::status::{GroupKind, Status};
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest, TokenRequestSpec, TokenRequestStatus,
};
use k8s_openapi::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::call::Call;
use super::options::ReadAt;
use super::reply::Reply;
use super::{Addressed, Api, body};
use crate::objects::{Commit, corrupt, try_decode};
use crate::security::tokens::{Bound, Claims, ISSUER, Reference};

const TOKEN_REQUEST: GroupKind<'static> = GroupKind { group: "authentication.k8s.io", kind: "TokenRequest" };
/// How long a token lives that does not say.
const DEFAULT_SECONDS: i64 = 3600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;
/// What pods ask for. Programs that read their token once and never again must not fail after an hour, so such a token
/// really lives for a year, as upstream's.
const POD_SECONDS: i64 = 3607;
const POD_REAL_SECONDS: i64 = 365 * 24 * 3600;

/// Makes a token.
pub(crate) async fn create(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    let commit = call.commit()?;
    let request: Option<TokenRequest> = body::other(call, "TokenRequest").await?;
    let mut request = request.unwrap_or_default();
    let mut spec = request.spec.take().unwrap_or_default();
    complete(&mut spec);
    validate(&spec).map_err(|errors| Status::invalid(TOKEN_REQUEST, "", &errors))?;
    let state = api.state(ReadAt::Latest).await?;
    let account: ServiceAccount = found(&state, on.namespace, on.name)?;
    let mut bound = bound(&state, on, &account, spec.bound_object_ref.as_ref())?;
    if let Some(node) = call.identity.node() {
        is_for_own_pod(&bound, node).map_err(|why| Status::forbidden(&**on.kind, on.name, &why))?;
    }
    let now = Timestamp::now();
    let asked = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
    let for_api = spec.audiences.as_deref() == Some(&[ISSUER.to_owned()]);
    let is_extended = asked == POD_SECONDS && for_api && bound.pod.is_some();
    bound.warnafter = is_extended.then(|| now.as_second() + asked);
    let claims = Claims {
        aud: spec.audiences.clone().unwrap_or_default(),
        exp: now.as_second() + if is_extended { POD_REAL_SECONDS } else { asked },
        iat: now.as_second(),
        iss: ISSUER.to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        bound,
        nbf: now.as_second(),
        sub: crate::security::identity::service_account_user(on.namespace, on.name),
    };
    let token = (commit == Commit::Write).then(|| api.access.tokens().sign(&claims));
    let ends = Timestamp::from_second(now.as_second() + asked).map_err(|error| corrupt_time(&error))?;
    request.metadata.name = Some(on.name.to_owned());
    request.metadata.namespace = Some(on.namespace.to_owned());
    request.metadata.creation_timestamp = Timestamp::from_second(now.as_second()).ok().map(Time);
    request.spec = Some(spec);
    request.status = Some(TokenRequestStatus { token, expiration_timestamp: Some(Time(ends)) });
    Ok(Reply::json(StatusCode::CREATED, serde_json::to_vec(&request).map_err(|error| corrupt(&error))?))
}

fn corrupt_time(error: &impl std::fmt::Display) -> Status {
    Status::bad_request(format!("the token would end at no time that can be written: {error}"))
}

fn complete(spec: &mut TokenRequestSpec) {
    if spec.audiences.as_ref().is_none_or(Vec::is_empty) {
        spec.audiences = Some(vec![ISSUER.to_owned()]);
    }
    spec.expiration_seconds.get_or_insert(DEFAULT_SECONDS);
}

fn validate(spec: &TokenRequestSpec) -> Result<(), FieldErrors> {
    let (mut errors, path) = (FieldErrors::new(), Path::new("spec"));
    let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
    let path = path.child("expirationSeconds");
    if seconds < SECONDS_MIN {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > SECONDS_MAX {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn found<T: Resource>(state: &Snapshot, namespace: &str, name: &str) -> Result<T, Status> {
    let kind = registry::kind_of::<T>();
    let entry = state.get(&kind.key(namespace, name)).ok_or_else(|| Status::not_found(&**kind, name))?;
    try_decode(entry)
}

fn reference<T: Resource>(object: &T) -> Reference {
    let meta = object.metadata();
    Reference { name: meta.name.clone().unwrap_or_default(), uid: meta.uid.clone().unwrap_or_default() }
}

/// What the token is bound to: the account, and the object that the request names.
fn bound(
    state: &Snapshot,
    on: &Addressed<'_>,
    account: &ServiceAccount,
    to: Option<&BoundObjectReference>,
) -> Result<Bound, Status> {
    let mut bound =
        Bound { namespace: on.namespace.to_owned(), serviceaccount: reference(account), ..Bound::default() };
    let Some(to) = to else { return Ok(bound) };
    let name = to.name.as_deref().unwrap_or_default();
    let kind = (to.api_version.as_deref().unwrap_or_default(), to.kind.as_deref().unwrap_or_default());
    let object = match kind {
        ("v1", "Pod") => {
            let pod: Pod = found(state, on.namespace, name)?;
            let spec = pod.spec.as_ref();
            if spec.and_then(|spec| spec.service_account_name.as_deref()) != Some(on.name) {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    on.name
                )));
            }
            let node = spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
            bound.node =
                node.and_then(|node| found::<Node>(state, "", node).ok()).map(|node| reference(&node));
            bound.pod.insert(reference(&pod))
        }
        ("v1", "Secret") => bound.secret.insert(reference(&found::<Secret>(state, on.namespace, name)?)),
        ("v1", "Node") => bound.node.insert(reference(&found::<Node>(state, "", name)?)),
        (version, kind) => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to {version} {kind}",
                on.name
            )));
        }
    };
    let given = to.uid.as_deref().unwrap_or_default();
    if !given.is_empty() && given != object.uid {
        return Err(Status::conflict(
            &**on.kind,
            on.name,
            &format!(
                "the UID in the bound object reference ({given}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    Ok(bound)
}

/// A node gets tokens for the pods that run on it, and no others.
fn is_for_own_pod(bound: &Bound, node: &str) -> Result<(), String> {
    match (&bound.pod, &bound.node) {
        (None, _) => Err("node requested token not bound to a pod".to_owned()),
        (Some(_), Some(on)) if on.name == node => Ok(()),
        _ => Err("node requested token bound to a pod scheduled on a different node".to_owned()),
    }
}
