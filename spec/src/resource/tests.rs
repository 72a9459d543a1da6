//! The stored form, the steps of a write, and what must hold for every kind.

use expect_test::expect;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use proptest::prelude::*;
use serde_json::Value;

use super::write::{self, NewObject};
use super::*;
use crate::registry::{self, kind_of};
use crate::status::Status;
use crate::testing::{body, create, decoded, now};

/// One manifest of each kind, with as many fields as its defaults and rules look at.
const MANIFESTS: &[(&str, &str)] = &[
    ("v1/ConfigMap", "{metadata: {name: a}, data: {a: b}, binaryData: {c: AA==}, immutable: true}"),
    ("v1/Endpoints", "{metadata: {name: a}, subsets: [{addresses: [{ip: 127.42.0.2}], ports: [{port: 80}]}]}"),
    ("v1/Event", "{metadata: {name: a}, involvedObject: {kind: Pod, namespace: default}, series: {count: 2}, count: 3}"),
    (
        "v1/LimitRange",
        "{metadata: {name: a}, spec: {limits: [{type: Container, max: {cpu: 1000m}, min: {memory: 1Mi}}]}}",
    ),
    ("v1/Namespace", "{metadata: {name: a}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}"),
    ("v1/Node", "{metadata: {name: a}, spec: {taints: [{key: a, effect: NoSchedule}]}, status: {capacity: {cpu: '0.5'}}}"),
    (
        "v1/PersistentVolume",
        "{metadata: {name: a}, spec: {capacity: {storage: 1024Mi}, accessModes: [ReadWriteOnce], hostPath: {path: /a}}}",
    ),
    (
        "v1/PersistentVolumeClaim",
        "{metadata: {name: a}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}",
    ),
    (
        "v1/Pod",
        "
metadata: {name: a, labels: {a: b}, annotations: {c: d}, ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: u}]}
spec:
  serviceAccount: s
  hostNetwork: true
  nodeName: n1
  initContainers: [{name: i, image: i, resources: {limits: {memory: 1024Ki}}}]
  containers:
  - {name: a, image: a, ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: 80}},
     lifecycle: {preStop: {httpGet: {port: 80}}}, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}],
     resources: {limits: {cpu: '0.5'}}, volumeMounts: [{name: v, mountPath: /v}]}
  ephemeralContainers: [{name: e, image: e}]
  volumes:
  - {name: v}
  - {name: c, configMap: {name: c}}
  - {name: p, projected: {sources: [{serviceAccountToken: {path: t}}, {downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}]}}
