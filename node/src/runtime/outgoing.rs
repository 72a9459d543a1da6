//! Outgoing HTTP requests of a guest: handed to the proxy with the pod's identity. Where they go, and whether they
//! leave the process at all, is decided there.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::guest::Grants;
use crate::local::{Body, BoxError, OutboundError};

/// What a guest may have written of a body without the receiver having taken it: this times the next.
const BODY_CHUNKS: usize = 4;
/// A single write's bytes at most.
const BODY_CHUNK_BYTES: usize = 64 * 1024;
/// Waited for a response when the guest sets no timeout of its own.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(600);

/// The answering end of an exchange; nothing is left to do once the response is here.
type Exchange = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// One instance's way out.
pub(super) struct Outgoing {
    grants: Arc<Grants>,
}

impl Outgoing {
    pub(super) fn new(grants: Arc<Grants>) -> Self {
        Self { grants }
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Exchange,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Exchange), Error>> + Send> {
        let request = request.map(|body| body.map_err(|error| Box::new(error) as BoxError).boxed_unsync());
        // What is asked may be a guest of this process, and one guest cannot run inside the turn of another.
        let sent = AbortOnDropHandle::new(tokio::spawn(self.grants.outbound.send(&self.grants.pod, request)));
        let options = options.unwrap_or_default();
        // The two waits are one here: connecting, and the first byte.
        let timeout = match (options.connect_timeout, options.first_byte_timeout) {
            (Some(connect), Some(first)) => connect.saturating_add(first),
            (_, first) => first.unwrap_or(RESPONSE_TIMEOUT),
        };
        Box::new(async move {
            let response = tokio::time::timeout(timeout, sent)
                .await
                .map_err(|_| Error::ConnectionReadTimeout)?
                .map_err(|_| Error::ConnectionTerminated)?
                .map_err(|error| error_code(&error))?;
            let response = response.map(|body| apart(body).map_err(body_error).boxed_unsync());
            Ok((response, Box::new(std::future::ready(Ok(()))) as Exchange))
        })
    }

    // Names without a scheme are those of the cluster, where plain HTTP is spoken.
    fn default_scheme(&mut self) -> Option<Scheme> {
        Some(Scheme::HTTP)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

/// The body as it can be read in the turn of a guest. One whose length is known is not written by a guest that still
/// runs; any other gets a task that runs its guest, one frame ahead of the reader.
fn apart(mut body: Body) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    let (sender, receiver) = mpsc::channel(1);
    let pump = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    }));
    let frames = futures::stream::unfold((receiver, pump), |(mut receiver, pump)| async move {
        let frame = receiver.recv().await?;
        Some((frame, (receiver, pump)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// As the guest is told of it.
fn error_code(error: &OutboundError) -> Error {
    match error {
        OutboundError::BadRequest(_) => Error::HttpRequestUriInvalid,
        OutboundError::UnknownName { .. } => {
            Error::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None }
        }
        OutboundError::Denied { .. } => Error::HttpRequestDenied,
        OutboundError::Connect { .. } => Error::ConnectionRefused,
        OutboundError::NoResponse { .. } => Error::ConnectionTerminated,
        OutboundError::Timeout { .. } => Error::ConnectionTimeout,
    }
}

fn body_error(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::InternalError(Some(error.to_string())),
    }
}
