//! Environments as a container sees them.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::*;

fn build(container: Value, objects: &Objects) -> Result<Vec<String>, String> {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a/b": "l"}},
                     "spec": {"serviceAccountName": "sa", "containers": [container,
                        {"name": "other", "resources": {"limits": {"memory": "1Gi"}}}]}});
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).unwrap());
    let allocatable = [("cpu".to_owned(), 2000), ("memory".to_owned(), 4096)].into();
    let host = Host { node_name: "n".into(), address: "127.0.0.1".parse().unwrap(), allocatable };
    let link = Link {
        name: "my-web".into(),
        address: "127.43.0.5".into(),
        ports: vec![LinkPort { name: "http".into(), port: 80, protocol: "TCP".into() }],
    };
    let inputs = Inputs {
        pod: &pod,
        container: &pod.spec.as_ref().unwrap().containers[0],
        address: "127.42.0.7".parse().unwrap(),
        host: &host,
        objects,
        links: links([&link]),
        image: &[("PATH".to_owned(), "/bin".to_owned())],
    };
    let env = environment(&inputs).map_err(|error| error.to_string())?;
    Ok(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

/// Without the variables that every container gets.
fn own(env: Vec<String>) -> Vec<String> {
    env.into_iter().filter(|pair| !pair.starts_with("MY_WEB_") && !pair.starts_with("PATH=")).collect()
}

fn objects() -> Objects {
    let map = ConfigMap {
        data: Some([("K".to_owned(), "v".to_owned()), ("L".to_owned(), "w".to_owned())].into()),
        ..Default::default()
    };
    let secret = Secret {
        data: Some(
            [("S".to_owned(), ByteString(b"secret".to_vec())), ("BIN".to_owned(), ByteString(vec![0xff]))]
                .into(),
        ),
        ..Default::default()
    };
    Objects {
        config_maps: [("cm".to_owned(), Arc::new(map))].into(),
        secrets: [("se".to_owned(), Arc::new(secret))].into(),
    }
}

#[test]
fn a_bare_container_sees_services_and_the_image() {
    let want = [
        "MY_WEB_PORT=tcp://127.43.0.5:80",
        "MY_WEB_PORT_80_TCP=tcp://127.43.0.5:80",
        "MY_WEB_PORT_80_TCP_ADDR=127.43.0.5",
        "MY_WEB_PORT_80_TCP_PORT=80",
        "MY_WEB_PORT_80_TCP_PROTO=tcp",
        "MY_WEB_SERVICE_HOST=127.43.0.5",
        "MY_WEB_SERVICE_PORT=80",
        "MY_WEB_SERVICE_PORT_HTTP=80",
        "PATH=/bin",
    ];
    assert_eq!(build(json!({"name": "c"}), &Objects::default()).unwrap(), want);
}

#[test]
fn later_sources_win_and_see_earlier_ones() {
    let container = json!({"name": "c",
        "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}, {"configMapRef": {"name": "cm"}}],
        "env": [{"name": "K", "value": "own"}, {"name": "X", "value": "$(K)-$(P_L)-$(MY_WEB_SERVICE_HOST)-$(Y)"},
                {"name": "Y", "value": "y"}, {"name": "EMPTY"}, {"name": "PATH", "value": "/mine"}]});
    let env = build(container, &objects()).unwrap();
    assert!(env.contains(&"PATH=/mine".to_owned()));
    let want = ["EMPTY=", "K=own", "L=w", "P_K=v", "P_L=w", "X=own-w-127.43.0.5-$(Y)", "Y=y"];
    assert_eq!(own(env), want);
}

#[test]
fn fields_and_resources_become_text() {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let resource = |name: &str, resource: &str, divisor: &str, of: &str| {
        json!({"name": name, "valueFrom": {"resourceFieldRef":
            {"resource": resource, "divisor": divisor, "containerName": of}}})
    };
    let container = json!({"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "10Mi"}},
        "env": [field("A", "metadata.name"), field("B", "metadata.labels['a/b']"), field("C", "status.podIP"),
                field("D", "spec.nodeName"), field("E", "spec.serviceAccountName"), field("F", "status.hostIP"),
                resource("G", "limits.cpu", "1", ""), resource("H", "limits.cpu", "1m", ""),
                resource("I", "requests.memory", "1Mi", ""), resource("J", "limits.memory", "1", ""),
                resource("K", "limits.memory", "1Mi", "other"), resource("L", "requests.cpu", "1", "")]});
    let want = [
        "A=p",
        "B=l",
        "C=127.42.0.7",
        "D=n",
        "E=sa",
        "F=127.0.0.1",
        "G=2",
        "H=1500",
        "I=10",
        "J=4096",
        "K=1024",
        "L=0",
    ];
    assert_eq!(own(build(container, &Objects::default()).unwrap()), want);
}

#[test]
fn keys_are_taken_from_config_maps_and_secrets() {
    let container = json!({"name": "c", "env": [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "K"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "se", "key": "S"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "K", "optional": true}}},
        {"name": "D", "valueFrom": {"secretKeyRef": {"name": "se", "key": "none", "optional": true}}}]});
    assert_eq!(own(build(container, &objects()).unwrap()), ["A=v", "B=secret"]);
}

