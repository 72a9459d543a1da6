//! EndpointSlices: defaults, messages, generation, rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create, update};

const SLICE: &str = "{metadata: {name: web-1}, addressType: IPv4, ports: [{port: 80}], \
    endpoints: [{addresses: [127.42.0.2], conditions: {ready: true}}]}";

#[test]
fn a_port_has_a_name_and_a_protocol() {
    check_stored::<EndpointSlice>(
        SLICE,
        expect![[r#"
        addressType: IPv4
        endpoints:
        - addresses:
          - "127.42.0.2"
          conditions:
            ready: true
        metadata:
          generation: 1
          name: web-1
        ports:
        - name: ""
          port: 80
          protocol: TCP
    "#]],
    );
}

#[test]
fn broken_slices_are_told_what_is_wrong() {
    check_invalid::<EndpointSlice>(
        "{metadata: {name: s}, addressType: IPv5, endpoints: [{addresses: []}], ports: [{name: A}, {name: A, port: 0, protocol: X}]}",
        expect![[r#"
            addressType: Unsupported value: "IPv5": supported values: "FQDN", "IPv4", "IPv6"
            endpoints[0].addresses: Required value: must contain at least 1 address
            ports[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            ports[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            ports[1].name: Duplicate value: "A"
            ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"
            ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive"#]],
    );
    check_invalid::<EndpointSlice>(
        "{metadata: {name: s}, addressType: IPv4, endpoints: [{addresses: ['::1'], hostname: A_}]}",
        expect![[r#"
            endpoints[0].addresses[0]: Invalid value: "::1": must be a valid IPv4 address
            endpoints[0].hostname: Invalid value: "A_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]],
    );
    let many = vec!["{addresses: [127.42.0.2]}"; ENDPOINTS_MAX + 1].join(",");
    check_invalid::<EndpointSlice>(
        &format!("{{metadata: {{name: s}}, addressType: IPv4, endpoints: [{many}]}}"),
        expect!["endpoints: Too many: 1001: must have at most 1000 items"],
    );
    let other = SLICE.replace("IPv4", "FQDN").replace("127.42.0.2", "a.example");
    check_update::<EndpointSlice>(
        SLICE,
        &other,
        Target::Main,
        expect![[
            r#"EndpointSlice.discovery.k8s.io "web-1" is invalid: addressType: Invalid value: "FQDN": field is immutable"#
        ]],
    );
}

#[test]
fn the_generation_counts_changes_of_content() {
    let generation = |new: &str| update::<EndpointSlice>(SLICE, new, Target::Main).unwrap().meta().generation;
    assert_eq!(generation(SLICE), Some(1));
    assert_eq!(generation(&SLICE.replace("ready: true", "ready: false")), Some(2));
    assert_eq!(generation(&SLICE.replace("{name: web-1}", "{name: web-1, annotations: {a: b}}")), Some(1));
    assert_eq!(generation(&SLICE.replace("{name: web-1}", "{name: web-1, labels: {a: b}}")), Some(2));
}

#[test]
fn a_slice_is_a_row() {
    check_row::<EndpointSlice>(
        create::<EndpointSlice>(SLICE).unwrap().as_ref(),
        expect![[r#"
        Name: "web-1"
        AddressType: "IPv4"
        Ports: "80"
        Endpoints: "127.42.0.2"
        Age: "0s""#]],
    );
    let empty = "{metadata: {name: s}, addressType: IPv4}";
    check_row::<EndpointSlice>(
        create::<EndpointSlice>(empty).unwrap().as_ref(),
        expect![[r#"
        Name: "s"
        AddressType: "IPv4"
        Ports: "<unset>"
        Endpoints: "<unset>"
        Age: "0s""#]],
    );
    let four = SLICE.replace("[127.42.0.2]", "[127.42.0.2, 127.42.0.3, 127.42.0.4, 127.42.0.5]");
    assert_eq!(
        create::<EndpointSlice>(&four).unwrap().cells(crate::testing::now())[3],
        Cell::from("127.42.0.2,127.42.0.3,127.42.0.4 + 1 more...")
    );
}
