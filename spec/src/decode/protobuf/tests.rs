//! Bodies made by the k8s-pb crate's types, whose JSON must be what k8s-openapi's types write for the same object.

use k8s_pb::api::{apps::v1 as apps, core::v1 as core, policy::v1 as policy};
use k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_pb::apimachinery::pkg::{api::resource, apis::meta::v1 as meta, runtime, util::intstr};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::*;
use crate::decode::strict::strict_check;

fn body(api_version: &str, kind: &str, object: &impl prost::Message) -> Vec<u8> {
    let unknown = runtime::Unknown {
        type_meta: Some(runtime::TypeMeta {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
        }),
        raw: Some(object.encode_to_vec()),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

/// Decodes, checks that the JSON is strictly valid, and reads it.
fn decode(api_version: &str, kind: &str, object: &impl prost::Message) -> Json {
    let decoded = protobuf_to_json(&body(api_version, kind, object)).unwrap();
    assert_eq!((&*decoded.api_version, &*decoded.kind), (api_version, kind));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let findings = strict_check(&decoded.json, schema::message(group, version, kind).unwrap()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    serde_json::from_slice(&decoded.json).unwrap()
}

/// What k8s-openapi makes of some JSON: reads it and writes it again.
fn through<T: serde::de::DeserializeOwned + serde::Serialize>(json: &Json) -> Json {
    serde_json::to_value(serde_json::from_value::<T>(json.clone()).unwrap()).unwrap()
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn quantity(value: &str) -> resource::Quantity {
    resource::Quantity { string: text(value) }
}

fn port(number: i32) -> intstr::IntOrString {
    intstr::IntOrString { r#type: Some(0), int_val: Some(number), str_val: Some(String::new()) }
}

fn named_port(name: &str) -> intstr::IntOrString {
    intstr::IntOrString { r#type: Some(1), int_val: Some(0), str_val: text(name) }
}

/// As a Go client writes it: plain fields are there even when zero.
fn container() -> core::Container {
    core::Container {
        name: text("main"),
        image: text("registry.local/app:v1"),
        command: vec!["/app".to_owned(), "--x=\"y\"\n".to_owned()],
        working_dir: Some(String::new()),
        ports: vec![core::ContainerPort {
            name: Some(String::new()),
            host_port: Some(0),
            container_port: Some(8080),
            protocol: text("TCP"),
            host_ip: Some(String::new()),
        }],
        env: vec![core::EnvVar { name: text("A"), value: text("b"), value_from: None }],
        env_from: vec![core::EnvFromSource {
            prefix: Some(String::new()),
            config_map_ref: Some(core::ConfigMapEnvSource {
                local_object_reference: Some(core::LocalObjectReference { name: text("settings") }),
                optional: Some(false),
            }),
            secret_ref: None,
        }],
        resources: Some(core::ResourceRequirements {
            limits: [("cpu".to_owned(), quantity("500m")), ("memory".to_owned(), quantity("1Gi"))].into(),
            ..Default::default()
        }),
        liveness_probe: Some(core::Probe {
            handler: Some(core::ProbeHandler {
                http_get: Some(core::HttpGetAction {
                    path: text("/healthz"),
                    port: Some(named_port("http")),
                    host: Some(String::new()),
                    scheme: text("HTTP"),
                    http_headers: vec![],
                }),
                ..Default::default()
            }),
            initial_delay_seconds: Some(0),
            period_seconds: Some(10),
            termination_grace_period_seconds: Some(0),
            ..Default::default()
        }),
        stdin: Some(false),
        tty: Some(true),
        ..Default::default()
    }
}

fn deployment() -> apps::Deployment {
    let template = core::PodTemplateSpec {
        metadata: Some(meta::ObjectMeta {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            creation_timestamp: Some(meta::Time::default()),
            ..Default::default()
        }),
        spec: Some(core::PodSpec {
            containers: vec![container()],
            volumes: vec![core::Volume {
                name: text("data"),
                volume_source: Some(core::VolumeSource {
                    empty_dir: Some(core::EmptyDirVolumeSource {
                        medium: Some(String::new()),
                        size_limit: None,
                    }),
                    ..Default::default()
                }),
            }],
            automount_service_account_token: Some(false),
            host_network: Some(false),
            ..Default::default()
        }),
    };
    apps::Deployment {
        metadata: Some(meta::ObjectMeta {
            name: text("web"),
            namespace: text("default"),
            ..Default::default()
        }),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(0),
            selector: Some(meta::LabelSelector {
                match_labels: [("app".to_owned(), "web".to_owned())].into(),
                match_expressions: vec![],
            }),
            template: Some(template),
            strategy: Some(apps::DeploymentStrategy {
                r#type: Some(String::new()),
                rolling_update: Some(apps::RollingUpdateDeployment {
                    max_surge: Some(named_port("25%")),
                    max_unavailable: Some(port(0)),
                }),
            }),
            min_ready_seconds: Some(0),
            paused: Some(false),
            ..Default::default()
        }),
        status: Some(apps::DeploymentStatus { replicas: Some(0), ..Default::default() }),
    }
}

#[test]
fn a_deployment_becomes_the_json_that_its_client_would_have_sent() {
    let found = decode("apps/v1", "Deployment", &deployment());
    let expected = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "main", "image": "registry.local/app:v1", "command": ["/app", "--x=\"y\"\n"],
                        "env": [{"name": "A", "value": "b"}],
                        "envFrom": [{"configMapRef": {"name": "settings", "optional": false}}],
                        "livenessProbe": {
                            "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
                            "periodSeconds": 10, "terminationGracePeriodSeconds": 0,
                        },
                        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                        "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                        "tty": true,
                    }],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
        "status": {},
    });
    assert_eq!(found, expected);
    assert_eq!(through::<k8s_openapi::api::apps::v1::Deployment>(&found), expected);
}

