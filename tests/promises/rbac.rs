//! Who may do what, as people use it: kubectl with roles, in another's name, with tokens.

use isopod_tests::{Cluster, eventually};

use crate::kubectl::assert_has;

/// Runs kubectl as another user, whose groups are those of everybody who is known.
#[track_caller]
fn as_user(cluster: &Cluster, user: &str, args: &[&str]) -> Result<String, String> {
    let outcome = cluster.kubectl(&[&["--as", user], args].concat());
    if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stderr) }
}

#[test]
fn the_default_roles_let_people_view_edit_and_administer_a_namespace() {
    let cluster = Cluster::start();
    cluster.kubectl(&["create", "namespace", "shop"]).ok();
    for (user, role) in [("vera", "view"), ("eda", "edit"), ("ada", "admin")] {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
        cluster.kubectl(&["create", "rolebinding", &user[7..], &role, &user, "-n", "shop"]).ok();
    }
    // `admin`, `edit` and `view` are made of other roles by a controller.
    eventually("the roles are put together", || {
        as_user(&cluster, "ada", &["get", "roles", "-n", "shop"]).and(as_user(
            &cluster,
            "vera",
            &["get", "pods", "-n", "shop"],
        ))
    });
    let refused = as_user(&cluster, "vera", &["get", "pods"]).expect_err("another namespace");
    assert_has(
        &refused,
        &[
            r#"pods is forbidden: User "vera" cannot list resource "pods" in API group "" in the namespace "default""#,
        ],
    );
    for (user, args, allowed) in [
        ("vera", &["get", "secrets"][..], false),
        ("vera", &["create", "configmap", "v"], false),
        ("eda", &["get", "secrets"], true),
        ("eda", &["create", "configmap", "e"], true),
        ("eda", &["create", "role", "e", "--verb=get", "--resource=pods"], false),
        ("eda", &["delete", "configmap", "e"], true),
        ("ada", &["create", "role", "reader", "--verb=get,list", "--resource=pods"], true),
        ("ada", &["create", "rolebinding", "readers", "--role=reader", "--user=ron"], true),
        ("ada", &["create", "role", "nodes", "--verb=get", "--resource=nodes"], false),
        ("ada", &["create", "rolebinding", "root", "--clusterrole=cluster-admin", "--user=ada"], false),
        ("ada", &["get", "nodes"], false),
        ("ron", &["get", "pods"], true),
        ("ron", &["get", "configmaps"], false),
    ] {
        let outcome = as_user(&cluster, user, &[args, &["-n", "shop"]].concat());
        assert_eq!(outcome.is_ok(), allowed, "{user} {args:?}: {outcome:?}");
    }
    let refused =
        as_user(&cluster, "ada", &["create", "clusterrolebinding", "x", "--clusterrole=view", "--user=x"]);
    assert_has(&refused.expect_err("the cluster is not hers"), &["at the cluster scope"]);
}

#[test]
fn kubectl_auth_tells_who_one_is_and_what_one_may() {
    let cluster = Cluster::start();
    let whoami = cluster.kubectl(&["auth", "whoami"]).ok();
    assert_has(&whoami, &["isopod-admin", "system:masters", "system:authenticated"]);
    let whoami = as_user(&cluster, "jane", &["auth", "whoami", "--as-group", "ops"]).expect("answered");
    assert_has(&whoami, &["jane", "ops", "system:authenticated"]);
    assert_eq!(cluster.kubectl(&["auth", "can-i", "delete", "nodes"]).ok().trim(), "yes");
    assert_has(&cluster.kubectl(&["auth", "can-i", "--list"]).ok(), &["*.*", "[*]"]);

    cluster.kubectl(&["create", "clusterrole", "reader", "--verb=get,list", "--resource=pods"]).ok();
    cluster.kubectl(&["create", "rolebinding", "readers", "--clusterrole=reader", "--user=jane"]).ok();
    let can = |args: &[&str]| {
        let outcome = cluster.kubectl(&[&["auth", "can-i", "--as", "jane"], args].concat());
        outcome.stdout.trim().to_owned()
    };
    assert_eq!(can(&["list", "pods"]), "yes");
    assert_eq!(can(&["list", "pods", "-n", "kube-system"]), "no");
    assert_eq!(can(&["get", "pods", "--subresource=log"]), "no");
    assert_has(&can(&["--list"]), &["pods", "[get list]"]);
    assert_has(&cluster.kubectl(&["describe", "clusterrole", "reader"]).ok(), &["pods", "[get list]"]);
    let bindings = cluster.kubectl(&["get", "rolebindings", "-o", "wide"]).ok();
    assert_has(&bindings, &["ROLE", "ClusterRole/reader", "jane"]);
}

