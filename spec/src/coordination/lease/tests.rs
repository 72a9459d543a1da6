//! Leases: messages and rows.

use expect_test::expect;

use super::*;
use crate::resource::Target;
use crate::testing::{check_invalid, check_row, create, update};

const LEASE: &str = "{metadata: {name: l}, spec: {holderIdentity: me, leaseDurationSeconds: 15, renewTime: '2026-01-01T00:00:00.000000Z'}}";

#[test]
fn broken_leases_are_told_what_is_wrong() {
    check_invalid::<Lease>(
        "{metadata: {name: l}, spec: {leaseDurationSeconds: 0, leaseTransitions: -1}}",
        expect![[r#"
            spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
            spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"#]],
    );
}

#[test]
fn a_lease_is_never_overwritten_unseen() {
    let status = update::<Lease>(LEASE, LEASE, Target::Main).unwrap_err();
    expect![[r#"Lease.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#]].assert_eq(&status.message);
    let seen = LEASE.replace("name: l", "name: l, resourceVersion: '1'");
    assert!(update::<Lease>(LEASE, &seen, Target::Main).is_ok());
    let stale = LEASE.replace("name: l", "name: l, resourceVersion: '7'");
    assert_eq!(update::<Lease>(LEASE, &stale, Target::Main).unwrap_err().code, 409);
}

#[test]
fn a_lease_is_a_row() {
    check_row::<Lease>(
        create::<Lease>(LEASE).unwrap().as_ref(),
        expect![[r#"
        Name: "l"
        Holder: "me"
        Age: "0s""#]],
    );
}
