//! The roles and bindings that every cluster has, under the names and with the rules that Kubernetes users know.
//!
//! As upstream's `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, for the kinds that exist here or that charts bring.

use std::collections::BTreeMap;

use isopod_spec::rbac::GROUP;
use k8s_openapi::Resource as _;
use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::security::identity::{AUTHENTICATED, MASTERS, SERVICE_ACCOUNTS, UNAUTHENTICATED};

/// Says that the bootstrap keeps the object complete; `"false"` leaves it alone.
pub(crate) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// Marks the objects made here.
const BOOTSTRAPPING: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// Labels by which roles become part of `admin`, `edit` and `view`.
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";
/// Who may read metrics.
const MONITORING: &str = "system:monitoring";

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const READ_WRITE: &str = "create delete deletecollection get list patch update watch";

/// The roles.
pub(crate) fn roles() -> Vec<ClusterRole> {
    vec![
        role("cluster-admin", super::escalation::full_authority()),
        aggregated("admin", "admin", &[]),
        aggregated("edit", "edit", &["admin"]),
        aggregated("view", "view", &["edit"]),
        aggregating("admin", admin()),
        aggregating("edit", edit()),
        aggregating("view", view()),
        role(
            "system:discovery",
            vec![urls(
                "get",
                "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
            )],
        ),
        role("system:public-info-viewer", vec![urls("get", "/healthz /livez /readyz /version /version/")]),
        role(
            "system:monitoring",
            vec![urls("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
        ),
        role(
            "system:basic-user",
            vec![
                rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
                rule("create", "authentication.k8s.io", "selfsubjectreviews"),
            ],
        ),
        role(
            "system:service-account-issuer-discovery",
            vec![urls(
                "get",
                "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            )],
        ),
    ]
}

/// Who has them.
pub(crate) fn bindings() -> Vec<ClusterRoleBinding> {
    vec![
        binding("cluster-admin", &[MASTERS]),
        binding("system:discovery", &[AUTHENTICATED]),
        binding("system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]),
        binding("system:monitoring", &[MONITORING]),
        binding("system:basic-user", &[AUTHENTICATED]),
        binding("system:service-account-issuer-discovery", &[SERVICE_ACCOUNTS]),
    ]
}

fn admin() -> Vec<PolicyRule> {
    vec![
        rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
        rule(READ_WRITE, GROUP, "roles rolebindings"),
    ]
}

fn edit() -> Vec<PolicyRule> {
    vec![
        rule(READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        rule("impersonate", "", "serviceaccounts"),
        rule(WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        rule("create", "", "pods/eviction serviceaccounts/token"),
        rule(
            WRITE,
            "",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
             serviceaccounts services services/proxy",
        ),
        rule(
            WRITE,
            "apps",
            "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
             statefulsets/scale",
        ),
        rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
        rule(WRITE, "batch", "cronjobs jobs"),
        rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        rule(WRITE, "policy", "poddisruptionbudgets"),
        rule(READ_WRITE, "coordination.k8s.io", "leases"),
    ]
}

fn view() -> Vec<PolicyRule> {
    vec![
        rule(
            READ,
            "",
            "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims \
             persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers \
             replicationcontrollers/scale replicationcontrollers/status resourcequotas resourcequotas/status \
             serviceaccounts services services/status",
        ),
        rule(
            READ,
            "apps",
            "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
             replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        ),
        rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(READ, "events.k8s.io", "events"),
        rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    ]
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn rule(verbs: &str, group: &str, resources: &str) -> PolicyRule {
    PolicyRule {
        verbs: words(verbs),
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(words(resources)),
        ..PolicyRule::default()
    }
}

fn urls(verbs: &str, urls: &str) -> PolicyRule {
    PolicyRule { verbs: words(verbs), non_resource_urls: Some(words(urls)), ..PolicyRule::default() }
}

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(BOOTSTRAPPING.0.to_owned(), BOOTSTRAPPING.1.to_owned())])),
        annotations: Some(BTreeMap::from([(AUTOUPDATE.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    }
}

fn role(name: &str, rules: Vec<PolicyRule>) -> ClusterRole {
    ClusterRole { metadata: metadata(name), rules: Some(rules), aggregation_rule: None }
}

fn labelled(mut role: ClusterRole, to: &[&str]) -> ClusterRole {
    let labels = to.iter().map(|to| (format!("{AGGREGATE_TO}{to}"), "true".to_owned()));
    role.metadata.labels.get_or_insert_default().extend(labels);
    role
}

/// A role of which the rules come from all roles with the label; itself it is part of `to`.
fn aggregated(name: &str, label: &str, to: &[&str]) -> ClusterRole {
    let labels = BTreeMap::from([(format!("{AGGREGATE_TO}{label}"), "true".to_owned())]);
    let selector = LabelSelector { match_labels: Some(labels), match_expressions: None };
    let aggregation = AggregationRule { cluster_role_selectors: Some(vec![selector]) };
    let role = ClusterRole { metadata: metadata(name), rules: None, aggregation_rule: Some(aggregation) };
    labelled(role, to)
}

/// A role that is a part of another.
fn aggregating(to: &str, rules: Vec<PolicyRule>) -> ClusterRole {
    labelled(role(&format!("system:aggregate-to-{to}"), rules), &[to])
}

fn binding(name: &str, groups: &[&str]) -> ClusterRoleBinding {
    let subject = |group: &&str| Subject {
        api_group: Some(GROUP.to_owned()),
        kind: isopod_spec::rbac::binding::GROUP_KIND.to_owned(),
        name: (*group).to_owned(),
        namespace: None,
    };
    ClusterRoleBinding {
        metadata: metadata(name),
        role_ref: RoleRef {
            api_group: Some(GROUP.to_owned()),
            kind: ClusterRole::KIND.to_owned(),
            name: name.to_owned(),
        },
        subjects: Some(groups.iter().map(subject).collect()),
    }
}
