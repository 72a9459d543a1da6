//! Roles: messages and rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, create};

#[test]
fn broken_rules_are_told_what_is_wrong() {
    check_invalid::<Role>(
        "{metadata: {name: r}, rules: [{verbs: []}, {verbs: [get], nonResourceURLs: [/metrics]}]}",
        expect![[r#"
            rules[0].verbs: Required value: verbs must contain at least one value
            rules[0].apiGroups: Required value: resource rules must supply at least one api group
            rules[0].resources: Required value: resource rules must supply at least one resource
            rules[1].nonResourceURLs: Invalid value: ["/metrics"]: namespaced rules cannot apply to non-resource URLs"#]],
    );
    check_invalid::<ClusterRole>(
        "{metadata: {name: 'a/b'}, rules: [{verbs: [get], nonResourceURLs: [/m], resources: [pods]}], aggregationRule: {clusterRoleSelectors: []}}",
        expect![[r#"
            metadata.name: Invalid value: "a/b": may not contain '/'
            rules[0].nonResourceURLs: Invalid value: ["/m"]: rules cannot apply to both regular resources and non-resource URLs
            aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"#]],
    );
}

#[test]
fn a_role_is_a_row_and_its_name_may_have_colons() {
    let role = create::<ClusterRole>(
        "{metadata: {name: 'system:x'}, rules: [{verbs: [get], nonResourceURLs: ['/m*']}]}",
    );
    check_row::<ClusterRole>(
        role.unwrap().as_ref(),
        expect![[r#"
            Name: "system:x"
            Created At: "2026-01-01T00:00:00Z""#]],
    );
}
