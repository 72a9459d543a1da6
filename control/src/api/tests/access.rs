//! Who may do what, through the API: roles, handing on rights, another's name, and questions about it all.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::harness::{Answer, Member, read};
use crate::security::Identity;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Not `*`, which would hold `bind` and `escalate` too.
const WRITE: [&str; 3] = ["create", "patch", "update"];

fn jane() -> Identity {
    Identity::named("jane", &["staff", "system:authenticated"])
}

/// A request with a body, in somebody's name.
async fn send(
    member: &Member,
    who: &Identity,
    method: Method,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Full::new(body.into())).expect("a request");
    read(member.request_as(who.clone(), request).await).await
}

async fn post(member: &Member, who: &Identity, path: &str, body: &Value) -> Answer {
    send(member, who, Method::POST, path, body, &[]).await
}

fn rule(verbs: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [""], "resources": resources})
}

/// jane may write roles and bindings in `default`, and read its config maps.
async fn with_jane() -> Member {
    let member = Member::start().await;
    let own = json!({"verbs": WRITE, "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]});
    let role = json!({"metadata": {"name": "own"}, "rules": [own, rule(&["get", "list"], &["configmaps"])]});
    member.created(&format!("{RBAC}/namespaces/default/roles"), &role).await;
    member
        .created(&format!("{RBAC}/namespaces/default/rolebindings"), &binding("own", "Role", "own", "jane"))
        .await;
    member
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": "User", "name": user}]})
}

#[tokio::test]
async fn a_binding_lets_in_and_its_end_locks_out() {
    let member = with_jane().await;
    member.config_map("a", json!({})).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(member.get_by(jane(), maps).await.code, 200);
    assert_eq!(
        member.get_by(jane(), "/api/v1/namespaces/kube-system/configmaps").await.status(),
        "403 Forbidden: configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"kube-system\""
    );
    assert_eq!(
        member.get_by(jane(), "/api/v1/namespaces/default/configmaps/a").await.json()["data"]["k"],
        "a"
    );
    let denied = send(&member, &jane(), Method::DELETE, &format!("{maps}/a"), &Value::Null, &[]).await;
    assert_eq!(denied.code, 403);
    assert_eq!(member.delete(&format!("{RBAC}/namespaces/default/rolebindings/own"), None).await.code, 200);
    while member.get_by(jane(), maps).await.code == 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_hands_on_rights_that_he_lacks() {
    let member = with_jane().await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let role = |name: &str, verbs: &[&str], resources: &[&str]| json!({"metadata": {"name": name}, "rules": [rule(verbs, resources)]});
    assert_eq!(post(&member, &jane(), &roles, &role("maps", &["get"], &["configmaps"])).await.code, 201);
    let refused = post(&member, &jane(), &roles, &role("more", &["get"], &["secrets"])).await;
    assert_eq!(
        refused.status(),
        "403 Forbidden: roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"staff\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    // Not by changing a role either, whatever the verb.
    let wider = role("maps", &["*"], &["*"]);
    assert_eq!(send(&member, &jane(), Method::PUT, &format!("{roles}/maps"), &wider, &[]).await.code, 403);
    let patch = [("content-type", "application/merge-patch+json")];
    let request =
        Request::builder().method(Method::PATCH).uri(format!("{roles}/maps")).header(patch[0].0, patch[0].1);
    let request = request
        .body(Full::new(json!({"rules": [rule(&["*"], &["*"])]}).to_string().into()))
        .expect("a request");
    assert_eq!(read(member.request_as(jane(), request).await).await.code, 403);
    // PUT creates these kinds: the same rule holds.
    assert_eq!(
        send(&member, &jane(), Method::PUT, &format!("{roles}/new"), &role("new", &["*"], &["*"]), &[])
            .await
            .code,
        403
    );

    // A binding hands on what its role has.
    member.created(&roles, &role("secrets", &["get"], &["secrets"])).await;
    assert_eq!(post(&member, &jane(), &bindings, &binding("a", "Role", "maps", "jim")).await.code, 201);
    assert_eq!(post(&member, &jane(), &bindings, &binding("b", "Role", "secrets", "jane")).await.code, 403);
    assert_eq!(post(&member, &jane(), &bindings, &binding("c", "Role", "absent", "jane")).await.code, 403);
    member.created(&bindings, &binding("secrets", "Role", "secrets", "jim")).await;
    let with_herself = binding("secrets", "Role", "secrets", "jane");
    assert_eq!(
        send(&member, &jane(), Method::PUT, &format!("{bindings}/secrets"), &with_herself, &[]).await.code,
        403
    );

    // `bind` on a role lets her bind that one.
    let bind = json!({"metadata": {"name": "binder"}, "rules": [{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "resourceNames": ["secrets"]}]});
    member.created(&roles, &bind).await;
    member.created(&bindings, &binding("binder", "Role", "binder", "jane")).await;
    assert_eq!(post(&member, &jane(), &bindings, &binding("b", "Role", "secrets", "jane")).await.code, 201);
}

#[tokio::test]
async fn a_label_that_makes_a_role_part_of_another_is_a_grant_too() {
    let member = Member::start().await;
    let roles = format!("{RBAC}/clusterroles");
    let write =
        json!({"verbs": WRITE, "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]});
    member.created(&roles, &json!({"metadata": {"name": "own"}, "rules": [write]})).await;
    member
        .created(&format!("{RBAC}/clusterrolebindings"), &binding("own", "ClusterRole", "own", "jane"))
        .await;
    let strong = member
        .created(&roles, &json!({"metadata": {"name": "strong"}, "rules": [rule(&["*"], &["*"])]}))
        .await;
    let mut labelled = strong.clone();
    labelled["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let path = format!("{roles}/strong");
    assert_eq!(send(&member, &jane(), Method::PUT, &path, &labelled, &[]).await.code, 403);
    assert_eq!(send(&member, &jane(), Method::PUT, &path, &strong, &[]).await.code, 200);
    let aggregating = json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
    assert_eq!(post(&member, &jane(), &roles, &aggregating).await.code, 403);
}

#[tokio::test]
async fn another_name_is_taken_on_only_where_that_is_allowed() {
    let member = with_jane().await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let admin = Identity::control_plane();
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "ops"),
        ("impersonate-extra-scope%2fx", "s"),
        ("impersonate-uid", "7"),
    ];
    let answer = send(&member, &admin, Method::POST, who, &question, &headers).await;
    assert_eq!(
        answer.status(),
        "403 Forbidden: selfsubjectreviews.authentication.k8s.io is forbidden: User \"jane\" cannot create resource \"selfsubjectreviews\" in API group \"authentication.k8s.io\" at the cluster scope"
    );
    let headers = [headers.as_slice(), &[("impersonate-group", "system:masters")]].concat();
    let answer = send(&member, &admin, Method::POST, who, &question, &headers).await;
    assert_eq!(
        answer.json()["status"]["userInfo"],
        json!({"username": "jane", "uid": "7", "groups": ["ops", "system:masters", "system:authenticated"], "extra": {"scope/x": ["s"]}})
    );
    let maps = "/api/v1/namespaces/default/configmaps";
    let as_robot = [("impersonate-user", "system:serviceaccount:default:robot")];
    let refused = send(&member, &jane(), Method::GET, maps, &Value::Null, &as_robot).await;
    assert_eq!(
        refused.status(),
        "403 Forbidden: serviceaccounts \"robot\" is forbidden: User \"jane\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        send(&member, &jane(), Method::GET, maps, &Value::Null, &[("impersonate-group", "system:masters")])
            .await
            .code,
        400
    );
    assert_eq!(
        send(&member, &jane(), Method::GET, "/version", &Value::Null, &[("impersonate-user", "x")])
            .await
            .code,
        403
    );
    let role =
        json!({"metadata": {"name": "robots"}, "rules": [rule(&["impersonate"], &["serviceaccounts"])]});
    member.created(&format!("{RBAC}/namespaces/default/roles"), &role).await;
    member
        .created(
            &format!("{RBAC}/namespaces/default/rolebindings"),
            &binding("robots", "Role", "robots", "jane"),
        )
        .await;
    let robot = send(&member, &jane(), Method::GET, maps, &Value::Null, &as_robot).await;
    assert!(
        robot.status().contains("User \"system:serviceaccount:default:robot\" cannot list"),
        "{}",
        robot.status()
    );
    let group = [as_robot[0], ("impersonate-group", "system:masters")];
    assert_eq!(send(&member, &jane(), Method::GET, maps, &Value::Null, &group).await.code, 403);
}

#[tokio::test]
async fn questions_about_rights_are_answered() {
    let member = with_jane().await;
    let admin = Identity::control_plane();
    let group = "/apis/authorization.k8s.io/v1";
    let ask =
        |verb: &str, resource: &str| json!({"namespace": "default", "verb": verb, "resource": resource});
    for (verb, resource, expected) in [("list", "configmaps", true), ("create", "configmaps", false)] {
        let review = json!({"spec": {"user": "jane", "resourceAttributes": ask(verb, resource)}});
        let answer = post(&member, &admin, &format!("{group}/subjectaccessreviews"), &review).await;
        assert_eq!(
            (answer.code, &answer.json()["status"]["allowed"]),
            (201, &json!(expected)),
            "{verb} {resource}"
        );
        let local = format!("{group}/namespaces/default/localsubjectaccessreviews");
        assert_eq!(post(&member, &admin, &local, &review).await.json()["status"]["allowed"], json!(expected));
        let elsewhere = format!("{group}/namespaces/kube-system/localsubjectaccessreviews");
        assert_eq!(post(&member, &admin, &elsewhere, &review).await.code, 422);
    }
    let nobody = json!({"spec": {"resourceAttributes": ask("get", "pods")}});
    assert_eq!(post(&member, &admin, &format!("{group}/subjectaccessreviews"), &nobody).await.code, 422);
    let own = post(&member, &admin, &format!("{group}/selfsubjectaccessreviews"), &nobody).await;
    assert_eq!(own.json()["status"]["allowed"], true);
    let both = json!({"spec": {"resourceAttributes": {}, "nonResourceAttributes": {}}});
    assert_eq!(post(&member, &admin, &format!("{group}/selfsubjectaccessreviews"), &both).await.code, 422);
    let as_jane = [("impersonate-user", "jane"), ("impersonate-group", "system:masters")];
    let rules = json!({"spec": {"namespace": "default"}});
    let path = format!("{group}/selfsubjectrulesreviews");
    let answer = send(&member, &admin, Method::POST, &path, &rules, &as_jane).await.json();
    assert_eq!(answer["status"]["resourceRules"][1]["resources"], json!(["configmaps"]));
    assert_eq!(member.get(&path).await.code, 405);
}
