//! A gRPC connection, as thin as can be: unary calls over one HTTP/2 connection.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::kv;

/// One connection; clones share it.
#[derive(Clone)]
pub(super) struct Channel {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Channel {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Channel> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // It ends with the last clone of its sender.
        tokio::spawn(connection);
        Ok(Channel { address, sender })
    }

    /// Asks, and returns the message of the answer.
    pub(super) async fn call(&mut self, path: &str, message: Bytes) -> anyhow::Result<Bytes> {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(message))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, mut body) = response.into_parts();
        refused(&head.headers)?;
        let mut frame = BytesMut::new();
        while let Some(part) = body.frame().await {
            match part?.into_data() {
                Ok(data) => frame.extend_from_slice(&data),
                Err(part) => refused(part.trailers_ref().context("neither data nor trailers")?)?,
            }
        }
        kv::unframe(frame.freeze()).context("the answer is no gRPC message")
    }
}

/// The status, which comes with the trailers, or with the headers when there is nothing else.
fn refused(headers: &HeaderMap) -> anyhow::Result<()> {
    match headers.get("grpc-status") {
        Some(status) if status != "0" => {
            let message = headers.get("grpc-message").and_then(|message| message.to_str().ok());
            bail!("gRPC status {}: {}", status.to_str().unwrap_or("?"), message.unwrap_or_default())
        }
        _ => Ok(()),
    }
}