status: {phase: Running, podIP: 127.42.0.2, containerStatuses: [{name: a, ready: true}]}
",
    ),
    (
        "v1/PodTemplate",
        "{metadata: {name: a}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}",
    ),
    (
        "v1/ReplicationController",
        "{metadata: {name: a}, spec: {replicas: 2, selector: {a: b}, template: {metadata: {labels: {a: b}}, \
         spec: {containers: [{name: a, image: a}]}}}, status: {replicas: 1}}",
    ),
    (
        "v1/ResourceQuota",
        "{metadata: {name: a}, spec: {hard: {cpu: 1000m}}, status: {used: {cpu: 500m}}}",
    ),
    ("v1/Secret", "{metadata: {name: a}, type: Opaque, data: {a: AA==}, stringData: {b: c}}"),
    (
        "v1/Service",
        "{metadata: {name: a}, spec: {type: LoadBalancer, clusterIP: 10.43.0.2, sessionAffinity: ClientIP, externalIPs: [192.0.2.1], \
         ports: [{port: 80, nodePort: 30000}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}}",
    ),
    ("v1/ServiceAccount", "{metadata: {name: a}, automountServiceAccountToken: false}"),
    (
        "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration",
        "{metadata: {name: a}, webhooks: [{name: a.b.c, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {service: {namespace: a, name: a}}, rules: [{operations: [CREATE]}]}]}",
    ),
    (
        "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration",
        "{metadata: {name: a}, webhooks: [{name: a.b.c, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://a'}, rules: [{operations: [CREATE]}]}]}",
    ),
    (
        "apiextensions.k8s.io/v1/CustomResourceDefinition",
        "{metadata: {name: as.example.com}, spec: {group: example.com, scope: Cluster, names: {plural: as, kind: A}, \
         versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}",
    ),
    ("apps/v1/ControllerRevision", "{metadata: {name: a}, revision: 1, data: {spec: {template: {}}}}"),
    (
        "apps/v1/DaemonSet",
        "{metadata: {name: a}, spec: {updateStrategy: {rollingUpdate: {maxUnavailable: 1}}, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
         spec: {containers: [{name: a, image: a}]}}}, status: {numberReady: 1}}",
    ),
    (
        "apps/v1/Deployment",
        "{metadata: {name: a}, spec: {replicas: 2, strategy: {rollingUpdate: {maxSurge: 1}}, selector: {matchLabels: {a: b}}, \
         template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}, status: {replicas: 1}}",
    ),
    (
        "apps/v1/ReplicaSet",
        "{metadata: {name: a}, spec: {replicas: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
         spec: {containers: [{name: a, image: a}]}}}, status: {replicas: 1}}",
    ),
    (
        "apps/v1/StatefulSet",
        "{metadata: {name: a}, spec: {replicas: 2, volumeClaimTemplates: [{metadata: {name: v}}], selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
         spec: {containers: [{name: a, image: a}]}}}, status: {replicas: 1}}",
    ),
    (
        "autoscaling/v2/HorizontalPodAutoscaler",
        "{metadata: {name: a}, spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: a}}, status: {currentReplicas: 1}}",
    ),
    (
        "batch/v1/CronJob",
        "{metadata: {name: a}, spec: {schedule: '* * * * *', timeZone: Etc/UTC, jobTemplate: {spec: {template: {spec: \
         {restartPolicy: Never, containers: [{name: a, image: a}]}}}}}, status: {lastScheduleTime: '2026-01-01T00:00:00Z'}}",
    ),
    (
        "batch/v1/Job",
        "{metadata: {name: a}, spec: {completions: 2, podFailurePolicy: {rules: [{action: Ignore, onPodConditions: \
         [{type: DisruptionTarget}]}]}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, \
         containers: [{name: a, image: a}]}}}, status: {active: 1}}",
    ),
    ("coordination.k8s.io/v1/Lease", "{metadata: {name: a}, spec: {renewTime: '2026-01-01T00:00:00.123456Z'}}"),
    (
        "discovery.k8s.io/v1/EndpointSlice",
        "{metadata: {name: a}, addressType: IPv4, endpoints: [{addresses: [127.42.0.2]}], ports: [{port: 80}]}",
    ),
    (
        "networking.k8s.io/v1/Ingress",
        "{metadata: {name: a}, spec: {rules: [{host: a.b, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}}",
    ),
    (
        "networking.k8s.io/v1/IngressClass",
        "{metadata: {name: a}, spec: {controller: a.b/c}}",
    ),
    (
        "networking.k8s.io/v1/NetworkPolicy",
        "{metadata: {name: a}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}], egress: [{to: [{podSelector: {}}]}]}}",
    ),
    (
        "node.k8s.io/v1/RuntimeClass",
        "{metadata: {name: a}, handler: a, overhead: {podFixed: {cpu: 1000m}}}",
    ),
    (
        "policy/v1/PodDisruptionBudget",
        "{metadata: {name: a}, spec: {minAvailable: 50%, selector: {matchLabels: {a: b}}}, status: {expectedPods: 1}}",
    ),
    (
        "scheduling.k8s.io/v1/PriorityClass",
        "{metadata: {name: a}, value: 1}",
    ),
    (
        "storage.k8s.io/v1/StorageClass",
        "{metadata: {name: a}, provisioner: a}",
    ),
    (
        "rbac.authorization.k8s.io/v1/ClusterRole",
        "{metadata: {name: a}, rules: [{verbs: [get], nonResourceURLs: [/metrics]}], \
         aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}}",
    ),
    (
        "rbac.authorization.k8s.io/v1/ClusterRoleBinding",
        "{metadata: {name: a}, roleRef: {kind: ClusterRole, name: a}, subjects: [{kind: User, name: u}]}",
    ),
    (
        "rbac.authorization.k8s.io/v1/Role",
        "{metadata: {name: a}, rules: [{verbs: [get], apiGroups: [''], resources: [pods]}]}",
    ),
    (
        "rbac.authorization.k8s.io/v1/RoleBinding",
        "{metadata: {name: a}, roleRef: {kind: Role, name: a}, subjects: [{kind: ServiceAccount, name: s}]}",
    ),
];

