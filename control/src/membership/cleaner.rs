//! Expired join tokens are removed, some time after they let nobody in any more.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use tokio_util::sync::CancellationToken;

use super::token::{self, NAMESPACE};
use crate::objects::{DeleteOptions, Objects};

/// So long whoever shows one is told that it expired; later, that nobody knows it.
const KEPT: Duration = Duration::from_secs(3600);
/// How often they are looked for.
const PERIOD: Duration = Duration::from_secs(60);

/// Deletes old tokens until `shutdown`.
pub(crate) async fn run(objects: Objects, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        // Cancel-safe: a tick that is not taken comes again.
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => clean(&objects, Timestamp::now()).await,
        }
    }
}

async fn clean(objects: &Objects, now: Timestamp) {
    let secrets = objects.list::<Secret>(&objects.store().snapshot(), Some(NAMESPACE));
    for secret in secrets.iter().filter(|secret| is_old(secret, now)) {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let options = DeleteOptions { uid: secret.metadata.uid.clone(), ..DeleteOptions::default() };
        // One that cannot be deleted now is looked at again in a minute.
        let _ = objects.delete::<Secret>(NAMESPACE, name, &options).await;
    }
}

fn is_old(secret: &Secret, now: Timestamp) -> bool {
    let expires = token::describe(secret).and_then(|token| token.expires);
    expires.is_some_and(|at| at.checked_add(KEPT).is_ok_and(|end| end <= now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::token::{Credential, Role, secret};

    #[test]
    fn a_token_is_old_an_hour_after_it_expired_and_other_secrets_never_are() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut token = secret(&Credential::draw(), Role::Node, at(1000));
        assert!(!is_old(&token, at(4599)));
        assert!(is_old(&token, at(4600)));
        token.type_ = Some("Opaque".into());
        assert!(!is_old(&token, at(4600)));
    }
}
