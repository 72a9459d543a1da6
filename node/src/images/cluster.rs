//! The cluster's own registry, behind the API server's `/v2/`, with the node's own identity.

use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use oci_client::Reference;

use super::pull::{MANIFEST_BYTES, MANIFEST_TYPES, RegistryError};

pub(super) struct ClusterRegistry {
    client: kube::Client,
}

impl ClusterRegistry {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    pub(super) async fn manifest(&self, image: &Reference) -> Result<Bytes, RegistryError> {
        let name = image.digest().or(image.tag()).unwrap_or("latest");
        let path = format!("/v2/{}/manifests/{name}", image.repository());
        let response = self.get(&path, &MANIFEST_TYPES.join(", ")).await?;
        let body = Limited::new(response.into_body(), MANIFEST_BYTES);
        Ok(body.collect().await.map_err(RegistryError::Other)?.to_bytes())
    }

    pub(super) async fn blob(
        &self,
        image: &Reference,
        digest: &str,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, RegistryError> {
        let path = format!("/v2/{}/blobs/{digest}", image.repository());
        let response = self.get(&path, "*/*").await?;
        Ok(response.into_body().into_data_stream().map_err(io::Error::other).boxed())
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Response<Body>, RegistryError> {
        let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty());
        let request = request.map_err(|error| RegistryError::Other(error.into()))?;
        let response = self.client.send(request).await.map_err(|error| RegistryError::Other(error.into()))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Denied),
            status => Err(RegistryError::Other(format!("the cluster's registry answered {status}").into())),
        }
    }
}
