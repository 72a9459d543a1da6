//! Bindings: defaults, messages and rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, create, update};

const BINDING: &str = "{metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: jane}, {kind: Group, name: ops}, {kind: ServiceAccount, name: robot, namespace: shop}]}";

#[test]
fn groups_of_roles_and_people_are_filled_in() {
    check_stored::<RoleBinding>(
        BINDING,
        expect![[r#"
            metadata:
              name: b
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: ClusterRole
              name: view
            subjects:
            - apiGroup: rbac.authorization.k8s.io
              kind: User
              name: jane
            - apiGroup: rbac.authorization.k8s.io
              kind: Group
              name: ops
            - kind: ServiceAccount
              name: robot
              namespace: shop
        "#]],
    );
}

#[test]
fn broken_bindings_are_told_what_is_wrong() {
    check_invalid::<ClusterRoleBinding>(
        "{metadata: {name: b}, roleRef: {apiGroup: x, kind: Role, name: 'a/b'}, subjects: [{kind: ServiceAccount, name: UP}, {kind: Robot, name: ''}, {kind: User, name: u, apiGroup: other}]}",
        expect![[r#"
            roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"
            roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"
            roleRef.name: Invalid value: "a/b": may not contain '/'
            subjects[0].name: Invalid value: "UP": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            subjects[0].namespace: Required value
            subjects[1].name: Required value
            subjects[1].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"
            subjects[2].apiGroup: Unsupported value: "other": supported values: "rbac.authorization.k8s.io""#]],
    );
}

#[test]
fn the_role_of_a_binding_never_changes() {
    let other = BINDING.replace("name: view", "name: edit");
    let status = update::<RoleBinding>(BINDING, &other, Target::Main).unwrap_err();
    expect![[r#"RoleBinding.rbac.authorization.k8s.io "b" is invalid: roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"}: cannot change roleRef"#]]
        .assert_eq(&status.message);
    let fewer = "{metadata: {name: b}, roleRef: {kind: ClusterRole, name: view}}";
    assert!(update::<RoleBinding>(BINDING, fewer, Target::Main).is_ok());
}

#[test]
fn a_binding_is_a_row() {
    check_row::<RoleBinding>(
        create::<RoleBinding>(BINDING).unwrap().as_ref(),
        expect![[r#"
            Name: "b"
            Role: "ClusterRole/view"
            Age: "0s"
            Users*: "jane"
            Groups*: "ops"
            ServiceAccounts*: "shop/robot""#]],
    );
}
