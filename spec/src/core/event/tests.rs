//! Events: where they live, rows, fields.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, create};

#[test]
fn an_event_lives_where_its_object_does() {
    check_invalid::<Event>(
        "{metadata: {name: e}, involvedObject: {namespace: other}}",
        expect![[r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#]],
    );
    check_invalid::<Event>("{metadata: {name: e}, involvedObject: {kind: Node, name: n1}}", expect![[""]]);
}

#[test]
fn an_event_is_a_row() {
    let old = create::<Event>(
        "
metadata: {name: web.1}
involvedObject: {kind: Pod, namespace: default, name: web, uid: u, fieldPath: 'spec.containers{web}'}
type: Warning
reason: BackOff
message: \"Back-off restarting failed container \\n\"
source: {component: kubelet, host: n1}
firstTimestamp: '2025-12-31T23:00:00Z'
lastTimestamp: '2025-12-31T23:59:30Z'
count: 12
",
    )
    .unwrap();
    check_row::<Event>(
        old.as_ref(),
        expect![[r#"
        Last Seen: "30s"
        Type: "Warning"
        Reason: "BackOff"
        Object: "pod/web"
        Subobject*: "spec.containers{web}"
        Source*: "kubelet, n1"
        Message: "Back-off restarting failed container"
        First Seen*: "60m"
        Count*: 12
        Name*: "web.1""#]],
    );
    let new = create::<Event>(
        "
metadata: {name: web.2}
involvedObject: {kind: Node, name: n1}
eventTime: '2025-12-31T23:59:00.000000Z'
reportingComponent: node-controller
reportingInstance: m1
series: {count: 3, lastObservedTime: '2025-12-31T23:59:50.000000Z'}
",
    )
    .unwrap();
    check_row::<Event>(
        new.as_ref(),
        expect![[r#"
        Last Seen: "10s"
        Type: ""
        Reason: ""
        Object: "node/n1"
        Subobject*: ""
        Source*: "node-controller, m1"
        Message: ""
        First Seen*: "60s"
        Count*: 3
        Name*: "web.2""#]],
    );
    for (label, value) in [
        ("involvedObject.name", "web"),
        ("involvedObject.fieldPath", "spec.containers{web}"),
        ("source", "kubelet"),
        ("type", "Warning"),
        ("reason", "BackOff"),
        ("reportingComponent", ""),
    ] {
        assert_eq!(old.field(label).as_deref(), Some(value), "{label}");
    }
    assert_eq!(new.field("source").as_deref(), Some("node-controller"));
}
