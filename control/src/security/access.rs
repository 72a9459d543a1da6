//! The one choke point: who is calling, and may they do it. Every request of every listener of the API asks here.
//!
//! The index it decides by is kept from a watch of the store, on every member, so that a decision costs as much as the
//! caller has roles, and reads nothing from the store.

mod follow;
mod identify;

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use isopod_raft_store::{Revision, Store};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authorize::{self, Attributes, Decision};
use super::identity::{Identity, MASTERS};
use super::node::Pods;
use super::rbac::{Policy, escalation};
use super::tokens::{SigningKey, Tokens};

/// How long a refused caller waits for the index to reach the state that this member has: what was granted before the
/// request counts.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Who may do what. Cloning costs a pointer.
#[derive(Clone)]
pub struct Access {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    tokens: Tokens,
    policy: ArcSwap<Policy>,
    /// Never held while anything waits or can panic.
    pods: RwLock<Pods>,
    /// The revision that policy and pods are of.
    seen: watch::Sender<Revision>,
}

impl Access {
    /// Decides by what is in the store now; [`Access::run`] keeps it up to date. Tokens are signed with `key`.
    pub fn new(store: Store, key: SigningKey) -> Access {
        let access = Access {
            shared: Arc::new(Shared {
                tokens: Tokens::new(key),
                policy: ArcSwap::default(),
                pods: RwLock::default(),
                seen: watch::Sender::new(Revision::default()),
                store,
            }),
        };
        access.shared.read_all(&access.shared.store.snapshot());
        access
    }

    /// Follows the store until `shutdown`, or until it is closed.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.shared.follow()).await;
    }

    /// Makes tokens, and knows those that it made.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    /// May the caller do this?
    pub(crate) async fn authorize(&self, identity: &Identity, attributes: &Attributes<'_>) -> Decision {
        let decision = self.shared.decide(identity, attributes);
        match decision {
            Decision::Deny(_) if self.caught_up().await => self.shared.decide(identity, attributes),
            decision => decision,
        }
    }

    /// The same, with the reason why when it may.
    pub(crate) async fn grant(&self, identity: &Identity, attributes: &Attributes<'_>) -> Option<String> {
        self.caught_up().await;
        self.shared.with_pods(identity, |pods| {
            authorize::grant(&self.shared.policy.load(), pods, identity, attributes)
        })
    }

    /// All rules that the caller has in a namespace.
    pub(crate) async fn rules(&self, identity: &Identity, namespace: &str) -> Vec<PolicyRule> {
        self.caught_up().await;
        let mut rules = Vec::new();
        self.shared.policy.load().visit_rules(identity, namespace, |rule| {
            rules.push(rule.clone());
            ControlFlow::Continue(())
        });
        rules
    }

    /// Whether the caller has all of `rules`; `Err` is the clause of a Forbidden answer.
    pub(crate) fn may_hand_on(
        &self,
        identity: &Identity,
        namespace: &str,
        rules: &[PolicyRule],
    ) -> Result<(), String> {
        if identity.is_in(MASTERS) {
            return Ok(());
        }
        escalation::may_hand_on(&self.shared.policy.load(), identity, namespace, rules)
    }

    /// The rules that a binding in `namespace` (empty: of the cluster) to this role hands on.
    pub(crate) fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Arc<Vec<PolicyRule>>> {
        self.shared.policy.load().rules_of(role, namespace).cloned()
    }

    /// Decides without waiting for anything.
    pub(crate) fn allows(&self, identity: &Identity, attributes: &Attributes<'_>) -> bool {
        self.shared.decide(identity, attributes) == Decision::Allow
    }

    /// Waits for what this member has applied; whether there was anything to wait for.
    async fn caught_up(&self) -> bool {
        let newest = self.shared.store.snapshot().revision();
        let mut seen = self.shared.seen.subscribe();
        if *seen.borrow() >= newest {
            return false;
        }
        let reached = seen.wait_for(|seen| *seen >= newest);
        matches!(tokio::time::timeout(CATCH_UP, reached).await, Ok(Ok(_)))
    }
}

impl Shared {
    fn decide(&self, identity: &Identity, attributes: &Attributes<'_>) -> Decision {
        self.with_pods(identity, |pods| authorize::authorize(&self.policy.load(), pods, identity, attributes))
    }

    /// Only nodes' rights depend on pods.
    fn with_pods<T>(&self, identity: &Identity, decide: impl FnOnce(&Pods) -> T) -> T {
        match identity.node() {
            Some(_) => decide(&self.pods.read().unwrap_or_else(PoisonError::into_inner)),
            None => decide(&Pods::default()),
        }
    }
}
