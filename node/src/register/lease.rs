//! The sign of life in `kube-node-lease`.

use http::{Request, StatusCode, header};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};

const NAMESPACE: &str = "kube-node-lease";
/// After this long without a renewal the node counts as lost.
const SECONDS: i32 = 40;

/// The annotation that names the node's connection: who sees that end replaces it by a word that says so.
const CONNECTION: &str = "isopod.dev/connection";

/// Renews the Lease, or creates it.
pub(super) async fn renew(
    client: &kube::Client,
    node: &str,
    uid: &str,
    connection: Option<&str>,
) -> Result<(), kube::Error> {
    let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    // None removes the annotation, and with it what was said about an older connection.
    let metadata = json!({"annotations": {CONNECTION: connection}});
    let renewal = json!({"metadata": metadata, "spec": spec(node, Timestamp::now())});
    let request = Request::patch(format!("{collection}/{node}"))
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(Body::from(renewal.to_string().into_bytes()))
        .map_err(kube::Error::HttpError)?;
    let answer = client.send(request).await?;
    if answer.status() != StatusCode::NOT_FOUND {
        return if answer.status().is_success() { Ok(()) } else { Err(refused(answer.status())) };
    }
    let request = Request::post(collection)
        .header(header::CONTENT_TYPE, "application/json")
        .body(lease(node, uid, connection, Timestamp::now()).to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(|_| ())
}

fn refused(status: StatusCode) -> kube::Error {
    kube::Error::Service(format!("the API answered {status}").into())
}

fn spec(node: &str, now: Timestamp) -> Value {
    json!({"holderIdentity": node, "leaseDurationSeconds": SECONDS, "renewTime": format!("{now:.6}")})
}

/// Owned by its Node, so that it goes with it.
fn lease(node: &str, uid: &str, connection: Option<&str>, now: Timestamp) -> Value {
    let annotations: serde_json::Map<String, Value> =
        connection.into_iter().map(|number| (CONNECTION.to_owned(), json!(number))).collect();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": node,
            "namespace": NAMESPACE,
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
        },
        "spec": spec(node, now),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::Lease;

    use super::*;

    #[test]
    fn a_lease_is_one_that_the_api_knows() {
        let now: Timestamp = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
        let lease: Lease = serde_json::from_value(lease("n", "u", Some("7"), now)).unwrap();
        let spec = lease.spec.unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("n"), Some(40)));
        assert_eq!(spec.renew_time.unwrap().0, "2026-01-01T00:00:00.123456Z".parse().unwrap());
    }
}
