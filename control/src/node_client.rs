//! How a member asks a node's own server for logs and for connections into its pods: mutual TLS, to the address that the node reported.
//!
//! No redirect is followed, and only the Node's InternalIP is connected to: its certificate must be one that the
//! cluster's authority gave out for that address.

use std::net::IpAddr;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Node;

use crate::api::{BoxError, NodeApi, NodeUnreachable, ResponseBody};

/// A client of all nodes' servers; connections are kept and reused.
pub(crate) struct NodeClient {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl NodeClient {
    /// A client that shows the member's certificate and trusts the cluster's authority only.
    pub(crate) fn new(tls: rustls::ClientConfig) -> NodeClient {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        NodeClient { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl NodeApi for NodeClient {
    fn get<'a>(
        &'a self,
        node: &'a Node,
        path_and_query: &'a str,
        headers: HeaderMap,
    ) -> BoxFuture<'a, Result<Response<ResponseBody>, NodeUnreachable>> {
        self.ask(Method::GET, node, path_and_query, headers).boxed()
    }

    fn delete<'a>(
        &'a self,
        node: &'a Node,
        path: &'a str,
    ) -> BoxFuture<'a, Result<StatusCode, NodeUnreachable>> {
        let answer = self.ask(Method::DELETE, node, path, HeaderMap::new());
        async move { answer.await.map(|answer| answer.status()) }.boxed()
    }
}

impl NodeClient {
    async fn ask(
        &self,
        method: Method,
        node: &Node,
        path_and_query: &str,
        headers: HeaderMap,
    ) -> Result<Response<ResponseBody>, NodeUnreachable> {
        let name = || node.metadata.name.clone().unwrap_or_default();
        let unreachable = |source: BoxError| NodeUnreachable { node: name(), source };
        let (ip, port) =
            address(node).ok_or_else(|| unreachable("it has not reported an address and port".into()))?;
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        let request = Request::builder().method(method).uri(format!("https://{host}:{port}{path_and_query}"));
        let mut request = request.body(Empty::new()).map_err(|error| unreachable(error.into()))?;
        *request.headers_mut() = headers;
        let response = self.client.request(request).await.map_err(|error| unreachable(error.into()))?;
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

/// The node's InternalIP and the port of its server.
fn address(node: &Node) -> Option<(IpAddr, u16)> {
    let status = node.status.as_ref()?;
    let port = status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?.port;
    let internal = status.addresses.as_ref()?.iter().find(|address| address.type_ == "InternalIP")?;
    Some((internal.address.parse().ok()?, u16::try_from(port).ok()?))
}
