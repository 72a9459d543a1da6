//! What is said about broken and risky pods.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Pod;

use super::MINIMAL;
use crate::testing::{check_invalid, create};

#[test]
fn broken_pods_are_told_what_is_wrong() {
    check_invalid::<Pod>("metadata: {name: web}", expect!["spec.containers: Required value"]);
    check_invalid::<Pod>(
        "
metadata: {name: web}
spec:
  restartPolicy: Sometimes
  dnsPolicy: Mine
  activeDeadlineSeconds: 0
  nodeName: Node_1
  hostname: a.b
  nodeSelector: {a b: c}
  hostAliases: [{ip: x, hostnames: [A]}]
  overhead: {cpu: -1}
  securityContext: {runAsUser: -1}
  preemptionPolicy: Maybe
  initContainers:
  - {name: web, image: a, livenessProbe: {exec: {command: [a]}}, lifecycle: {preStop: {sleep: {seconds: 1}}}}
  - {name: init, image: a}
  - {name: init, image: a}
  containers:
  - {name: web, image: hello}
  - {name: web, image: ' hello'}
  - {image: hello, imagePullPolicy: Often, terminationMessagePolicy: Loud}
  - {name: A}
",
        expect![[r#"
            spec.containers[1].image: Invalid value: " hello": must not have leading or trailing whitespace
            spec.containers[1].name: Duplicate value: "web"
            spec.containers[2].name: Required value
            spec.containers[2].terminationMessagePolicy: Unsupported value: "Loud": supported values: "File", "FallbackToLogsOnError"
            spec.containers[2].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"
            spec.containers[3].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[3].image: Required value
            spec.initContainers[0].name: Duplicate value: "web"
            spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.initContainers[2].name: Duplicate value: "init"
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.dnsPolicy: Unsupported value: "Mine": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"
            spec.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.nodeName: Invalid value: "Node_1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.hostname: Invalid value: "a.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.preemptionPolicy: Unsupported value: "Maybe": supported values: "PreemptLowerPriority", "Never"
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.hostAliases[0].hostnames[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.overhead[cpu]: Invalid value: "-1": must be greater than or equal to 0
            spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"#]],
    );
}

fn container_faults(fields: &str, expected: Expect) {
    let yaml = format!(
        "{{metadata: {{name: web}}, spec: {{volumes: [{{name: v}}], containers: [{{name: web, image: hello, {fields}}}]}}}}"
    );
    check_invalid::<Pod>(&yaml, expected);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of cases")]
fn broken_containers_are_told_what_is_wrong() {
    container_faults(
        "ports: [{name: http, containerPort: 80}, {name: http, containerPort: 0}, {name: Web!, containerPort: 70000, hostPort: -1, protocol: HTTP}]",
        expect![[r#"
            spec.containers[0].ports[1].name: Duplicate value: "http"
            spec.containers[0].ports[1].containerPort: Required value
            spec.containers[0].ports[2].name: Invalid value: "Web!": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[0].ports[2].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[2].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive
            spec.containers[0].ports[2].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP""#]],
    );
    container_faults(
        "env: [{value: a}, {name: 'A=B'}, {name: A, value: a, valueFrom: {fieldRef: {fieldPath: status.phase}}}, \
         {name: B, valueFrom: {}}, {name: C, valueFrom: {configMapKeyRef: {key: a b}, secretKeyRef: {name: s}}}, \
         {name: D, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['a']\"}}}]",
        expect![[r#"
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
            spec.containers[0].env[2].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].env[3].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`
            spec.containers[0].env[4].valueFrom.configMapKeyRef.name: Required value
            spec.containers[0].env[4].valueFrom.configMapKeyRef.key: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            spec.containers[0].env[4].valueFrom.secretKeyRef.key: Required value
            spec.containers[0].env[4].valueFrom: Invalid value: "": may not have more than one field specified at a time"#]],
    );
    container_faults(
        "envFrom: [{}, {prefix: '=', configMapRef: {}}, {configMapRef: {name: a}, secretRef: {name: b}}]",
        expect![[r#"
            spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].envFrom[1].prefix: Invalid value: "=": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].envFrom[1].configMapRef.name: Required value
            spec.containers[0].envFrom[2]: Invalid value: "": may not have more than one field specified at a time"#]],
    );
    container_faults(
        "volumeMounts: [{name: v, mountPath: /a}, {name: w, mountPath: /a}, {}, \
         {name: v, mountPath: /b, subPath: /x, subPathExpr: ../y, mountPropagation: Up}]",
        expect![[r#"
            spec.containers[0].volumeMounts[1].name: Not found: "w"
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
            spec.containers[0].volumeMounts[2].name: Required value
            spec.containers[0].volumeMounts[2].mountPath: Required value
            spec.containers[0].volumeMounts[3].subPath: Invalid value: "/x": must be a relative path
            spec.containers[0].volumeMounts[3].subPathExpr: Invalid value: "../y": must not contain '..'
            spec.containers[0].volumeMounts[3].subPathExpr: Invalid value: "../y": subPathExpr and subPath are mutually exclusive
            spec.containers[0].volumeMounts[3].mountPropagation: Unsupported value: "Up": supported values: "Bidirectional", "HostToContainer", "None""#]],
    );
    container_faults(
        "resources: {limits: {cpu: 1x, memory: 1Mi, example.com/gpu: '1.5'}, requests: {memory: 2Mi, cpu: -1, wood: 1, example.com/tpu: 1, example.com/gpu: 1}}",
        expect![[r#"
            spec.containers[0].resources.limits[cpu]: Invalid value: "1x": unable to parse quantity's suffix
            spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].resources.requests[wood]: Invalid value: "wood": must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[wood]: Invalid value: "wood": must be a standard resource for containers
            spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 1500m
            spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources
            spec.containers[0].resources.requests: Invalid value: "2Mi": must be less than or equal to memory limit of 1Mi"#]],
    );
    container_faults(
        "livenessProbe: {successThreshold: 2, exec: {}, httpGet: {port: 0}}, readinessProbe: {terminationGracePeriodSeconds: 1, periodSeconds: -1}, \
         startupProbe: {httpGet: {port: 80, scheme: FTP, httpHeaders: [{name: a b}]}}, lifecycle: {postStart: {tcpSocket: {port: '80'}}}",
        expect![[r#"
            spec.containers[0].lifecycle.postStart.tcpSocket.port: Invalid value: "80": must contain at least one letter (a-z)
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe: Required value: must specify a handler type
            spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes
            spec.containers[0].startupProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"
            spec.containers[0].startupProbe.httpGet.httpHeaders[0].name: Invalid value: "a b": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"#]],
    );
    container_faults(
        "securityContext: {privileged: true, allowPrivilegeEscalation: false, runAsGroup: -1}",
        expect![[r#"
            spec.containers[0].securityContext.runAsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true,"runAsGroup":-1}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#]],
    );
}

fn spec_faults(fields: &str, expected: Expect) {
    let yaml =
        format!("{{metadata: {{name: web}}, spec: {{containers: [{{name: web, image: hello}}], {fields}}}}}");
    check_invalid::<Pod>(&yaml, expected);
}

#[test]
fn broken_volumes_are_told_what_is_wrong() {
    spec_faults(
        "volumes: [{name: A}, {name: v, secret: {}, configMap: {defaultMode: 9999}}, {name: v}, \
         {name: e, emptyDir: {sizeLimit: lots}}, {name: h, hostPath: {path: ../x, type: Thing}}, \
         {name: i, configMap: {name: c, items: [{key: a}, {key: a, path: /etc, mode: -1}]}}, \
         {name: d, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: spec.nodeName}}, {path: b}]}}, \
         {name: p, projected: {sources: [{}, {secret: {}, serviceAccountToken: {path: t, expirationSeconds: 1}}]}}, \
         {name: c, persistentVolumeClaim: {}}, {name: m, image: {}}]",
        expect![[r#"
            spec.volumes[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.volumes[1].secret: Forbidden: may not specify more than 1 volume type
            spec.volumes[1].secret.secretName: Required value
            spec.volumes[1].configMap.name: Required value
            spec.volumes[1].configMap.defaultMode: Invalid value: 9999: must be a number between 0 and 0777 (octal), both inclusive
            spec.volumes[2].name: Duplicate value: "v"
            spec.volumes[3].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity
            spec.volumes[4].hostPath.path: Invalid value: "../x": must not contain '..'
            spec.volumes[4].hostPath.type: Unsupported value: "Thing": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
            spec.volumes[5].configMap.items[0].path: Required value
            spec.volumes[5].configMap.items[1].path: Invalid value: "/etc": must be a relative path
            spec.volumes[5].configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive
            spec.volumes[6].downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"
            spec.volumes[6].downwardAPI.fieldRef: Required value: one of fieldRef and resourceFieldRef is required
            spec.volumes[7].projected.sources[0]: Required value: must specify exactly one source
            spec.volumes[7].projected.sources[1].secret.name: Required value
            spec.volumes[7].projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes
            spec.volumes[7].projected.sources[1]: Forbidden: may not specify more than 1 volume type per source
            spec.volumes[8].persistentVolumeClaim.claimName: Required value
            spec.volumes[9].image.reference: Required value"#]],
    );
}

#[test]
fn impossible_wishes_for_a_place_are_told() {
    spec_faults(
        "tolerations: [{operator: Equal, value: a}, {key: a, operator: Exists, value: b}, {key: a, operator: Like}, \
         {key: a, effect: Shout}, {key: a, tolerationSeconds: 1}, {operator: Exists}]",
        expect![[r#"
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].operator: Invalid value: {"key":"a","operator":"Exists","value":"b"}: value must be empty when `operator` is 'Exists'
            spec.tolerations[2].operator: Unsupported value: "Like": supported values: "Equal", "Exists"
            spec.tolerations[3].effect: Unsupported value: "Shout": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.tolerations[4].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set"#]],
    );
    spec_faults(
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: \
         [{key: a, operator: In}, {key: a, operator: Exists, values: [b]}, {key: a, operator: Gt}, {key: '', operator: Is}], \
         matchFields: [{key: spec.x, operator: In, values: [a]}]}]}, preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}]}, \
         podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{namespaces: [A]}], \
         preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: a, labelSelector: {matchLabels: {'': ''}}}}]}}",
        expect![[r#"
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[3].operator: Invalid value: "Is": not a valid selector operator
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[3].key: Invalid value: "": name part must be non-empty
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[3].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: "spec.x": not a valid field selector key
            spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
            spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector.matchLabels: Invalid value: "": name part must be non-empty
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector.matchLabels: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]],
    );
    spec_faults(
        "topologySpreadConstraints: [{maxSkew: 0, whenUnsatisfiable: Cry}, {maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, \
         {maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, minDomains: 0}], \
         nodeName: n1, schedulingGates: [{name: a}, {name: a}], readinessGates: [{conditionType: 'a b'}]",
        expect![[r#"
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Cry": supported values: "DoNotSchedule", "ScheduleAnyway"
            spec.topologySpreadConstraints[2].{topologyKey, whenUnsatisfiable}: Duplicate value: "{a, DoNotSchedule}"
            spec.topologySpreadConstraints[2].minDomains: Invalid value: 0: must be greater than zero
            spec.schedulingGates[1]: Duplicate value: "a"
            spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared
            spec.readinessGates[0].conditionType: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#]],
    );
    spec_faults(
        "topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, minDomains: 2, nodeTaintsPolicy: Maybe, \
         matchLabelKeys: [b]}, {maxSkew: 1, topologyKey: b, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {c: d}}, matchLabelKeys: [c]}], \
         affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, matchLabelKeys: [a, b], mismatchLabelKeys: [b]}]}}",
        expect![[r#"
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[1]: Invalid value: "b": exists in both matchLabelKeys and mismatchLabelKeys
            spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway
            spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore"
            spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set
            spec.topologySpreadConstraints[1].matchLabelKeys[0]: Invalid value: "c": exists in both matchLabelKeys and labelSelector"#]],
    );
    spec_faults(
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {}}}",
        expect![
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term"
        ],
    );
}

#[test]
fn ports_of_the_host_are_had_once() {
    check_invalid::<Pod>(
        "{metadata: {name: web}, spec: {hostNetwork: true, containers: [{name: a, image: a, ports: [{containerPort: 80}]}, \
         {name: b, image: b, ports: [{containerPort: 80}, {containerPort: 81, hostPort: 82}]}]}}",
        expect![[r#"
            spec.containers[1].ports[1].containerPort: Invalid value: 81: must match `hostPort` when `hostNetwork` is true
            spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80""#]],
    );
}

#[test]
fn risky_pods_are_warned_of() {
    let pod = create::<Pod>(
        "{metadata: {name: web}, spec: {terminationGracePeriodSeconds: -1, containers: [{name: web, image: hello, \
         ports: [{containerPort: 80}, {name: again, containerPort: 80}], env: [{name: A}, {name: A}]}]}}",
    )
    .unwrap();
    expect![[r#"
        spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]
        spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
        spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1 (-1)"#]].assert_eq(&pod.warnings().join("\n"));
    assert_eq!(create::<Pod>(MINIMAL).unwrap().warnings(), Vec::<String>::new());
}
