//! ServiceAccount tokens through the API: made, used, bound, ended.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::harness::{Answer, Member, read};
use crate::security::Identity;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

async fn account(member: &Member) {
    member.created(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).await;
}

async fn token(member: &Member, spec: Value) -> String {
    let made = member.created(&format!("{ACCOUNTS}/robot/token"), &json!({ "spec": spec })).await;
    made["status"]["token"].as_str().expect("a token").to_owned()
}

/// A request of somebody without certificate, with a token.
async fn with_token(member: &Member, token: &str, path: &str) -> Answer {
    let request = Request::builder().uri(path).header("authorization", format!("Bearer {token}"));
    let request = request.body(Full::default()).expect("a request");
    read(member.request_as(Identity::anonymous(), request).await).await
}

async fn review(member: &Member, token: &str, audiences: &[&str]) -> Value {
    member.created(REVIEWS, &json!({"spec": {"token": token, "audiences": audiences}})).await["status"]
        .clone()
}

#[tokio::test]
async fn a_token_is_its_account() {
    let member = Member::start().await;
    account(&member).await;
    let token = token(&member, json!({})).await;
    let denied = with_token(&member, &token, "/api/v1/namespaces/default/pods").await;
    assert!(
        denied.status().contains("User \"system:serviceaccount:default:robot\" cannot list"),
        "{}",
        denied.status()
    );
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rule = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
    member.created(&format!("{rbac}/roles"), &json!({"metadata": {"name": "r"}, "rules": [rule]})).await;
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "robot"}]});
    member.created(&format!("{rbac}/rolebindings"), &binding).await;
    assert_eq!(with_token(&member, &token, "/api/v1/namespaces/default/pods").await.code, 200);

    let told = review(&member, &token, &[]).await;
    assert_eq!(told["authenticated"], true);
    assert_eq!(told["user"]["username"], "system:serviceaccount:default:robot");
    for garbage in ["x", "a.b.c"] {
        assert_eq!(with_token(&member, garbage, "/version").await.status(), "401 Unauthorized: Unauthorized");
        assert_eq!(review(&member, garbage, &[]).await["authenticated"], Value::Null);
    }
    // Another account of the same name is another.
    assert_eq!(member.delete(&format!("{ACCOUNTS}/robot"), None).await.code, 200);
    assert_eq!(with_token(&member, &token, "/version").await.code, 401);
    account(&member).await;
    assert_eq!(with_token(&member, &token, "/version").await.code, 401);
}

#[tokio::test]
async fn a_token_for_others_opens_nothing_here() {
    let member = Member::start().await;
    account(&member).await;
    let token = token(&member, json!({"audiences": ["vault", "bank"], "expirationSeconds": 600})).await;
    assert_eq!(with_token(&member, &token, "/version").await.code, 401);
    assert_eq!(review(&member, &token, &[]).await["authenticated"], Value::Null);
    assert_eq!(review(&member, &token, &["bank", "shop"]).await["audiences"], json!(["bank"]));
}

#[tokio::test]
async fn requests_for_tokens_are_checked() {
    let member = Member::start().await;
    account(&member).await;
    let path = format!("{ACCOUNTS}/robot/token");
    for (spec, code) in [
        (json!({"expirationSeconds": 599}), 422),
        (json!({"expirationSeconds": 1_i64 << 33}), 422),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "absent"}}), 404),
        (json!({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}}), 400),
        (json!({"expirationSeconds": 600}), 201),
    ] {
        let answer = member.post(&path, &json!({ "spec": spec })).await;
        assert_eq!(answer.code, code, "{spec}: {}", answer.text());
    }
    assert_eq!(member.post(&format!("{ACCOUNTS}/absent/token"), &json!({})).await.code, 404);
    assert_eq!(member.get(&path).await.code, 405);
}

#[tokio::test]
async fn a_token_of_a_pod_ends_with_it_and_is_for_its_node_only() {
    let member = Member::start().await;
    account(&member).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |node: &str| json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "robot", "nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
    member.created("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    let made = member.created(pods, &pod("n1")).await;
    let uid = made["metadata"]["uid"].as_str().expect("a uid");
    let to = |name: &str, uid: &str| json!({"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid});
    let token = token(&member, json!({"boundObjectRef": to("p", uid), "expirationSeconds": 3607})).await;
    let extra = &review(&member, &token, &[]).await["user"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["n1"]));
    let path = format!("{ACCOUNTS}/robot/token");
    let forged = json!({"spec": {"boundObjectRef": to("p", "other")}});
    assert_eq!(member.post(&path, &forged).await.code, 409);

    let ask = async |node: &str, spec: Value| {
        let identity = Identity::named(&format!("system:node:{node}"), &["system:nodes"]);
        let request =
            Request::builder().method(Method::POST).uri(&path).header("content-type", "application/json");
        let request = request.body(Full::new(json!({ "spec": spec }).to_string().into())).expect("a request");
        read(member.request_as(identity, request).await).await.code
    };
    assert_eq!(ask("n1", json!({"boundObjectRef": to("p", uid)})).await, 201);
    assert_eq!(ask("n1", json!({})).await, 403);
    assert_eq!(ask("n2", json!({"boundObjectRef": to("p", uid)})).await, 403);

    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(member.delete(&format!("{pods}/p"), Some(now)).await.code, 200);
    assert_eq!(with_token(&member, &token, "/version").await.code, 401);
    member.created(pods, &pod("n1")).await;
    assert_eq!(with_token(&member, &token, "/version").await.code, 401, "another pod of the name");
}

#[tokio::test]
async fn others_learn_how_to_check_tokens() {
    let member = Member::start().await;
    let configuration = member.get("/.well-known/openid-configuration").await.json();
    assert_eq!(configuration["jwks_uri"], "https://127.0.0.1:6443/openid/v1/jwks");
    let keys = member.get("/openid/v1/jwks").await;
    assert_eq!(keys.header("content-type"), "application/jwk-set+json");
    assert_eq!(keys.json()["keys"][0]["alg"], "ES256");
    assert_eq!(member.get_by(Identity::anonymous(), "/openid/v1/jwks").await.code, 403);
}
