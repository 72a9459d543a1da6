//! Nodes: amounts, taints, updates, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create};

#[test]
fn a_registering_node_keeps_its_status() {
    check_stored::<Node>(
        "{metadata: {name: n1}, status: {capacity: {cpu: '2', memory: 4194304Ki, pods: '110'}, conditions: [{type: Ready, status: 'False'}]}}",
        expect![[r#"
            metadata:
              name: n1
            spec: {}
            status:
              allocatable:
                cpu: "2"
                memory: 4Gi
                pods: "110"
              capacity:
                cpu: "2"
                memory: 4Gi
                pods: "110"
              conditions:
              - status: "False"
                type: Ready
        "#]],
    );
}

#[test]
fn broken_nodes_are_told_what_is_wrong() {
    check_invalid::<Node>(
        "{metadata: {name: n1}, spec: {taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}, {key: '', effect: Never}, {key: b}]}}",
        expect![[r#"
            spec.taints[1]: Duplicate value: {"effect":"NoSchedule","key":"a"}
            spec.taints[2].key: Invalid value: "": name part must be non-empty
            spec.taints[2].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.taints[2].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.taints[3].effect: Required value"#]],
    );
    let placed = "{metadata: {name: n1}, spec: {podCIDRs: [10.42.0.0/24], providerID: isopod://n}}";
    check_update::<Node>(
        placed,
        "{metadata: {name: n1}, spec: {podCIDRs: [10.42.1.0/24]}}",
        Target::Main,
        expect![[
            r#"Node "n1" is invalid: [spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid, spec.providerID: Forbidden: node updates may not change providerID except from "" to valid]"#
        ]],
    );
}

#[test]
fn a_node_is_a_row() {
    let bare = create::<Node>("metadata: {name: n1}").unwrap();
    check_row::<Node>(
        bare.as_ref(),
        expect![[r#"
        Name: "n1"
        Status: "Unknown"
        Roles: "<none>"
        Age: "0s"
        Version: ""
        Internal-IP*: "<none>"
        External-IP*: "<none>"
        OS-Image*: "<unknown>"
        Kernel-Version*: "<unknown>"
        Container-Runtime*: "<unknown>""#]],
    );
    let full = create::<Node>(
        "
metadata: {name: n1, labels: {node-role.kubernetes.io/worker: '', node-role.kubernetes.io/edge: ''}}
spec: {unschedulable: true}
status:
  conditions: [{type: MemoryPressure, status: 'False'}, {type: Ready, status: 'True'}]
  addresses: [{type: InternalIP, address: 127.0.0.1}, {type: Hostname, address: n1}]
  nodeInfo: {kubeletVersion: v1.36.0, osImage: Debian, kernelVersion: 6.1.0, architecture: amd64,
    containerRuntimeVersion: 'wasmtime://48.0.0', bootID: b, machineID: m, systemUUID: s, operatingSystem: linux, kubeProxyVersion: ''}
",
    )
    .unwrap();
    check_row::<Node>(
        full.as_ref(),
        expect![[r#"
        Name: "n1"
        Status: "Ready,SchedulingDisabled"
        Roles: "edge,worker"
        Age: "0s"
        Version: "v1.36.0"
        Internal-IP*: "127.0.0.1"
        External-IP*: "<none>"
        OS-Image*: "Debian"
        Kernel-Version*: "6.1.0 (amd64)"
        Container-Runtime*: "wasmtime://48.0.0""#]],
    );
    assert_eq!(full.field("spec.unschedulable").as_deref(), Some("true"));
    assert_eq!(bare.field("spec.unschedulable").as_deref(), Some("false"));
}
