//! Endpoints: messages and rows.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_stored, create};

#[test]
fn ports_are_tcp_unless_said() {
    check_stored::<Endpoints>(
        "{metadata: {name: e}, subsets: [{addresses: [{ip: 127.42.0.2}], ports: [{port: 80}]}]}",
        expect![[r#"
            metadata:
              name: e
            subsets:
            - addresses:
              - ip: "127.42.0.2"
              ports:
              - port: 80
                protocol: TCP
        "#]],
    );
}

#[test]
fn broken_endpoints_are_told_what_is_wrong() {
    check_invalid::<Endpoints>(
        "{metadata: {name: e}, subsets: [{ports: [{port: 0}, {name: A, port: 1, protocol: X}]}, {addresses: [{ip: x, hostname: A}]}]}",
        expect![[r#"
            subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`
            subsets[0].ports[0].name: Required value
            subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            subsets[0].ports[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            subsets[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"
            subsets[1].addresses[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            subsets[1].addresses[0].hostname: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]],
    );
}

#[test]
fn a_row_shows_the_first_three_addresses() {
    let shown = |subsets: &str| {
        let object = create::<Endpoints>(&format!("{{metadata: {{name: e}}, subsets: {subsets}}}")).unwrap();
        match &object.cells(crate::testing::now())[1] {
            Cell::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown("[]"), "<none>");
    assert_eq!(shown("[{notReadyAddresses: [{ip: 127.42.0.2}], ports: [{port: 80}]}]"), "");
    assert_eq!(
        shown("[{addresses: [{ip: 127.42.0.2}, {ip: '::1'}], ports: [{port: 80}]}]"),
        "127.42.0.2:80,[::1]:80"
    );
    assert_eq!(
        shown(
            "[{addresses: [{ip: 127.42.0.2}, {ip: 127.42.0.3}], ports: [{name: a, port: 80}, {name: b, port: 81}]}]"
        ),
        "127.42.0.2:80,127.42.0.3:80,127.42.0.2:81 + 1 more..."
    );
    assert_eq!(shown("[{addresses: [{ip: 127.42.0.2}]}]"), "127.42.0.2");
}
