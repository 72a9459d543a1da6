//! Who is calling: the identity that the connection or a token shows, or the one that it may take on.
//!
//! Impersonation as upstream's `endpoints/filters/impersonation`: each part that is taken on (user, group, uid, extra)
//! must be allowed by itself.

use http::HeaderMap;
use isopod_spec::status::{GroupResource, Status};
use jiff::Timestamp;

use super::Access;
use crate::security::authorize::{Attributes, Decision, ResourceAttributes};
use crate::security::identity::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use crate::security::tokens::ISSUER;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

impl Access {
    /// The identity for which a request is made: the connection's own, or the one its headers ask for.
    pub(crate) async fn identify(
        &self,
        connection: &Identity,
        headers: &HeaderMap,
    ) -> Result<Identity, Status> {
        let own = self.own(connection, headers)?;
        match wanted(headers)? {
            None => Ok(own),
            Some(wanted) => self.impersonate(&own, wanted).await,
        }
    }

    /// The certificate counts before a token, as upstream.
    fn own(&self, connection: &Identity, headers: &HeaderMap) -> Result<Identity, Status> {
        let Some(token) = bearer(headers).filter(|_| *connection == Identity::anonymous()) else {
            return Ok(connection.clone());
        };
        let state = self.shared.store.snapshot();
        let checked = self.shared.tokens.check(token, &[ISSUER], &state, Timestamp::now());
        checked.map(|accepted| accepted.identity).map_err(|why| {
            tracing::debug!(%why, "a bearer token is refused");
            Status::unauthorized()
        })
    }

    async fn impersonate(&self, caller: &Identity, mut wanted: Identity) -> Result<Identity, Status> {
        match wanted.as_service_account() {
            Some((namespace, name)) => {
                self.may_take(caller, on("", "serviceaccounts", namespace, name)).await?;
            }
            None => self.may_take(caller, on("", "users", "", &wanted.user)).await?,
        }
        for group in &wanted.groups {
            self.may_take(caller, on("", "groups", "", group)).await?;
        }
        if !wanted.uid.is_empty() {
            self.may_take(caller, on(AUTHENTICATION, "uids", "", &wanted.uid)).await?;
        }
        for (key, values) in &wanted.extra {
            for value in values {
                let extra =
                    ResourceAttributes { subresource: key, ..on(AUTHENTICATION, "userextras", "", value) };
                self.may_take(caller, extra).await?;
            }
        }
        if let (Some((namespace, name)), true) = (wanted.as_service_account(), wanted.groups.is_empty()) {
            wanted.groups = Identity::service_account(namespace, name).groups;
        }
        let own = if wanted.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !wanted.is_in(AUTHENTICATED) && !wanted.is_in(UNAUTHENTICATED) {
            wanted.groups.push(own.to_owned());
        }
        tracing::debug!(caller = caller.user, user = wanted.user, "request in another's name");
        Ok(wanted)
    }

    async fn may_take(&self, caller: &Identity, on: ResourceAttributes<'_>) -> Result<(), Status> {
        match self.authorize(caller, &Attributes::Resource(on)).await {
            Decision::Allow => Ok(()),
            Decision::Deny(why) => {
                let what = GroupResource { group: on.group, resource: on.resource };
                Err(Status::forbidden(what, on.name, &why))
            }
        }
    }
}

fn on<'a>(group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> ResourceAttributes<'a> {
    ResourceAttributes {
        verb: "impersonate",
        group,
        resource,
        namespace,
        name,
        ..ResourceAttributes::default()
    }
}

/// The token of an `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// Whom the headers name; `None` when they name nobody.
fn wanted(headers: &HeaderMap) -> Result<Option<Identity>, Status> {
    let text = |value: &http::HeaderValue| {
        let text = value.to_str().map(str::to_owned);
        text.map_err(|_| Status::bad_request("an Impersonate header is not plain text"))
    };
    let mut wanted = Identity::default();
    for (name, value) in headers {
        let value = text(value)?;
        match name.as_str() {
            USER => wanted.user = value,
            UID => wanted.uid = value,
            GROUP => wanted.groups.push(value),
            name => {
                let Some(key) = name.strip_prefix(EXTRA) else { continue };
                let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
                wanted.extra.entry(key).or_default().push(value);
            }
        }
    }
    match wanted.user.is_empty() {
        true if wanted == Identity::default() => Ok(None),
        true => Err(Status::bad_request("an Impersonate header is given without Impersonate-User")),
        false => Ok(Some(wanted)),
    }
}