#[test]
fn a_secret_keeps_its_bytes() {
    let secret = core::Secret {
        metadata: Some(meta::ObjectMeta { name: text("s"), ..Default::default() }),
        data: [("key".to_owned(), vec![0, 255, 10]), ("empty".to_owned(), vec![])].into(),
        r#type: text("helm.sh/release.v1"),
        immutable: Some(false),
        ..Default::default()
    };
    let found = decode("v1", "Secret", &secret);
    assert_eq!(found["data"], json!({"key": "AP8K", "empty": ""}));
    assert_eq!(found["immutable"], json!(false));
    assert_eq!(through::<k8s_openapi::api::core::v1::Secret>(&found), found);
}

#[test]
fn times_are_written_with_the_digits_of_their_type() {
    let event = core::Event {
        first_timestamp: Some(meta::Time { seconds: Some(1_700_000_000), nanos: Some(5) }),
        last_timestamp: Some(meta::Time::default()),
        event_time: Some(meta::MicroTime { seconds: Some(1_700_000_000), nanos: Some(123_456_789) }),
        involved_object: Some(core::ObjectReference { kind: text("Pod"), ..Default::default() }),
        ..Default::default()
    };
    let found = decode("v1", "Event", &event);
    assert_eq!(found["firstTimestamp"], json!("2023-11-14T22:13:20Z"));
    assert_eq!(found["eventTime"], json!("2023-11-14T22:13:20.123456Z"));
    assert_eq!(found.get("lastTimestamp"), None);
    assert_eq!(found["involvedObject"], json!({"kind": "Pod"}));
}

#[test]
fn options_and_subresource_bodies_decode() {
    let options = meta::DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Some(meta::Preconditions { uid: text("u"), resource_version: None }),
        propagation_policy: text("Background"),
        ..Default::default()
    };
    for api_version in ["v1", "policy/v1", "autoscaling/v2"] {
        let found = protobuf_to_json(&body(api_version, "DeleteOptions", &options)).unwrap();
        let found: Json = serde_json::from_slice(&found.json).unwrap();
        assert_eq!(found["gracePeriodSeconds"], json!(0));
        assert_eq!(found["preconditions"], json!({"uid": "u"}));
    }
    let eviction = policy::Eviction {
        metadata: Some(meta::ObjectMeta { name: text("p"), ..Default::default() }),
        delete_options: Some(options),
    };
    let found = decode("policy/v1", "Eviction", &eviction);
    assert_eq!(found["deleteOptions"]["propagationPolicy"], json!("Background"));
}

