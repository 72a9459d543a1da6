//! Questions that are answered at once and stored nowhere: who am I, may I, may somebody else.

use http::StatusCode;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::resource::Kind;
use isopod_spec::status::Status;
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes as Wanted,
    ResourceRule, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::reply::Reply;
use super::{Api, body};
use crate::objects::corrupt;
use crate::security::tokens::ISSUER;
use crate::security::{Attributes, Identity, ResourceAttributes};

/// Answers a question of a kind of reviews.
pub(crate) async fn answer(
    api: &Api,
    kind: &Kind,
    namespace: &str,
    call: &mut Call,
) -> Result<Reply, Status> {
    call.commit()?;
    match kind.kind.as_str() {
        "SelfSubjectReview" => {
            let mut review: SelfSubjectReview = question(kind, call).await?;
            review.status = Some(SelfSubjectReviewStatus { user_info: Some(user_info(&call.identity)) });
            reply(&review)
        }
        "TokenReview" => {
            let mut review: TokenReview = question(kind, call).await?;
            review.status = Some(of_token(api, &review.spec));
            reply(&review)
        }
        "SelfSubjectAccessReview" => {
            let mut review: SelfSubjectAccessReview = question(kind, call).await?;
            let spec = &review.spec;
            let asked = asked(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
            let asked = asked.map_err(|errors| Status::invalid(kind, "", &errors))?;
            review.status = Some(status(api, &call.identity, &asked).await);
            reply(&review)
        }
        "SubjectAccessReview" => {
            let mut review: SubjectAccessReview = question(kind, call).await?;
            review.status = Some(of_subject(api, kind, &review.spec).await?);
            reply(&review)
        }
        "LocalSubjectAccessReview" => {
            let mut review: LocalSubjectAccessReview = question(kind, call).await?;
            is_local(&review.spec, namespace).map_err(|errors| Status::invalid(kind, "", &errors))?;
            review.metadata.namespace = Some(namespace.to_owned());
            review.status = Some(of_subject(api, kind, &review.spec).await?);
            reply(&review)
        }
        "SelfSubjectRulesReview" => {
            let mut review: SelfSubjectRulesReview = question(kind, call).await?;
            let namespace = review.spec.namespace.as_deref().unwrap_or_default();
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            review.status = Some(rules(api, &call.identity, namespace).await);
            reply(&review)
        }
        _ => Err(Status::no_such_resource()),
    }
}

async fn question<T: DeserializeOwned>(kind: &Kind, call: &mut Call) -> Result<T, Status> {
    let found = body::other(call, &kind.kind).await?;
    found.ok_or_else(|| Status::bad_request(format!("the body must hold a {}", kind.kind)))
}

fn reply<T: Serialize>(review: &T) -> Result<Reply, Status> {
    let json = serde_json::to_vec(review).map_err(|error| corrupt(&error))?;
    Ok(Reply::json(StatusCode::CREATED, json))
}

/// An identity as reviews tell it.
pub(crate) fn user_info(identity: &Identity) -> UserInfo {
    UserInfo {
        username: Some(identity.user.clone()),
        groups: Some(identity.groups.clone()),
        uid: Some(identity.uid.clone()).filter(|uid| !uid.is_empty()),
        extra: Some(identity.extra.clone()).filter(|extra| !extra.is_empty()),
    }
}

fn of_token(api: &Api, spec: &TokenReviewSpec) -> TokenReviewStatus {
    let given: Vec<&str> = spec.audiences.iter().flatten().map(String::as_str).collect();
    let audiences = if given.is_empty() { vec![ISSUER] } else { given };
    let state = api.objects.store().snapshot();
    match api.access.tokens().check(&spec.token, &audiences, &state, Timestamp::now()) {
        Ok(accepted) => TokenReviewStatus {
            authenticated: Some(true),
            user: Some(user_info(&accepted.identity)),
            audiences: Some(accepted.audiences),
            error: None,
        },
        Err(why) => TokenReviewStatus { error: Some(why.to_string()), ..TokenReviewStatus::default() },
    }
}

/// What a review asks about.
fn asked<'a>(
    resource: Option<&'a Wanted>,
    path: Option<&'a NonResourceAttributes>,
) -> Result<Attributes<'a>, FieldErrors> {
    let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
    match (resource, path) {
        (Some(wanted), None) => Ok(Attributes::Resource(ResourceAttributes {
            verb: text(&wanted.verb),
            group: text(&wanted.group),
            resource: text(&wanted.resource),
            subresource: text(&wanted.subresource),
            namespace: text(&wanted.namespace),
            name: text(&wanted.name),
            ..ResourceAttributes::default()
        })),
        (None, Some(wanted)) => Ok(Attributes::Path { verb: text(&wanted.verb), path: text(&wanted.path) }),
        _ => {
            let mut errors = FieldErrors::new();
            let spec = Path::new("spec");
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&spec.child("resourceAttributes"), "", why);
            Err(errors)
        }
    }
}

fn is_local(spec: &SubjectAccessReviewSpec, namespace: &str) -> Result<(), FieldErrors> {
    let (mut errors, path) = (FieldErrors::new(), Path::new("spec"));
    if spec.non_resource_attributes.is_some() {
        errors.invalid(&path.child("nonResourceAttributes"), "", "disallowed on this kind of request");
    }
    let given = spec.resource_attributes.as_ref().and_then(|wanted| wanted.namespace.as_deref());
    if given.unwrap_or_default() != namespace {
        let path = path.child("resourceAttributes");
        let why = "must match metadata.namespace";
        errors.invalid(&path.child("namespace"), given.unwrap_or_default(), why);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

async fn of_subject(
    api: &Api,
    kind: &Kind,
    spec: &SubjectAccessReviewSpec,
) -> Result<SubjectAccessReviewStatus, Status> {
    let invalid = |errors: FieldErrors| Status::invalid(kind, "", &errors);
    let asked =
        asked(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref()).map_err(invalid)?;
    let identity = Identity {
        user: spec.user.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        uid: spec.uid.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    };
    if identity.user.is_empty() && identity.groups.is_empty() {
        let (mut errors, path) = (FieldErrors::new(), Path::new("spec"));
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
        return Err(invalid(errors));
    }
    Ok(status(api, &identity, &asked).await)
}

async fn status(api: &Api, identity: &Identity, asked: &Attributes<'_>) -> SubjectAccessReviewStatus {
    let reason = api.access.grant(identity, asked).await;
    SubjectAccessReviewStatus { allowed: reason.is_some(), reason, ..SubjectAccessReviewStatus::default() }
}

async fn rules(api: &Api, identity: &Identity, namespace: &str) -> SubjectRulesReviewStatus {
    let mut status = SubjectRulesReviewStatus::default();
    for rule in api.access.rules(identity, namespace).await {
        match rule.non_resource_urls.filter(|urls| !urls.is_empty()) {
            Some(urls) => status
                .non_resource_rules
                .push(NonResourceRule { verbs: rule.verbs, non_resource_urls: Some(urls) }),
            None => status.resource_rules.push(ResourceRule {
                verbs: rule.verbs,
                api_groups: rule.api_groups,
                resources: rule.resources,
                resource_names: rule.resource_names,
            }),
        }
    }
    if identity.node().is_some() {
        status.incomplete = true;
        status.evaluation_error = Some("what a node may do depends on its pods and is not listed".to_owned());
    }
    status
}
