//! Services: defaults, messages, updates, rows.

use expect_test::{Expect, expect};

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create};

const MINIMAL: &str = "{metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}";
const PLACED: &str = "{metadata: {name: web}, spec: {type: NodePort, clusterIP: 10.43.0.7, selector: {app: web}, \
    ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30081}]}}";

#[test]
fn a_minimal_service_is_filled_as_upstream_fills_it() {
    check_stored::<Service>(
        MINIMAL,
        expect![[r#"
        metadata:
          name: web
        spec:
          internalTrafficPolicy: Cluster
          ipFamilies:
          - IPv4
          ipFamilyPolicy: SingleStack
          ports:
          - port: 80
            protocol: TCP
            targetPort: 80
          selector:
            app: web
          sessionAffinity: None
          type: ClusterIP
        status:
          loadBalancer: {}
    "#]],
    );
    check_stored::<Service>(
        "{metadata: {name: web}, spec: {type: LoadBalancer, clusterIP: 10.43.0.7, sessionAffinity: ClientIP, \
         ports: [{port: 80, targetPort: http, protocol: UDP}]}}",
        expect![[r#"
            metadata:
              name: web
            spec:
              allocateLoadBalancerNodePorts: true
              clusterIP: "10.43.0.7"
              clusterIPs:
              - "10.43.0.7"
              externalTrafficPolicy: Cluster
              internalTrafficPolicy: Cluster
              ipFamilies:
              - IPv4
              ipFamilyPolicy: SingleStack
              ports:
              - port: 80
                protocol: UDP
                targetPort: http
              sessionAffinity: ClientIP
              sessionAffinityConfig:
                clientIP:
                  timeoutSeconds: 10800
              type: LoadBalancer
            status:
              loadBalancer: {}
        "#]],
    );
    check_stored::<Service>(
        "{metadata: {name: web}, spec: {type: ExternalName, externalName: example.com.}}",
        expect![[r#"
            metadata:
              name: web
            spec:
              externalName: example.com.
              sessionAffinity: None
              type: ExternalName
            status:
              loadBalancer: {}
        "#]],
    );
}

#[test]
fn broken_services_are_told_what_is_wrong() {
    check_invalid::<Service>(
        "metadata: {name: 1web}",
        expect![[r#"
        metadata.name: Invalid value: "1web": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
        spec.ports: Required value"#]],
    );
    check_invalid::<Service>(
        "
metadata: {name: web}
spec:
  type: Round
  clusterIP: ten
  sessionAffinity: Maybe
  internalTrafficPolicy: Nowhere
  externalTrafficPolicy: Local
  ports:
  - {port: 0, targetPort: HTTP, protocol: tcp, nodePort: 30000}
  - {name: a, port: 80}
  - {name: a, port: 80, targetPort: 70000}
",
        expect![[r#"
            spec.type: Unsupported value: "Round": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
            spec.ports[0].name: Required value
            spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"
            spec.ports[0].targetPort: Invalid value: "HTTP": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.ports[0].targetPort: Invalid value: "HTTP": must contain at least one letter (a-z)
            spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'
            spec.ports[2].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.ports[2].name: Duplicate value: "a"
            spec.ports[2]: Duplicate value: {"port":80,"protocol":"TCP"}
            spec.clusterIPs[0]: Invalid value: "ten": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.sessionAffinity: Unsupported value: "Maybe": supported values: "ClientIP", "None"
            spec.internalTrafficPolicy: Unsupported value: "Nowhere": supported values: "Cluster", "Local"
            spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#]],
    );
    check_invalid::<Service>(
        "{metadata: {name: web}, spec: {type: NodePort, clusterIP: None, ports: [{name: a, port: 80, nodePort: 30000}, {name: b, port: 81, nodePort: 30000}]}}",
        expect![[r#"
            spec.ports[1].nodePort: Duplicate value: 30000
            spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#]],
    );
    check_invalid::<Service>(
        "{metadata: {name: web}, spec: {type: ExternalName, clusterIP: 10.43.0.9}}",
        expect![[r#"
            spec.clusterIPs: Forbidden: may not be set for ExternalName services
            spec.externalName: Required value"#]],
    );
    check_invalid::<Service>(
        "{metadata: {name: web}, spec: {clusterIP: None, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}}}",
        expect![
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than or equal to 86400"
        ],
    );
}

fn check_step(new: &str, expected: Expect) {
    check_update::<Service>(PLACED, new, Target::Main, expected);
}

#[test]
fn given_addresses_and_ports_stay_when_the_manifest_is_silent() {
    check_step(
        "{metadata: {name: web}, spec: {type: NodePort, ports: [{name: a, port: 80}, {name: c, port: 82}]}}",
        expect![[r#"
            metadata:
              name: web
            spec:
              clusterIP: "10.43.0.7"
              clusterIPs:
              - "10.43.0.7"
              externalTrafficPolicy: Cluster
              internalTrafficPolicy: Cluster
              ipFamilies:
              - IPv4
              ipFamilyPolicy: SingleStack
              ports:
              - name: a
                nodePort: 30080
                port: 80
                protocol: TCP
                targetPort: 80
              - name: c
                port: 82
                protocol: TCP
                targetPort: 82
              sessionAffinity: None
              type: NodePort
            status:
              loadBalancer: {}
        "#]],
    );
    check_step(
        "{metadata: {name: web}, spec: {ports: [{port: 80}]}}",
        expect![[r#"
        metadata:
          name: web
        spec:
          clusterIP: "10.43.0.7"
          clusterIPs:
          - "10.43.0.7"
          internalTrafficPolicy: Cluster
          ipFamilies:
          - IPv4
          ipFamilyPolicy: SingleStack
          ports:
          - port: 80
            protocol: TCP
            targetPort: 80
          sessionAffinity: None
          type: ClusterIP
        status:
          loadBalancer: {}
    "#]],
    );
    check_step(
        "{metadata: {name: web}, spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}}",
        expect![[r#"
            metadata:
              name: web
            spec:
              externalName: example.com
              ports:
              - port: 80
                protocol: TCP
                targetPort: 80
              sessionAffinity: None
              type: ExternalName
            status:
              loadBalancer: {}
        "#]],
    );
}

#[test]
fn an_address_once_given_may_not_change() {
    check_step(
        "{metadata: {name: web}, spec: {clusterIP: 10.43.0.8, ports: [{port: 80}]}}",
        expect![[
            r#"Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["10.43.0.8"]: may not change once set"#
        ]],
    );
    check_step(
        "{metadata: {name: web}, spec: {clusterIP: None, ports: [{port: 80}]}}",
        expect![[
            r#"Service "web" is invalid: spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set"#
        ]],
    );
}

#[test]
fn what_the_server_must_give_is_known() {
    let wants = |yaml: &str| {
        let object = create::<Service>(yaml).unwrap();
        let spec = object.get::<Service>().unwrap().spec.clone().unwrap();
        (wants_cluster_ip(&spec), wants_node_ports(&spec))
    };
    assert_eq!(wants(MINIMAL), (true, false));
    assert_eq!(wants(PLACED), (false, true));
    assert_eq!(wants("{metadata: {name: web}, spec: {clusterIP: None}}"), (false, false));
    assert_eq!(
        wants("{metadata: {name: web}, spec: {type: ExternalName, externalName: a.b}}"),
        (false, false)
    );
    assert_eq!(
        wants("{metadata: {name: web}, spec: {type: LoadBalancer, ports: [{port: 80}]}}"),
        (true, true)
    );
}

#[test]
fn headless_services_are_warned_of_what_they_cannot_do() {
    let warnings = |yaml: &str| create::<Service>(yaml).unwrap().warnings().join("\n");
    assert_eq!(warnings(PLACED), "");
    expect![[r#"
        spec.externalIPs is ignored for headless services
        spec.sessionAffinity is ignored for headless services"#]].assert_eq(&warnings(
        "{metadata: {name: web}, spec: {clusterIP: None, sessionAffinity: ClientIP, externalIPs: [192.0.2.1]}}",
    ));
}

#[test]
fn a_service_is_a_row() {
    check_row::<Service>(
        create::<Service>(PLACED).unwrap().as_ref(),
        expect![[r#"
        Name: "web"
        Type: "NodePort"
        Cluster-IP: "10.43.0.7"
        External-IP: "<none>"
        Port(s): "80:30080/TCP,81:30081/TCP"
        Age: "0s"
        Selector*: "app=web""#]],
    );
    let external = |yaml: &str| {
        let object = create::<Service>(yaml).unwrap();
        let cells = object.cells(crate::testing::now());
        format!("{:?} {:?} {:?}", cells[2], cells[3], cells[4])
    };
    expect![[r#"Text("None") Text("192.0.2.1") Text("<none>")"#]]
        .assert_eq(&external("{metadata: {name: web}, spec: {clusterIP: None, externalIPs: [192.0.2.1]}}"));
    expect![[r#"Text("<none>") Text("<pending>") Text("80/TCP")"#]]
        .assert_eq(&external("{metadata: {name: web}, spec: {type: LoadBalancer, ports: [{port: 80}]}}"));
    expect![[r#"Text("<none>") Text("example.com") Text("<none>")"#]].assert_eq(&external(
        "{metadata: {name: web}, spec: {type: ExternalName, externalName: example.com}}",
    ));
}