#[test]
fn what_is_missing_is_named_as_upstream_does() {
    let variable = |source: Value| json!({"name": "c", "env": [{"name": "A", "valueFrom": source}]});
    for (container, want) in [
        (variable(json!({"configMapKeyRef": {"name": "x", "key": "K"}})), r#"configmap "x" not found"#),
        (variable(json!({"secretKeyRef": {"name": "x", "key": "K"}})), r#"secret "x" not found"#),
        (
            variable(json!({"configMapKeyRef": {"name": "cm", "key": "x"}})),
            "couldn't find key x in ConfigMap ns/cm",
        ),
        (
            variable(json!({"secretKeyRef": {"name": "se", "key": "x"}})),
            "couldn't find key x in Secret ns/se",
        ),
        (json!({"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}), r#"secret "x" not found"#),
        (variable(json!({"fieldRef": {"fieldPath": "spec.x"}})), "unsupported fieldPath: spec.x"),
    ] {
        assert_eq!(build(container, &objects()).unwrap_err(), want);
    }
    let binary = variable(json!({"secretKeyRef": {"name": "se", "key": "BIN"}}));
    assert!(build(binary, &objects()).unwrap_err().contains("not UTF-8"));
}

#[test]
fn references_are_collected_once() {
    let container: Container = serde_json::from_value(json!({"name": "c",
        "envFrom": [{"configMapRef": {"name": "cm"}}, {"secretRef": {"name": "se"}}],
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "K"}}}]}))
    .unwrap();
    let want = [Reference::ConfigMap("cm".into()), Reference::Secret("se".into())];
    assert_eq!(references(&container), want);
}

#[test]
fn command_and_args_replace_what_the_image_says() {
    let env: BTreeMap<String, String> = [("A".to_owned(), "a".to_owned())].into();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (command, args, want) in [
        (&[][..], &[][..], &["/app", "-x", "cmd"][..]),
        (&[], &["$(A)"], &["/app", "-x", "a"]),
        (&["run", "$(A)"], &[], &["run", "a"]),
        (&["run"], &["$(B)"], &["run", "$(B)"]),
    ] {
        let container = Container {
            name: "c".into(),
            command: Some(words(command)),
            args: Some(words(args)),
            ..Default::default()
        };
        let (program, rest) = command_line(&container, &words(&["/app", "-x"]), &words(&["cmd"]), &env);
        let line: Vec<_> = std::iter::once(program).chain(rest).collect();
        assert_eq!(line, want, "{command:?} {args:?}");
    }
    let bare = Container { name: "c".into(), args: Some(words(&["1"])), ..Default::default() };
    assert_eq!(
        command_line(&bare, &[], &[], &env),
        ("c".to_owned(), words(&["1"])),
        "an artifact has no entrypoint"
    );
}