#[test]
fn values_of_many_forms_take_the_one_that_is_set() {
    let leaf = |kind: &str| apiextensions::JsonSchemaProps { r#type: text(kind), ..Default::default() };
    let props = apiextensions::JsonSchemaProps {
        items: Some(Box::new(apiextensions::JsonSchemaPropsOrArray {
            schema: Some(Box::new(leaf("string"))),
            j_son_schemas: vec![],
        })),
        additional_properties: Some(Box::new(apiextensions::JsonSchemaPropsOrBool {
            allows: Some(true),
            schema: Some(Box::new(leaf("integer"))),
        })),
        additional_items: Some(Box::new(apiextensions::JsonSchemaPropsOrBool {
            allows: Some(false),
            schema: None,
        })),
        dependencies: [(
            "a".to_owned(),
            apiextensions::JsonSchemaPropsOrStringArray { schema: None, property: vec!["b".to_owned()] },
        )]
        .into(),
        default: Some(apiextensions::Json { raw: Some(b"{\"x\":[1]}".to_vec()) }),
        r#enum: vec![apiextensions::Json { raw: Some(b"1".to_vec()) }, apiextensions::Json { raw: None }],
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..Default::default()
    };
    let crd = apiextensions::CustomResourceDefinition {
        spec: Some(apiextensions::CustomResourceDefinitionSpec {
            group: text("example.com"),
            versions: vec![apiextensions::CustomResourceDefinitionVersion {
                name: text("v1"),
                served: Some(true),
                storage: Some(false),
                schema: Some(apiextensions::CustomResourceValidation { open_apiv3_schema: Some(props) }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let found = decode("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd);
    let version = &found["spec"]["versions"][0];
    assert_eq!((&version["served"], &version["storage"]), (&json!(true), &json!(false)));
    assert_eq!(
        version["schema"]["openAPIV3Schema"],
        json!({
            "items": {"type": "string"},
            "additionalProperties": {"type": "integer"},
            "additionalItems": false,
            "dependencies": {"a": ["b"]},
            "default": {"x": [1]},
            "enum": [1, null],
            "x-kubernetes-preserve-unknown-fields": true,
        })
    );
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (nanos, expected) in [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (2_000_000, "2ms"),
        (1_500_000_000, "1.5s"),
        (-90_000_000_000, "-1m30s"),
        (3_600_000_000_000, "1h0m0s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        let bytes = meta::Duration { duration: Some(nanos) }.encode_to_vec();
        assert_eq!(special::duration(&bytes).unwrap(), expected);
    }
}

#[test]
fn parts_in_any_order_and_repeated_are_put_together() {
    let first = core::Pod {
        spec: Some(core::PodSpec {
            containers: vec![container()],
            node_name: text("old"),
            node_selector: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let second = core::Pod {
        spec: Some(core::PodSpec {
            containers: vec![core::Container { name: text("other"), ..Default::default() }],
            node_name: text("new"),
            node_selector: [("a".to_owned(), "3".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let both = [first.encode_to_vec(), second.encode_to_vec()].concat();
    let merged = core::Pod::decode(&*both).unwrap();
    let split = body_of_raw("v1", "Pod", &both);
    let whole = body("v1", "Pod", &merged);
    assert_eq!(protobuf_to_json(&split), protobuf_to_json(&whole));
}

fn body_of_raw(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let unknown = runtime::Unknown {
        type_meta: Some(runtime::TypeMeta {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
        }),
        raw: Some(raw.to_vec()),
        ..Default::default()
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

#[test]
fn unknown_tags_and_groups_are_skipped() {
    // Tag 999 as each wire type, tag 998 as a group with a group and a value in it.
    let extra: &[u8] = &[
        0xb8, 0x3e, 0x01, 0xb9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8, 0xba, 0x3e, 0x02, 9, 9, 0xbd, 0x3e, 1, 2, 3,
        4, //
        0xb3, 0x3e, 0x0b, 0x10, 0x01, 0x0c, 0xb4, 0x3e,
    ];
    let pod = core::Pod {
        metadata: Some(meta::ObjectMeta { name: text("p"), ..Default::default() }),
        ..Default::default()
    };
    let raw = [extra, &pod.encode_to_vec(), extra].concat();
    let decoded = protobuf_to_json(&body_of_raw("v1", "Pod", &raw)).unwrap();
    let found: Json = serde_json::from_slice(&decoded.json).unwrap();
    assert_eq!(found, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}));
}

#[test]
fn malformed_bodies_are_refused_with_a_reason() {
    let secret = |raw: &[u8]| body_of_raw("v1", "Secret", raw);
    for (body, expected) in [
        (
            b"".to_vec(),
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ),
        (
            b"{}".to_vec(),
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ),
        (b"k8s\0".to_vec(), "no kind \"\" is registered for version \"\""),
        (body_of_raw("v1", "Nonesuch", b""), "no kind \"Nonesuch\" is registered for version \"v1\""),
        (secret(&[0x0a, 0x7f]), "unexpected EOF"),
        (secret(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), "unexpected EOF"),
        (secret(&[0xff; 11]), "proto: integer overflow"),
        (secret(&[0x00]), "proto: illegal tag 0"),
        (secret(&[0x0f]), "proto: illegal wireType 7"),
        (secret(&[0x08, 0x01]), "proto: wrong wireType = 0 for field metadata"),
        (secret(&[0x0b, 0x0b]), "unexpected EOF"),
        (secret(&[0x0c]), "proto: unexpected end of group"),
    ] {
        assert_eq!(protobuf_to_json(&body).unwrap_err().to_string(), expected, "{body:?}");
    }
}

#[test]
fn deep_and_growing_bodies_are_refused() {
    let mut deep = Vec::new();
    for _ in 0..5_000 {
        let mut around = vec![0xe2, 0x01];
        prost::encoding::encode_varint(deep.len() as u64, &mut around);
        around.extend_from_slice(&deep);
        deep = around;
    }
    let crd = apiextensions::CustomResourceDefinition::default().encode_to_vec();
    let wrap = |tag: u8, inner: &[u8]| {
        let mut around = vec![tag << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut around);
        [&around, inner].concat()
    };
    let raw = [crd, wrap(2, &wrap(7, &wrap(4, &wrap(1, &deep))))].concat();
    let error = protobuf_to_json(&body_of_raw("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw));
    assert_eq!(error.unwrap_err().to_string(), "exceeded max depth");

    let growing = core::Container {
        lifecycle: Some(core::Lifecycle::default()),
        liveness_probe: Some(core::Probe::default()),
        readiness_probe: Some(core::Probe::default()),
        resources: Some(core::ResourceRequirements::default()),
        security_context: Some(core::SecurityContext {
            capabilities: Some(core::Capabilities::default()),
            se_linux_options: Some(core::SeLinuxOptions::default()),
            windows_options: Some(core::WindowsSecurityContextOptions::default()),
            seccomp_profile: Some(core::SeccompProfile::default()),
            app_armor_profile: Some(core::AppArmorProfile::default()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let spec = core::PodSpec { containers: vec![growing; 50_000], ..Default::default() };
    let pod = core::Pod { spec: Some(spec), ..Default::default() };
    let error = protobuf_to_json(&body("v1", "Pod", &pod)).map(|decoded| decoded.json.len()).unwrap_err();
    assert_eq!(error.to_string(), "the object is far larger than its encoding");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = protobuf_to_json(&raw);
        let _ = protobuf_to_json(&[MAGIC, &raw].concat());
        let _ = protobuf_to_json(&body_of_raw("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw));
    }

    #[test]
    fn mutations_give_an_error_or_json_of_bounded_size(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<proptest::sample::Index>()
    ) {
        let mut bytes = body("apps/v1", "Deployment", &deployment());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() * 2).max(4));
        if let Ok(decoded) = protobuf_to_json(&bytes) {
            prop_assert!(serde_json::from_slice::<Json>(&decoded.json).is_ok());
            prop_assert!(decoded.json.len() <= bytes.len() * (MAX_GROWTH + 1) + FREE_GROWTH_BYTES);
        }
    }
}
