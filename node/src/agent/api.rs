//! The few writes that the agent makes for a pod, each one request.

use http::{Request, header};
use serde::Deserialize;
use serde_json::json;

/// Who the API records as the writer of these fields.
const FIELD_MANAGER: &str = "isopod-node";

/// Which object, so that a write never lands on another that took its name.
#[derive(Clone, Debug)]
pub(super) struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The pod is gone, or another has its name.
    #[error("the pod is gone")]
    Gone,
    /// To be tried again.
    #[error("the API did not take the write")]
    Failed(#[source] kube::Error),
}

#[derive(Deserialize)]
struct Written {
    metadata: WrittenMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    resource_version: String,
}

/// Applies a strategic merge patch to the status. Returns the resource version that it has then.
pub(super) async fn patch_status(
    client: &kube::Client,
    pod: &PodName,
    patch: Vec<u8>,
) -> Result<String, WriteError> {
    let path =
        format!("/api/v1/namespaces/{}/pods/{}/status?fieldManager={FIELD_MANAGER}", pod.namespace, pod.name);
    let request = Request::patch(path)
        .header(header::CONTENT_TYPE, "application/strategic-merge-patch+json")
        .header(header::ACCEPT, "application/json")
        .body(patch)
        .map_err(|error| WriteError::Failed(kube::Error::HttpError(error)))?;
    let written: Written = client.request(request).await.map_err(told)?;
    Ok(written.metadata.resource_version)
}

/// Removes the object, once everything it stands for has ended.
pub(super) async fn remove(client: &kube::Client, pod: &PodName) -> Result<(), WriteError> {
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
                         "preconditions": {"uid": pod.uid}});
    let request = Request::delete(format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.name))
        .header(header::CONTENT_TYPE, "application/json")
        .body(options.to_string().into_bytes())
        .map_err(|error| WriteError::Failed(kube::Error::HttpError(error)))?;
    client.request_text(request).await.map(|_| ()).map_err(told)
}

fn told(error: kube::Error) -> WriteError {
    match &error {
        kube::Error::Api(status) if status.code == 404 => WriteError::Gone,
        // The only precondition is the uid.
        kube::Error::Api(status)
            if matches!(status.code, 409 | 422) && status.message.to_lowercase().contains("uid") =>
        {
            WriteError::Gone
        }
        _ => WriteError::Failed(error),
    }
}
