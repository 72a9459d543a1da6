//! Pods: defaults, messages, updates, rows.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::testing::{check_invalid, check_row, check_stored, check_update, create, now, update};

const MINIMAL: &str = "{metadata: {name: web}, spec: {containers: [{name: web, image: hello}]}}";

#[test]
fn a_minimal_pod_is_filled_as_upstream_fills_it() {
    check_stored::<Pod>(
        MINIMAL,
        expect![[r#"
        metadata:
          generation: 1
          name: web
        spec:
          containers:
          - image: hello
            imagePullPolicy: Always
            name: web
            resources: {}
            terminationMessagePath: /dev/termination-log
            terminationMessagePolicy: File
          dnsPolicy: ClusterFirst
          enableServiceLinks: true
          restartPolicy: Always
          schedulerName: default-scheduler
          securityContext: {}
          terminationGracePeriodSeconds: 30
        status:
          phase: Pending
          qosClass: BestEffort
    "#]],
    );
}

#[test]
fn each_part_of_a_pod_has_its_defaults() {
    check_stored::<Pod>(
        "
metadata: {name: web}
spec:
  serviceAccount: builder
  hostNetwork: true
  schedulingGates: [{name: example.com/wait}]
  initContainers: [{name: init, image: 'init:latest', restartPolicy: Always}]
  containers:
  - name: web
    image: localhost:5000/hello:v1
    ports: [{containerPort: 80}]
    env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {limits: {cpu: '0.5', memory: 1024Mi}, requests: {cpu: 100m}}
    livenessProbe: {httpGet: {port: http}}
    readinessProbe: {grpc: {port: 9}, periodSeconds: 3}
    lifecycle: {preStop: {httpGet: {port: 80}}}
  volumes:
  - {name: dir}
  - {name: limited, emptyDir: {sizeLimit: 1024Ki}}
  - {name: config, configMap: {name: c}}
  - {name: secret, secret: {secretName: s, defaultMode: 256}}
  - {name: host, hostPath: {path: /tmp}}
  - {name: image, image: {reference: data}}
  - {name: down, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: all, projected: {sources: [{serviceAccountToken: {path: token}}]}}
",
        expect![[r#"
            metadata:
              generation: 1
              name: web
            spec:
              containers:
              - env:
                - name: A
                  valueFrom:
                    fieldRef:
                      apiVersion: v1
                      fieldPath: status.podIP
                image: localhost:5000/hello:v1
                imagePullPolicy: IfNotPresent
                lifecycle:
                  preStop:
                    httpGet:
                      path: /
                      port: 80
                      scheme: HTTP
                livenessProbe:
                  failureThreshold: 3
                  httpGet:
                    path: /
                    port: http
                    scheme: HTTP
                  periodSeconds: 10
                  successThreshold: 1
                  timeoutSeconds: 1
                name: web
                ports:
                - containerPort: 80
                  hostPort: 80
                  protocol: TCP
                readinessProbe:
                  failureThreshold: 3
                  grpc:
                    port: 9
                    service: ""
                  periodSeconds: 3
                  successThreshold: 1
                  timeoutSeconds: 1
                resources:
                  limits:
                    cpu: 500m
                    memory: 1Gi
                  requests:
                    cpu: 100m
                    memory: 1Gi
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              enableServiceLinks: true
              hostNetwork: true
              initContainers:
              - image: init:latest
                imagePullPolicy: Always
                name: init
                resources: {}
                restartPolicy: Always
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              restartPolicy: Always
              schedulerName: default-scheduler
              schedulingGates:
              - name: example.com/wait
              securityContext: {}
              serviceAccount: builder
              serviceAccountName: builder
              terminationGracePeriodSeconds: 30
              volumes:
              - emptyDir: {}
                name: dir
              - emptyDir:
                  sizeLimit: 1Mi
                name: limited
              - configMap:
                  defaultMode: 420
                  name: c
                name: config
              - name: secret
                secret:
                  defaultMode: 256
                  secretName: s
              - hostPath:
                  path: /tmp
                  type: ""
                name: host
              - image:
                  pullPolicy: Always
                  reference: data
                name: image
              - downwardAPI:
                  defaultMode: 420
                  items:
                  - fieldRef:
                      apiVersion: v1
                      fieldPath: metadata.labels
                    path: a
                name: down
              - name: all
                projected:
                  defaultMode: 420
                  sources:
                  - serviceAccountToken:
                      expirationSeconds: 3600
                      path: token
            status:
              conditions:
              - message: Scheduling is blocked due to non-empty scheduling gates
                reason: SchedulingGated
                status: "False"
                type: PodScheduled
              phase: Pending
              qosClass: Burstable
        "#]],
    );
}

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

const RUNNING: &str = "{metadata: {name: web}, spec: {activeDeadlineSeconds: 60, tolerations: [{key: a, operator: Exists}], \
    containers: [{name: web, image: hello, command: [a]}]}}";

#[test]
fn only_images_deadlines_and_tolerations_of_a_pod_may_change() {
    let allowed = RUNNING
        .replace("image: hello", "image: 'hello:v2', imagePullPolicy: Always")
        .replace("60", "30")
        .replace(
            "operator: Exists}]",
            "operator: Exists, tolerationSeconds: 9, effect: ''}, {key: b, operator: Exists}]",
        )
        .replace(", tolerationSeconds: 9, effect: ''", "");
    assert_eq!(update::<Pod>(RUNNING, &allowed, Target::Main).unwrap().meta().generation, Some(2));
    let relabelled = RUNNING.replace("{name: web}, spec", "{name: web, labels: {a: b}}, spec");
    assert_eq!(update::<Pod>(RUNNING, &relabelled, Target::Main).unwrap().meta().generation, Some(1));
    for (new, expected) in [
        (
            RUNNING.replace("[a]", "[b]").replace("spec: {", "spec: {hostname: a, "),
            expect![[r#"
            Pod "web" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
            changed: spec.containers[0].command[0], spec.hostname"#]],
        ),
        (
            RUNNING.replace("command: [a]}", "command: [a]}, {name: b, image: b}"),
            expect![[
                r#"Pod "web" is invalid: spec.containers: Forbidden: pod updates may not add or remove containers"#
            ]],
        ),
        (
            RUNNING.replace("60", "90").replace("key: a", "key: b"),
            expect![[
                r#"Pod "web" is invalid: [spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value, spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds]"#
            ]],
        ),
        (
            RUNNING.replace("activeDeadlineSeconds: 60", "schedulingGates: [{name: a}]"),
            expect![[
                r#"Pod "web" is invalid: [spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value, spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'a']"#
            ]],
        ),
    ] {
        check_update::<Pod>(RUNNING, &new, Target::Main, expected);
    }
}

#[test]
fn the_status_path_changes_the_status_only() {
    let new = "{metadata: {name: web, labels: {a: b}}, spec: {containers: []}, \
        status: {phase: Running, podIP: 127.42.0.2, qosClass: Guaranteed}}";
    let object = update::<Pod>(MINIMAL, new, Target::Status).unwrap();
    let pod = object.get::<Pod>().unwrap();
    assert_eq!(pod.spec.as_ref().unwrap().containers.len(), 1);
    let status = serde_json::to_value(pod.status.as_ref().unwrap()).unwrap();
    let expected = json!({"phase": "Running", "podIP": "127.42.0.2", "podIPs": [{"ip": "127.42.0.2"}], "qosClass": "BestEffort"});
    assert_eq!(status, expected);
    check_update::<Pod>(
        MINIMAL,
        &new.replace("phase", "nominatedNodeName"),
        Target::Status,
        expect![[
            r#"Pod "web" is invalid: status.nominatedNodeName: Invalid value: "Running": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
        ]],
    );
}

/// The Ready, Status and Restarts cells of a pod of two containers and, in `init`, more.
fn shown(init: &str, meta: &str, status: &str) -> String {
    let yaml = format!(
        "{{metadata: {{name: web}}, spec: {{initContainers: {init}, containers: [{{name: a, image: a}}, {{name: b, image: b}}]}}}}"
    );
    let mut object = create::<Pod>(&yaml).unwrap();
    let pod = object.get_mut::<Pod>().unwrap();
    let status: serde_json::Value = serde_saphyr::from_str(status).unwrap();
    pod.status = Some(serde_json::from_value(status).unwrap());
    if meta == "deleted" {
        pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    }
    let cells = object.cells(now());
    let text = |index: usize| match &cells[index] {
        Cell::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    format!("{} {} {}", text(1), text(2), text(3))
}

#[test]
fn the_status_column_says_what_keeps_a_pod_from_running() {
    const RUNS: &str = "ready: true, restartCount: 0, state: {running: {}}";
    const DONE: &str = "ready: false, restartCount: 1, state: {terminated: {exitCode: 0, reason: Completed}}";
    let two = |a: &str, b: &str, more: &str| {
        format!("{{phase: Running, {more} containerStatuses: [{{name: a, {a}}}, {{name: b, {b}}}]}}")
    };
    for (status, expected) in [
        ("{phase: Pending}".to_owned(), "0/2 Pending 0"),
        ("{phase: Failed, reason: Evicted}".to_owned(), "0/2 Evicted 0"),
        (
            "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: SchedulingGated}]}"
                .to_owned(),
            "0/2 SchedulingGated 0",
        ),
        (two(RUNS, RUNS, ""), "2/2 Running 0"),
        (two(RUNS, "ready: false, restartCount: 0, state: {running: {}}", ""), "1/2 Running 0"),
        (two("restartCount: 0, state: {waiting: {reason: ErrImagePull}}", RUNS, ""), "1/2 ErrImagePull 0"),
        (
            two(
                "restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, finishedAt: '2025-12-31T23:55:00Z'}}",
                "restartCount: 1, state: {waiting: {reason: ContainerCreating}}, lastState: {terminated: {exitCode: 1, finishedAt: '2025-12-31T23:50:00Z'}}",
                "",
            ),
            "0/2 CrashLoopBackOff 4 (5m ago)",
        ),
        (two(RUNS, DONE, "conditions: [{type: Ready, status: 'True'}],"), "1/2 Running 1"),
        (two(RUNS, DONE, ""), "1/2 NotReady 1"),
        (two(DONE, DONE, ""), "0/2 Completed 2"),
        (two(RUNS, "restartCount: 0, state: {terminated: {exitCode: 3}}", ""), "1/2 ExitCode:3 0"),
        (two(RUNS, "restartCount: 0, state: {terminated: {exitCode: 137, signal: 9}}", ""), "1/2 Signal:9 0"),
        (
            two(RUNS, "restartCount: 0, state: {terminated: {exitCode: 137, reason: OOMKilled}}", ""),
            "1/2 OOMKilled 0",
        ),
    ] {
        assert_eq!(shown("[]", "", &status), expected, "{status}");
    }
}

#[test]
fn the_status_column_says_how_far_initializing_is() {
    const INIT: &str = "[{name: i, image: i}, {name: s, image: s, restartPolicy: Always}]";
    const WAIT: &str = "restartCount: 0, state: {waiting: {reason: PodInitializing}}";
    let init = |i: &str, s: &str| {
        format!(
            "{{phase: Pending, initContainerStatuses: [{{name: i, {i}}}, {{name: s, {s}}}], containerStatuses: []}}"
        )
    };
    for (status, expected) in [
        (init(WAIT, WAIT), "0/3 Init:0/2 0"),
        (init("restartCount: 2, state: {terminated: {exitCode: 0}}", WAIT), "0/3 Init:1/2 2"),
        (
            init("restartCount: 1, state: {waiting: {reason: ImagePullBackOff}}", WAIT),
            "0/3 Init:ImagePullBackOff 1",
        ),
        (init("restartCount: 1, state: {terminated: {exitCode: 3}}", WAIT), "0/3 Init:ExitCode:3 1"),
        (init("restartCount: 1, state: {terminated: {exitCode: 9, signal: 9}}", WAIT), "0/3 Init:Signal:9 1"),
        (
            init("restartCount: 1, state: {terminated: {exitCode: 9, reason: Error}}", WAIT),
            "0/3 Init:Error 1",
        ),
        (
            init(
                "restartCount: 2, state: {terminated: {exitCode: 0}}",
                "restartCount: 5, ready: true, started: true, state: {running: {}}",
            ),
            "1/3 Pending 5",
        ),
    ] {
        assert_eq!(shown(INIT, "", &status), expected, "{status}");
    }
}

#[test]
fn a_pod_that_is_going_says_so() {
    assert_eq!(shown("[]", "deleted", "{phase: Running}"), "0/2 Terminating 0");
    assert_eq!(shown("[]", "deleted", "{phase: Succeeded}"), "0/2 Succeeded 0");
    assert_eq!(shown("[]", "deleted", "{phase: Running, reason: NodeLost}"), "0/2 Unknown 0");
}

#[test]
fn a_pod_is_a_row() {
    let mut object = create::<Pod>(
        "{metadata: {name: web}, spec: {nodeName: n1, readinessGates: [{conditionType: a}, {conditionType: b}], containers: [{name: web, image: hello}]}}",
    )
    .unwrap();
    assert!(object.row_conditions().is_empty());
    let status = json!({"phase": "Succeeded", "podIP": "127.42.0.2", "nominatedNodeName": "n2",
        "conditions": [{"type": "a", "status": "True"}, {"type": "b", "status": "False"}]});
    object.get_mut::<Pod>().unwrap().status = Some(serde_json::from_value(status).unwrap());
    object.set_defaults();
    check_row::<Pod>(
        object.as_ref(),
        expect![[r#"
        Name: "web"
        Ready: "0/1"
        Status: "Succeeded"
        Restarts: "0"
        Age: "0s"
        IP*: "127.42.0.2"
        Node*: "n1"
        Nominated Node*: "n2"
        Readiness Gates*: "1/2""#]],
    );
    expect![[r#"[{"type":"Completed","status":"True","reason":"Succeeded","message":"The pod has completed successfully."}]"#]].assert_eq(&serde_json::to_string(&object.row_conditions()).unwrap());
    for (label, value) in [
        ("spec.nodeName", "n1"),
        ("spec.host", "n1"),
        ("spec.restartPolicy", "Always"),
        ("spec.schedulerName", "default-scheduler"),
        ("spec.serviceAccountName", ""),
        ("spec.hostNetwork", "false"),
        ("status.phase", "Succeeded"),
        ("status.podIP", "127.42.0.2"),
        ("status.podIPs", "127.42.0.2"),
        ("status.nominatedNodeName", "n2"),
    ] {
        assert_eq!(object.field(label).as_deref(), Some(value), "{label}");
    }
}

#[test]
fn a_delete_gives_as_long_as_it_should() {
    let grace = |node: &str, phase: &str, asked| {
        let yaml = format!(
            "{{metadata: {{name: web}}, spec: {{nodeName: {node}, containers: [{{name: a, image: a}}]}}}}"
        );
        let mut pod = create::<Pod>(&yaml).unwrap().take::<Pod>().unwrap();
        pod.status.as_mut().unwrap().phase = Some(phase.to_owned());
        deletion_grace_seconds(&pod, asked)
    };
    assert_eq!(grace("n1", "Running", None), 30);
    assert_eq!(grace("n1", "Running", Some(5)), 5);
    assert_eq!(grace("n1", "Running", Some(0)), 0);
    assert_eq!(grace("n1", "Running", Some(-3)), 1);
    assert_eq!(grace("n1", "Failed", None), 0);
    assert_eq!(grace("''", "Pending", Some(9)), 0);
}

#[test]
fn a_binding_places_a_pod_once() {
    let bind = |pod: &str, change: fn(&mut Pod), binding: serde_json::Value| {
        let mut pod = create::<Pod>(pod).unwrap().take::<Pod>().unwrap();
        change(&mut pod);
        let binding = serde_json::from_value(binding).unwrap();
        binding::bind(&mut pod, &binding, now()).map(|()| pod)
    };
    let to_n1 = json!({"target": {"kind": "Node", "name": "n1"}, "metadata": {"annotations": {"a": "b"}}});
    let pod = bind(MINIMAL, |_| {}, to_n1.clone()).unwrap();
    assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(pod.metadata.annotations.as_ref().unwrap()["a"], "b");
    expect![[r#"{"lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1,"status":"True","type":"PodScheduled"}"#]].assert_eq(&serde_json::to_string(condition(&pod, "PodScheduled").unwrap()).unwrap());
    let placed = MINIMAL.replace("spec: {", "spec: {nodeName: n2, ");
    let gated = MINIMAL.replace("spec: {", "spec: {schedulingGates: [{name: a}], ");
    let deleted: fn(&mut Pod) =
        |pod| pod.metadata.deletion_timestamp = pod.metadata.creation_timestamp.clone();
    let other = json!({"target": {"name": "n1"}, "metadata": {"uid": "uid-2"}});
    let refused: Vec<String> = [
        bind(&placed, |_| {}, to_n1.clone()),
        bind(&gated, |_| {}, to_n1.clone()),
        bind(MINIMAL, deleted, to_n1),
        bind(MINIMAL, |_| {}, other),
        bind(MINIMAL, |_| {}, json!({"target": {"kind": "Pod"}})),
    ]
    .into_iter()
    .map(|result| result.unwrap_err().to_string())
    .collect();
    expect![[r#"
        Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "n2"
        Operation cannot be fulfilled on pods/binding "web": pod web has non-empty .spec.schedulingGates
        Operation cannot be fulfilled on pods/binding "web": pod web is being deleted, cannot be assigned to a host
        Operation cannot be fulfilled on pods/binding "web": Precondition failed: UID in precondition: uid-2, UID in object meta: uid-1
        Binding "web" is invalid: [target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>", target.name: Required value]"#]].assert_eq(&refused.join("\n"));
}