fn each_kind() -> impl Iterator<Item = (&'static Kind, Value)> {
    MANIFESTS.iter().map(|(name, yaml)| {
        let (api_version, kind) = name.rsplit_once('/').unwrap();
        let kind = registry::builtin().by_kind(api_version, kind).unwrap();
        (&**kind, serde_saphyr::from_str(yaml).unwrap())
    })
}

#[test]
fn every_kind_has_a_manifest_here() {
    let known: Vec<String> = registry::builtin()
        .iter()
        .filter(|kind| kind.is_stored())
        .map(|kind| format!("{}/{}", kind.api_version(), kind.kind))
        .collect();
    let here: Vec<&str> = MANIFESTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(here, known);
}

#[test]
fn every_row_has_a_cell_to_each_column() {
    for (kind, tree) in each_kind() {
        let object = kind.decode_value(&tree).unwrap();
        assert_eq!(object.cells(now()).len(), kind.columns().len(), "{kind:?}");
        let bare = kind.decode(b"{}").unwrap();
        assert_eq!(bare.cells(now()).len(), kind.columns().len(), "{kind:?}");
    }
}

/// What must hold for any object, however broken, of any kind.
fn check_laws(kind: &Kind, tree: &Value) {
    let Ok(mut object) = kind.decode_value(tree) else { return };
    object.meta_mut().name = Some("a".to_owned());
    object.set_defaults();
    let once = object.to_stored();
    object.set_defaults();
    assert_eq!(text(&object.to_stored()), text(&once), "defaults are filled once: {kind:?}");
    let again = kind.decode_stored(&once, 7).unwrap();
    assert_eq!(text(&again.to_stored()), text(&once), "what is stored reads back: {kind:?}");
    assert!(!kind.has_generation || !again.generation_moves(object.as_ref()), "nothing changed: {kind:?}");
    object.validate(&mut FieldErrors::new());
    object.cells(now());
    object.row_conditions();
    object.warnings();
    check_forms(kind, again.as_ref(), &once);
}

