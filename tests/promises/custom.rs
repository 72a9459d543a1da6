//! Custom resources, as operators and charts bring them: declared, used by the real kubectl, and gone again.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use isopod_tests::control_plane::ControlPlane;
use isopod_tests::{Cluster, eventually};

use super::helm::helm;

/// A definition in the shape of public ones: a schema with everything, columns, status and scale, a short name.
const CERTIFICATES: &str = include_str!("../charts/trust/crds/certificates.yaml");

const CERTIFICATE: &str = "apiVersion: trust.example.com/v1\nkind: Certificate\nmetadata: {name: web}\n\
    spec: {secretName: web-tls, issuerRef: {name: root}, dnsNames: [a.example.com], template: {any: {thing: [1]}}}\n";

#[track_caller]
fn declare(cluster: &Cluster) {
    cluster.apply(CERTIFICATES);
    let crd = "crd/certificates.trust.example.com";
    cluster.kubectl(&["wait", crd, "--for=condition=Established", "--timeout=30s"]).ok();
}

#[test]
fn a_declared_kind_is_served_like_any_other() {
    let cluster = Cluster::start();
    declare(&cluster);
    cluster.apply(CERTIFICATE);
    let resources = cluster.kubectl(&["api-resources", "--api-group=trust.example.com", "--no-headers"]).ok();
    let words: Vec<&str> = resources.split_whitespace().collect();
    assert_eq!(words, ["certificates", "cert,certs", "trust.example.com/v1", "true", "Certificate"]);
    for name in ["cert", "certificates", "certificate.trust.example.com", "trust"] {
        let table = cluster.kubectl(&["get", name]).ok();
        let mut lines = table.lines();
        assert_eq!(
            lines.next().map(|line| line.split_whitespace().collect()),
            Some(vec!["NAME", "READY", "SECRET", "AGE"]),
            "{name}"
        );
        assert!(
            lines.next().is_some_and(|row| row.starts_with("web ") && row.contains("web-tls")),
            "{table}"
        );
    }
    let wide = cluster.kubectl(&["get", "cert", "-o", "wide"]).ok();
    assert!(wide.contains("ISSUER") && wide.contains("root"), "{wide}");
    assert_eq!(
        cluster.field("cert/web", "{.spec.issuerRef.kind}/{.spec.replicas}/{.spec.template.any.thing[0]}"),
        "Issuer/1/1"
    );

    // Every verb.
    cluster.kubectl(&["label", "cert/web", "a=b"]).ok();
    cluster.kubectl(&["patch", "cert/web", "--type=merge", "-p", r#"{"spec":{"duration":"1h"}}"#]).ok();
    cluster
        .kubectl(&[
            "patch",
            "cert/web",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/spec/port","value":"https"}]"#,
        ])
        .ok();
    assert_eq!(
        cluster.field("cert/web", "{.spec.duration} {.spec.port} {.metadata.generation}"),
        "1h https 3"
    );
    let error = cluster.kubectl(&["patch", "cert/web", "--type=strategic", "-p", "{}"]).err();
    assert!(
        error.contains("415") || error.contains("UnsupportedMediaType") || error.contains("not supported"),
        "{error}"
    );
    cluster.kubectl(&["scale", "cert/web", "--replicas=4"]).ok();
    assert_eq!(cluster.field("cert/web", "{.spec.replicas}"), "4");
    let status = r#"{"spec":{"duration":"2h"},"status":{"replicas":4,"conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster.kubectl(&["patch", "cert/web", "--subresource=status", "--type=merge", "-p", status]).ok();
    assert_eq!(
        cluster.field("cert/web", "{.spec.duration} {.status.replicas} {.metadata.generation}"),
        "1h 4 4"
    );
    cluster.kubectl(&["wait", "cert/web", "--for=condition=Ready", "--timeout=20s"]).ok();
    let selected =
        cluster.kubectl(&["get", "cert", "--field-selector=spec.secretName=web-tls", "-o", "name"]).ok();
    assert_eq!(selected.trim(), "certificate.trust.example.com/web");
    assert_eq!(
        cluster.kubectl(&["get", "cert", "--field-selector=spec.secretName=x", "-o", "name"]).ok(),
        ""
    );
    let explained = cluster.kubectl(&["explain", "cert.spec.secretName"]).ok();
    assert!(explained.contains("The Secret that the certificate is put into."), "{explained}");
    let described = cluster.kubectl(&["describe", "cert", "web"]).ok();
    assert!(described.contains("Secret Name:  web-tls"), "{described}");
    let deleted = cluster.kubectl(&["delete", "cert", "--all", "--timeout=30s"]).ok();
    assert!(deleted.contains("deleted"), "{deleted}");
}

#[test]
fn objects_that_the_schema_does_not_allow_are_refused_with_the_reason() {
    let cluster = Cluster::start();
    declare(&cluster);
    for (change, words) in [
        ("secretName: web-tls", "spec.secretName: Required value"),
        ("name: root", "spec.issuerRef.name: Required value"),
        ("a.example.com", "spec.dnsNames[0] in body should match '^[a-z0-9.*-]+$'"),
    ] {
        let with = if change == "a.example.com" { "A_B" } else { "" };
        let manifest = CERTIFICATE.replace(&format!("{change}, "), with).replace(change, with);
        let error = cluster.kubectl_with(&["create", "-f", "-"], &manifest).err();
        assert!(error.contains(words), "{error}");
    }
    for (field, words) in [
        ("replicas: 11", "Invalid value: 11: spec.replicas in body should be less than or equal to 10"),
        ("replicas: many", r#"spec.replicas in body must be of type integer: "string""#),
        (
            "usages: [other]",
            r#"spec.usages[0]: Unsupported value: "other": supported values: "server auth", "client auth""#,
        ),
        ("strange: 1", r#"unknown field "spec.strange""#),
    ] {
        let manifest = CERTIFICATE.replace("spec: {", &format!("spec: {{{field}, "));
        let error = cluster.kubectl_with(&["create", "-f", "-"], &manifest).err();
        assert!(error.contains(words), "{error}");
    }
    let manifest = CERTIFICATE.replace("spec: {", "spec: {strange: 1, ");
    let outcome = cluster.kubectl_with(&["create", "--validate=warn", "-f", "-"], &manifest);
    assert!(outcome.stderr.contains(r#"unknown field "spec.strange""#), "{}", outcome.stderr);
    assert_eq!(cluster.field("cert/web", "{.spec.strange}"), "", "what the schema does not know is not kept");
    let broken = CERTIFICATES.replace("certificates.trust.example.com}", "other.trust.example.com}");
    let error = cluster.kubectl_with(&["create", "-f", "-"], &broken).err();
    assert!(error.contains(r#"metadata.name: Invalid value: "other.trust.example.com": must be spec.names.plural+"."+spec.group"#), "{error}");
}

#[test]
fn rules_of_a_definition_are_kept_with_their_own_words() {
    let cluster = Cluster::start();
    let rules = "x-kubernetes-validations: [{rule: 'self.replicas % 2 == 1', message: replicas must be odd}, \
                 {rule: 'self.secretName == oldSelf.secretName', message: the secret stays, fieldPath: .secretName}]";
    let ruled = CERTIFICATES.replacen(
        "            required: [secretName, issuerRef]",
        &format!("            {rules}\n            required: [secretName, issuerRef]"),
        1,
    );
    cluster.apply(&ruled);
    let crd = "crd/certificates.trust.example.com";
    cluster.kubectl(&["wait", crd, "--for=condition=Established", "--timeout=30s"]).ok();
    cluster.apply(CERTIFICATE);
    let error = cluster.kubectl(&["scale", "cert/web", "--replicas=4"]).err();
    assert!(error.contains(r#"spec: Invalid value: "object": replicas must be odd"#), "{error}");
    cluster.kubectl(&["scale", "cert/web", "--replicas=3"]).ok();
    let patch = r#"{"spec":{"secretName":"other"}}"#;
    let error = cluster.kubectl(&["patch", "cert/web", "--type=merge", "-p", patch]).err();
    assert!(error.contains(r#"spec.secretName: Invalid value: "object": the secret stays"#), "{error}");
    let error = cluster.kubectl_with(&["apply", "-f", "-"], &ruled.replace("% 2 == 1", "% 2 ==")).err();
    assert!(error.contains("compilation failed"), "{error}");
}

#[test]
fn server_side_apply_merges_lists_of_custom_objects_by_their_keys() {
    let cluster = Cluster::start();
    declare(&cluster);
    let apply = |manager: &str, manifest: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let args = [&["apply", "--server-side", &manager, "-f", "-"], more].concat();
        cluster.kubectl_with(&args, manifest)
    };
    apply("one", CERTIFICATE, &[]).ok();
    apply("two", &CERTIFICATE.replace("[a.example.com]", "[b.example.com]"), &[]).ok();
    assert_eq!(cluster.field("cert/web", "{.spec.dnsNames}"), r#"["a.example.com","b.example.com"]"#);
    let error = apply("two", &CERTIFICATE.replace("web-tls", "other"), &[]).err();
    assert!(error.contains("conflict with \"one\": .spec.secretName"), "{error}");
    for (manager, condition) in [("one", "Ready"), ("two", "Issued")] {
        let status = format!(
            "apiVersion: trust.example.com/v1\nkind: Certificate\nmetadata: {{name: web}}\n\
             status: {{conditions: [{{type: {condition}, status: 'True'}}]}}\n"
        );
        apply(manager, &status, &["--subresource=status"]).ok();
    }
    assert_eq!(cluster.field("cert/web", "{.status.conditions[*].type}"), "Ready Issued");
    apply("one", &CERTIFICATE.replace("dnsNames: [a.example.com], ", ""), &[]).ok();
    assert_eq!(cluster.field("cert/web", "{.spec.dnsNames}"), r#"["b.example.com"]"#);
}

#[test]
fn a_chart_brings_its_own_kind() {
    let cluster = Cluster::start();
    let chart = format!("{}/charts/trust", env!("CARGO_MANIFEST_DIR"));
    helm(&cluster, &["install", "mine", &chart, "--wait", "--timeout=60s"]).ok();
    assert_eq!(cluster.field("cert/mine", "{.spec.secretName}"), "web-tls");
    helm(&cluster, &["upgrade", "mine", &chart, "--set=secretName=other"]).ok();
    assert_eq!(cluster.field("cert/mine", "{.spec.secretName}"), "other");
    helm(&cluster, &["uninstall", "mine", "--wait", "--timeout=60s"]).ok();
    assert_eq!(cluster.kubectl(&["get", "cert", "-o", "name"]).ok(), "", "the kind stays, its object goes");
}

#[test]
fn a_definition_takes_its_objects_with_it_and_waits_for_their_finalizers() {
    let cluster = Cluster::start();
    declare(&cluster);
    let held = CERTIFICATE.replace("{name: web}", "{name: held, finalizers: [example.com/held]}");
    cluster.apply(&format!("{CERTIFICATE}---\n{held}"));
    let crd = "crd/certificates.trust.example.com";
    cluster.kubectl(&["delete", crd, "--wait=false"]).ok();
    eventually("only the held object is left", || {
        let left = cluster.kubectl(&["get", "cert", "-o", "name"]).ok();
        if left.trim() == "certificate.trust.example.com/held" { Ok(()) } else { Err(left) }
    });
    assert_eq!(cluster.field(crd, r#"{.status.conditions[?(@.type=="Terminating")].status}"#), "True");
    let error = cluster.kubectl_with(&["create", "-f", "-"], CERTIFICATE).err();
    assert!(error.contains("create not allowed while custom resource definition is terminating"), "{error}");
    cluster
        .kubectl(&["patch", "cert/held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])
        .ok();
    cluster.kubectl(&["wait", crd, "--for=delete", "--timeout=30s"]).ok();
    // kubectl may remember the kind; the server does not.
    let error = cluster.kubectl(&["get", "--raw", "/apis/trust.example.com/v1/certificates"]).err();
    assert!(error.contains("the server could not find the requested resource"), "{error}");
    // The same name again is a kind without the old one's objects.
    declare(&cluster);
    assert_eq!(cluster.kubectl(&["get", "cert", "-o", "name"]).ok(), "");
}

#[test]
fn custom_objects_go_with_their_owners_and_namespaces_and_survive_a_kill() {
    let mut cluster = Cluster::start();
    declare(&cluster);
    cluster.apply(CERTIFICATE);
    let uid = cluster.field("cert/web", "{.metadata.uid}");
    let owned = |name: &str, uid: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, ownerReferences: [{{apiVersion: \
             trust.example.com/v1, kind: Certificate, name: web, uid: {uid}}}]}}\n"
        )
    };
    cluster.apply(&owned("owned", &uid));
    cluster.kubectl(&["create", "namespace", "going"]).ok();
    cluster.kubectl_with(&["apply", "-n", "going", "-f", "-"], CERTIFICATE).ok();
    cluster.kill_and_restart();
    assert_eq!(cluster.field("cert/web", "{.metadata.uid}"), uid);
    cluster.kubectl(&["get", "configmap", "owned"]).ok();
    cluster.kubectl(&["delete", "namespace", "going", "--timeout=60s"]).ok();
    let left = cluster.kubectl(&["get", "cert", "-A", "-o", "name"]).ok();
    assert_eq!(left.lines().count(), 1, "{left}");
    cluster.kubectl(&["delete", "cert", "web"]).ok();
    cluster.kubectl(&["wait", "configmap/owned", "--for=delete", "--timeout=60s"]).ok();
}

#[test]
fn two_definitions_do_not_share_a_name() {
    let cluster = Cluster::start();
    declare(&cluster);
    let other =
        CERTIFICATES.replace("certificates", "papers").replace("singular: certificate,", "singular: paper,");
    cluster.apply(&other);
    let accepted = r#"{.status.conditions[?(@.type=="NamesAccepted")].reason}"#;
    cluster.await_field("crd/papers.trust.example.com", accepted, "ShortNamesConflict");
    cluster.kubectl(&["delete", "crd", "certificates.trust.example.com"]).ok();
    cluster
        .kubectl(&["wait", "crd/papers.trust.example.com", "--for=condition=Established", "--timeout=30s"])
        .ok();
}

#[test]
fn versions_of_a_kind_show_the_same_objects() {
    let cluster = Cluster::start();
    let version = |name: &str, more: &str| {
        format!(
            "{{name: {name}, served: true, {more}, schema: {{openAPIV3Schema: {{type: object, properties: {{spec: \
             {{type: object, properties: {{a: {{type: string}}, {name}: {{type: string, default: here}}}}}}}}}}}}}}"
        )
    };
    let (old, new) = (version("v1beta1", "storage: false, deprecated: true"), version("v1", "storage: true"));
    cluster.apply(&format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.example.com}}\n\
         spec: {{group: example.com, scope: Cluster, names: {{plural: things, kind: Thing}}, versions: [{old}, {new}]}}\n"
    ));
    cluster.kubectl(&["wait", "crd/things.example.com", "--for=condition=Established", "--timeout=30s"]).ok();
    let thing = "apiVersion: example.com/v1beta1\nkind: Thing\nmetadata: {name: a}\nspec: {a: x}\n";
    let outcome = cluster.kubectl_with(&["apply", "-f", "-"], thing);
    assert!(outcome.stderr.contains("example.com/v1beta1 Thing is deprecated"), "{}", outcome.stderr);
    let shown = |version: &str| {
        let resource = format!("things.{version}.example.com/a");
        cluster.field(&resource, "{.apiVersion} {.spec.a} {.spec.v1beta1} {.spec.v1}")
    };
    assert_eq!(shown("v1beta1"), "example.com/v1beta1 x here ");
    assert_eq!(shown("v1"), "example.com/v1 x  here");
    assert_eq!(
        cluster.kubectl(&["get", "things", "-o", "jsonpath={.apiVersion}{.items[0].apiVersion}"]).ok(),
        "v1example.com/v1"
    );
}

#[test]
fn all_members_serve_a_kind_that_one_was_told_of() {
    let plane = ControlPlane::start(3);
    plane.servers[0].kubectl_with(&["apply", "-f", "-"], CERTIFICATES).ok();
    let crd = "crd/certificates.trust.example.com";
    plane.servers[1].kubectl(&["wait", crd, "--for=condition=Established", "--timeout=60s"]).ok();
    let mut watch = plane.servers[2]
        .kubectl_command()
        .args(["get", "cert", "--watch", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    for (server, name) in plane.servers.iter().zip(["one", "two", "three"]) {
        let manifest = CERTIFICATE.replace("{name: web}", &format!("{{name: {name}}}"));
        server.kubectl_with(&["create", "-f", "-"], &manifest).ok();
    }
    let stdout = watch.stdout.take().expect("standard output is piped");
    let seen: Vec<String> =
        BufReader::new(stdout).lines().take(3).map(|line| line.expect("a line")).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    watch.kill().and_then(|()| watch.wait()).expect("kubectl can be ended");
    for server in &plane.servers {
        let list = server.kubectl(&["get", "cert", "-o", "name"]).ok();
        assert_eq!(list.lines().count(), 3, "at {}: {list}", server.name());
    }
}