/// kubectl of somebody who has a token and nothing else.
#[track_caller]
fn with_token(cluster: &Cluster, token: &str, args: &[&str]) -> Result<String, String> {
    let authority = cluster.data_dir().join("pki/ca.crt");
    let authority = authority.to_str().expect("a plain path");
    let mut command = cluster.kubectl_command();
    command.env("KUBECONFIG", "/dev/null").args(["--server", &cluster.fact("api")]);
    command.args(["--certificate-authority", authority, "--token", token]).args(args);
    let outcome = isopod_tests::run(&mut command, "");
    if outcome.success { Ok(outcome.stdout) } else { Err(outcome.stderr) }
}

#[test]
fn a_service_account_comes_in_with_a_token_until_it_is_deleted() {
    let cluster = Cluster::start();
    cluster.kubectl(&["create", "serviceaccount", "robot"]).ok();
    let token = cluster.kubectl(&["create", "token", "robot", "--duration=10m"]).ok();
    let token = token.trim();
    let whoami = with_token(&cluster, token, &["auth", "whoami"]).expect("answered");
    assert_has(&whoami, &["system:serviceaccount:default:robot", "system:serviceaccounts:default"]);
    let refused = with_token(&cluster, token, &["get", "pods"]).expect_err("no rights yet");
    assert_has(&refused, &[r#"User "system:serviceaccount:default:robot" cannot list resource "pods""#]);
    cluster
        .kubectl(&["create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot"])
        .ok();
    eventually("the robot may look", || with_token(&cluster, token, &["get", "pods"]));
    assert_has(
        &with_token(&cluster, "no.such.token", &["get", "pods"]).expect_err("refused"),
        &["Unauthorized"],
    );

    // Others can check the token by themselves.
    let keys = with_token(&cluster, token, &["get", "--raw", "/openid/v1/jwks"]).expect("answered");
    assert_has(&keys, &["ES256", "P-256"]);

    cluster.kubectl(&["delete", "serviceaccount", "robot"]).ok();
    let refused = with_token(&cluster, token, &["get", "pods"]).expect_err("the account is gone");
    assert_has(&refused, &["Unauthorized"]);
}

#[test]
fn a_pod_finds_its_token_the_authority_and_its_namespace() {
    const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let cluster = Cluster::start();
    cluster.push_guest("unruly");
    cluster.kubectl(&["create", "serviceaccount", "robot"]).ok();
    for (name, automount) in [("open", true), ("closed", false)] {
        cluster.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  serviceAccountName: robot
  automountServiceAccountToken: {automount}
  containers: [{{name: c, image: registry.local/unruly:v1, ports: [{{containerPort: 80}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"
        ));
        cluster.await_ready(name);
        cluster.await_answer(name, "/");
    }
    assert_eq!(cluster.await_answer("open", &format!("/list?{FOLDER}")), "ca.crt namespace token\n");
    assert_eq!(cluster.await_answer("open", &format!("/read?{FOLDER}/namespace")), "default");
    let authority =
        std::fs::read_to_string(cluster.data_dir().join("pki/ca.crt")).expect("the authority's file");
    assert_eq!(cluster.await_answer("open", &format!("/read?{FOLDER}/ca.crt")), authority);
    assert_ne!(cluster.curl("closed", "default", &format!("/list?{FOLDER}")).0, 200);

    let token = cluster.await_answer("open", &format!("/read?{FOLDER}/token"));
    let whoami = with_token(&cluster, token.trim(), &["auth", "whoami"]).expect("answered");
    assert_has(&whoami, &["system:serviceaccount:default:robot", "pod-name", "open"]);
    cluster.kubectl(&["delete", "pod", "open", "--timeout=60s"]).ok();
    let refused = with_token(&cluster, token.trim(), &["get", "pods"]).expect_err("the pod is gone");
    assert_has(&refused, &["Unauthorized"]);
}