/// The two spliced forms are what the whole object would be written as.
fn check_forms(kind: &Kind, object: &dyn Object, stored: &[u8]) {
    assert!(stored.starts_with(STORED_PREFIX));
    let mut wanted: Value = serde_json::from_slice(stored).unwrap();
    wanted["metadata"]["resourceVersion"] = "7".into();
    let mut item = Vec::new();
    kind.append_list_item(&mut item, stored, 7);
    assert_eq!(serde_json::from_slice::<Value>(&item).unwrap(), wanted);
    assert_eq!(object.meta().resource_version.as_deref(), Some("7"));
    wanted["kind"] = kind.kind.as_str().into();
    wanted["apiVersion"] = kind.api_version().into();
    assert_eq!(serde_json::from_slice::<Value>(&kind.object_json(stored, 7)).unwrap(), wanted);
    for absent in [&b"\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\""[..], b"\"resourceVersion\":\"7\""]
    {
        assert!(!stored.windows(absent.len()).any(|part| part == absent));
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Takes out the part of the tree that `pick` comes upon, counting all parts in order.
fn remove(tree: &mut Value, pick: &mut usize) -> bool {
    let children: Vec<&mut Value> = match tree {
        Value::Object(fields) => {
            if *pick < fields.len() {
                let key = fields.keys().nth(*pick).unwrap().clone();
                fields.remove(&key);
                return true;
            }
            *pick -= fields.len();
            fields.values_mut().collect()
        }
        Value::Array(items) => {
            if *pick < items.len() {
                items.remove(*pick);
                return true;
            }
            *pick -= items.len();
            items.iter_mut().collect()
        }
        _ => return false,
    };
    children.into_iter().any(|child| remove(child, pick))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn defaults_are_idempotent_and_stored_objects_read_back(picks in prop::collection::vec(0usize..120, 0..12)) {
        for (kind, mut tree) in each_kind() {
            for pick in &picks {
                remove(&mut tree, &mut pick.clone());
            }
            check_laws(kind, &tree);
        }
    }
}

#[test]
fn the_stored_form_leaves_out_what_is_spliced_in() {
    let object = create::<ConfigMap>("{metadata: {name: a, labels: {b: c}}, data: {d: e}}").unwrap();
    let stored = object.to_stored();
    expect![[r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","labels":{"b":"c"},"name":"a","namespace":"default","uid":"uid-1"},"data":{"d":"e"}}"#]]
        .assert_eq(text(&stored));
    let kind = kind_of::<ConfigMap>();
    expect![[r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"12","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"b":"c"},"name":"a","namespace":"default","uid":"uid-1"},"data":{"d":"e"}}"#]]
        .assert_eq(text(&kind.object_json(&stored, 12)));
    assert_eq!(text(&kind.key("default", "a")), "/registry/core/configmaps/default/a");
    assert_eq!(text(&kind.prefix(Some("default"))), "/registry/core/configmaps/default/");
    assert_eq!(text(&kind.prefix(None)), "/registry/core/configmaps/");
    assert_eq!(text(&kind_of::<Namespace>().key("ignored", "a")), "/registry/core/namespaces/a");
}

#[test]
fn bodies_that_do_not_fit_are_explained() {
    let message = |json: &str| kind_of::<Pod>().decode(json.as_bytes()).unwrap_err().message;
    let lines = [
        r#"{"kind":"Service","apiVersion":"v1"}"#,
        r#"{"kind":"Pod","apiVersion":"apps/v1"}"#,
        r#"{"spec":{"containers":"none"}}"#,
        r#"{"spec":{"containers":[{"name":"a","ports":[{"containerPort":"http"}]}]}}"#,
        r#"{"metadata":{"labels":{"a":1}}}"#,
        r#"{"spec":{"terminationGracePeriodSeconds":1.5}}"#,
        "[]",
        "{",
        "kind: Pod",
        "",
    ]
    .map(message);
    expect![[r#"
        the kind in the data (Service) does not match the expected kind (Pod)
        the API version in the data (apps/v1) does not match the expected API version (v1)
        Pod in version "v1" cannot be handled as a Pod: spec.containers: invalid type: string "none", expected a sequence
        Pod in version "v1" cannot be handled as a Pod: spec.containers[0].ports[0].containerPort: invalid type: string "http", expected i32
        Pod in version "v1" cannot be handled as a Pod: metadata.labels.a: invalid type: integer `1`, expected a string
        Pod in version "v1" cannot be handled as a Pod: spec.terminationGracePeriodSeconds: invalid type: floating point `1.5`, expected i64
        Pod in version "v1" cannot be handled as a Pod: invalid type: sequence, expected Pod at line 1 column 2
        Pod in version "v1" cannot be handled as a Pod: EOF while parsing an object at line 1 column 1
        Pod in version "v1" cannot be handled as a Pod: expected value at line 1 column 1
        Pod in version "v1" cannot be handled as a Pod: EOF while parsing a value at line 1 column 0"#]].assert_eq(&lines.join("\n"));
    assert!(kind_of::<Pod>().decode(br#"{"kind":"Pod","apiVersion":"v1","unknown":{"a":[1,2]}}"#).is_ok());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(kind_of::<Pod>().decode(deep.as_bytes()).unwrap_err().code, 400);
}

fn prepare(yaml: &str, namespace: &str) -> Result<Box<dyn Object>, Status> {
    let mut object = decoded::<ConfigMap>(yaml);
    let new = NewObject { namespace, uid: "u".to_owned(), now: now(), name_seed: 5 };
    write::prepare_create(kind_of::<ConfigMap>(), object.as_mut(), new).map(|()| object)
}

#[test]
fn a_new_object_gets_what_only_the_server_gives() {
    let object = prepare(
        "{metadata: {generateName: a-, uid: mine, generation: 9, selfLink: x, creationTimestamp: '2020-01-01T00:00:00Z', \
         deletionTimestamp: '2020-01-01T00:00:00Z', deletionGracePeriodSeconds: 3, managedFields: [{manager: m}]}}",
        "team",
    )
    .unwrap();
    expect![[r#"{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","generateName":"a-","name":"a-hbbbb","namespace":"team","uid":"u"}}"#]]
        .assert_eq(text(&object.to_stored()));
    let refused = ["{metadata: {name: a, namespace: other}}", "{metadata: {name: a, resourceVersion: '1'}}"]
        .map(|yaml| prepare(yaml, "team").unwrap_err())
        .map(|status| format!("{} {}", status.code, status.message));
    expect![[r#"
        400 the namespace of the provided object does not match the namespace sent on the request
        400 resourceVersion should not be set on objects to be created"#]]
    .assert_eq(&refused.join("\n"));
}

#[test]
fn an_update_keeps_what_only_the_server_changes() {
    let kind = kind_of::<ConfigMap>();
    let mut old = create::<ConfigMap>("{metadata: {name: a, finalizers: [a/b]}, data: {a: b}}").unwrap();
    old.meta_mut().deletion_timestamp = old.meta().creation_timestamp.clone();
    old.meta_mut().deletion_grace_period_seconds = Some(0);
    let update = |yaml: &str| {
        let mut object = kind.decode(&body(yaml)).unwrap();
        write::prepare_update(kind, object.as_mut(), old.as_ref(), Target::Main)?;
        write::validate_update(kind, object.as_ref(), old.as_ref(), Target::Main)?;
        Ok::<_, Status>(object)
    };
    assert_eq!(
        text(&update("{metadata: {name: a, finalizers: [a/b]}, data: {a: b}}").unwrap().to_stored()),
        text(&old.to_stored()),
        "a write that changes nothing stores the same bytes"
    );
    let refused = [
        "{metadata: {}}",
        "{metadata: {name: b}}",
        "{metadata: {name: a, namespace: other}}",
        "{metadata: {name: a, resourceVersion: '2'}}",
        "{metadata: {name: a, uid: other}}",
        "{metadata: {name: a, finalizers: [a/b, c/d]}}",
        "{metadata: {name: a, deletionGracePeriodSeconds: 9}}",
    ]
    .map(|yaml| update(yaml).unwrap_err())
    .map(|status| format!("{} {}", status.code, status.message));
    expect![[r#"
        400 the name of the object (a based on URL) was undeterminable: name must be provided
        400 the name of the object (b) does not match the name on the URL (a)
        400 the namespace of the provided object does not match the namespace sent on the request
        409 Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again
        409 Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: other, UID in object meta: uid-1
        422 ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"c/d"}
        422 ConfigMap "a" is invalid: metadata.deletionGracePeriodSeconds: Invalid value: 9: field is immutable"#]].assert_eq(&refused.join("\n"));
}
