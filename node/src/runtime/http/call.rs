//! One request handed to an instance, whichever version of `wasi:http` its component speaks.

use std::future::poll_fn;
use std::pin::Pin;

use http::{Request, Response, Uri, header, uri};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _, p3};

use super::IncomingError;
use crate::local::Body;
use crate::runtime::guest::Guest;

/// Where a response arrives.
pub(super) type ResponseSender = oneshot::Sender<Result<Response<WasiBody>, ErrorCode>>;

/// A component that answers requests, linked to everything but an instance.
#[derive(Clone)]
pub(in crate::runtime) enum Linked {
    /// It exports `wasi:http/incoming-handler@0.2`.
    P2(ProxyPre<Guest>),
    /// It exports `wasi:http/handler@0.3`.
    P3(ServicePre<Guest>),
}

/// An instance of one.
pub(super) enum Instance {
    P2(Proxy),
    P3(Service),
}

impl Linked {
    pub(super) async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
        Ok(match self {
            Self::P2(linked) => Instance::P2(linked.instantiate_async(store).await?),
            Self::P3(linked) => Instance::P3(linked.instantiate_async(store).await?),
        })
    }

    /// Has a fresh instance answer one request, and do what it still wants to do afterwards.
    pub(super) async fn answer_once(
        &self,
        store: &mut Store<Guest>,
        request: Request<Body>,
        sender: ResponseSender,
    ) -> wasmtime::Result<()> {
        let instance = self.instantiate(store).await?;
        let Instance::P2(proxy) = &instance else {
            let work = store.run_concurrent(async |guests| {
                instance.answer(guests, request, sender).await?;
                poll_fn(|cx| guests.poll_no_interesting_tasks(cx)).await;
                Ok(())
            });
            return work.await?;
        };
        // Alone in its store: the short way, without the event loop.
        let scheme = scheme(&request);
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(scheme, request.map(incoming))?;
        let out = http.new_response_outparam(sender)?;
        proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
    }
}

impl Instance {
    /// Has the instance answer a request beside others. With 0.2 it is done with it on return; with 0.3 it may
    /// still be writing the body.
    pub(super) async fn answer(
        &self,
        guests: &Accessor<Guest>,
        request: Request<Body>,
        sender: ResponseSender,
    ) -> wasmtime::Result<()> {
        match self {
            Self::P2(proxy) => {
                let scheme = scheme(&request);
                let (request, out) = guests.with(|mut guest| {
                    let mut http = guest.get().http();
                    let request = http.new_incoming_request(scheme, request.map(incoming))?;
                    wasmtime::error::Ok((request, http.new_response_outparam(sender)?))
                })?;
                let handle = proxy.wasi_http_incoming_handler().func_handle();
                handle.call_concurrent(guests, (request, out)).await
            }
            Self::P3(service) => {
                let request = with_whole_uri(request).map(incoming);
                let (request, sent) = guests.with(|mut guest| {
                    let (request, sent) = p3::Request::from_http(guest.get().http().hooks, request);
                    (request, Box::pin(sent) as Pin<Box<dyn Future<Output = _> + Send>>)
                });
                let response = match service.handle(guests, request).await? {
                    Ok(response) => Ok(guests.with(|guest| response.into_http(guest, sent))?),
                    Err(code) => Err(ErrorCode::InternalError(Some(format!("{code:?}")))),
                };
                // Whoever asked may have gone.
                let _ = sender.send(response);
                Ok(())
            }
        }
    }
}

fn scheme(request: &Request<Body>) -> Scheme {
    match request.uri().scheme() {
        Some(scheme) if *scheme == uri::Scheme::HTTPS => Scheme::Https,
        _ => Scheme::Http,
    }
}

fn incoming(body: Body) -> WasiBody {
    body.map_err(|error| IncomingError(error).into()).boxed_unsync()
}

/// With 0.3 a guest learns authority and scheme from the target alone, which over HTTP/1.1 is only a path.
fn with_whole_uri(mut request: Request<Body>) -> Request<Body> {
    if request.uri().authority().is_none()
        && let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok())
    {
        let path = request.uri().path_and_query().map_or("/", uri::PathAndQuery::as_str);
        // It is a host: requests with another one were answered before.
        if let Ok(whole) = Uri::builder().scheme("http").authority(host).path_and_query(path).build() {
            *request.uri_mut() = whole;
        }
    }
    request
}
