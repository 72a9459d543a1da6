//! A container that answers requests: a fresh instance for each, gone with it.
//!
//! The guest runs inside whoever waits for it: first the call, then the response's body. So it makes progress only
//! as fast as its client reads, costs no task, and a client that is gone is noticed by the guest as a closed
//! stream. What a guest still does after its body has been taken is finished in a task of the container.

mod body;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use self::body::{GuestBody, whole};
use super::container::TrapLog;
use super::cpu::Cpu;
use super::engine::Host;
use super::failure::Failure;
use super::guest::{Grants, Guest};
use crate::local::{Body, BoxError, CallError, Caller, HttpHandler, full_body};

/// Requests one container works on at once.
const CONCURRENT: usize = 512;
/// Requests that wait for one of these to end; the next is refused, to be tried elsewhere.
const WAITING: usize = 512;
/// How long they wait.
const WAIT: Duration = Duration::from_secs(2);
/// After the grace period guests are cancelled; one whose client does not read may not even notice.
const CANCEL_WAIT: Duration = Duration::from_secs(1);
/// What a guest may still do once its response has been taken, or nobody wants it any more.
const FINISH_TIME: Duration = Duration::from_secs(30);

/// The instances of one container, of which there are as many as requests.
pub(super) struct HttpContainer {
    host: Arc<Host>,
    component: ProxyPre<Guest>,
    grants: Arc<Grants>,
    cpu: Arc<Cpu>,
    traps: TrapLog,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    guests: TaskTracker,
    cancel: CancellationToken,
}

/// What a request holds as long as its guest lives.
struct Admitted {
    _slot: OwnedSemaphorePermit,
    _instance: OwnedSemaphorePermit,
    _guest: TaskTrackerToken,
}

type ResponseSender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;

impl HttpContainer {
    pub(super) fn new(
        host: Arc<Host>,
        component: ProxyPre<Guest>,
        grants: Arc<Grants>,
        cpu: Arc<Cpu>,
        traps: TrapLog,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            component,
            grants,
            cpu,
            traps,
            slots: Arc::new(Semaphore::new(CONCURRENT)),
            waiting: AtomicUsize::new(0),
            guests: TaskTracker::new(),
            cancel: CancellationToken::new(),
        })
    }

    /// Takes no more requests, lets those under way end, and cancels what is left after `grace`. Says whether
    /// nothing had to be cancelled.
    pub(super) async fn drain(&self, grace: Duration) -> bool {
        self.refuse();
        let drained = tokio::time::timeout(grace, self.guests.wait()).await.is_ok();
        self.cancel.cancel();
        // Whatever it finds: the guests are cancelled, and hold nothing that could not go later.
        let _ = tokio::time::timeout(CANCEL_WAIT, self.guests.wait()).await;
        drained
    }

    /// Ends everything at once.
    pub(super) fn abandon(&self) {
        self.refuse();
        self.cancel.cancel();
    }

    fn refuse(&self) {
        self.slots.close();
        self.guests.close();
    }

    async fn serve(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let Some(admitted) = self.admit().await else {
            return Err(CallError::Refused(Box::new(request)));
        };
        let Some(request) = with_authority(request, &self.grants) else {
            let mut response = Response::new(full_body("the Host header is not a host\n"));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(response);
        };
        let (sender, receiver) = oneshot::channel();
        let guest = match self.clone().guest(request, sender, admitted) {
            Ok(guest) => guest,
            Err(error) => return Err(CallError::Trap(format!("{error:#}"))),
        };
        respond(guest, receiver).await
    }

    /// Waits for room, but not long, and not behind many.
    async fn admit(&self) -> Option<Admitted> {
        let slot = acquire(&self.slots, &self.waiting).await?;
        let instance = acquire(&self.host.instances, &self.host.waiting).await?;
        Some(Admitted { _slot: slot, _instance: instance, _guest: self.guests.token() })
    }

    /// The guest of one request, not yet started.
    fn guest(
        self: Arc<Self>,
        request: Request<Body>,
        sender: ResponseSender,
        admitted: Admitted,
    ) -> wasmtime::Result<Running> {
        let mut store = Guest::store(&self.host.engine, self.grants.clone());
        let scheme = match request.uri().scheme() {
            Some(scheme) if *scheme == http::uri::Scheme::HTTPS => Scheme::Https,
            _ => Scheme::Http,
        };
        let request = request.map(|body| body.map_err(IncomingError).boxed_unsync());
        let request = store.data_mut().http().new_incoming_request(scheme, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let container = self.clone();
        let future = Box::pin(async move {
            let result = self.run(store, request, out).await;
            drop(admitted);
            result
        });
        Ok(Running { container, future: Some(future), waiting: None })
    }

    async fn run(
        &self,
        mut store: Store<Guest>,
        request: Resource<HostIncomingRequest>,
        out: Resource<HostResponseOutparam>,
    ) -> Result<(), Failure> {
        let work = async {
            let proxy = self.component.instantiate_async(&mut store).await?;
            proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
        };
        // A guest that answers without waiting for anything never gets to register for the cancellation.
        let ended = tokio::select! {
            biased;
            ended = work => Some(ended),
            () = self.cancel.cancelled() => None,
        };
        let failure = match ended {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => Failure::new(&error, &store.data().memory),
            None => Failure::Cancelled,
        };
        self.traps.record(&failure);
        match &failure {
            Failure::Trap(_) => self.host.trapped.fetch_add(1, Ordering::Relaxed),
            Failure::OutOfMemory(_) => self.host.out_of_memory.fetch_add(1, Ordering::Relaxed),
            Failure::NoRoom | Failure::Cancelled => 0,
        };
        Err(failure)
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, waiting: &AtomicUsize) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = semaphore.clone().try_acquire_owned() {
        return Some(permit);
    }
    if semaphore.is_closed() || waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
        waiting.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let waited = Waiting(waiting);
    let permit = tokio::time::timeout(WAIT, semaphore.clone().acquire_owned()).await;
    drop(waited);
    permit.ok()?.ok()
}

/// One who waits, also if it gives up by being dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The request with an authority for the guest to see: its own, else the pod's address, as HTTP/1.0 has none.
/// `None` if its `Host` header cannot be one.
fn with_authority(mut request: Request<Body>, grants: &Grants) -> Option<Request<Body>> {
    if request.uri().authority().is_some() {
        return Some(request);
    }
    match request.headers().get(header::HOST).map(HeaderValue::to_str) {
        Some(Ok(host)) if host.parse::<Authority>().is_ok() => Some(request),
        Some(_) => None,
        None => {
            let path = request.uri().path_and_query().cloned();
            let addr = grants.pod.addr;
            let authority = if addr.is_ipv6() { format!("[{addr}]") } else { addr.to_string() };
            let uri = Uri::builder().scheme("http").authority(authority);
            *request.uri_mut() =
                uri.path_and_query(path.map_or("/".into(), |p| p.to_string())).build().ok()?;
            Some(request)
        }
    }
}

/// Runs the guest until it has a response, or has ended without.
async fn respond(
    mut guest: Running,
    mut receiver: oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>,
) -> Result<Response<Body>, CallError> {
    let mut ended = None;
    let response = std::future::poll_fn(|cx| {
        if ended.is_none()
            && let Poll::Ready(result) = Pin::new(&mut guest).poll(cx)
        {
            ended = Some(result);
        }
        Pin::new(&mut receiver).poll(cx)
    });
    let response = response.await;
    if let Some(Err(failure)) = ended {
        // Nothing has been sent yet, so even a response that was begun can still be an error.
        return Err(call_error(failure));
    }
    let response = match response {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => {
            tracing::debug!(?code, "the guest answered with an error");
            return Err(CallError::NoResponse);
        }
        Err(_) => return Err(CallError::NoResponse),
    };
    let (parts, body) = response.into_parts();
    let body = if ended.is_some() { whole(body).await } else { GuestBody::new(body, guest).boxed_unsync() };
    Ok(Response::from_parts(parts, body))
}

fn call_error(failure: Failure) -> CallError {
    match failure {
        Failure::Trap(text) => CallError::Trap(text),
        Failure::OutOfMemory(text) => CallError::Trap(format!("out of memory: {text}")),
        Failure::NoRoom | Failure::Cancelled => CallError::Unavailable,
    }
}

/// A guest that runs when polled. Dropped before its end it is given up, unless [`Running::finish`]ed.
struct Running {
    container: Arc<HttpContainer>,
    /// `None` once it has ended.
    future: Option<BoxFuture<'static, Result<(), Failure>>>,
    /// For processor time, when the container has used up its share.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Running {
    /// Lets the guest end by itself, in a task of the container.
    fn finish(self) {
        let container = self.container.clone();
        container.host.handle.spawn(container.guests.track_future(async move {
            // Failures have been recorded, and nobody else waits for this one.
            let _ = tokio::time::timeout(FINISH_TIME, self).await;
        }));
    }
}

impl Future for Running {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { container, future, waiting } = &mut *self;
        let Some(running) = future else { return Poll::Pending };
        let turn = container.cpu.turn(&container.host.ticker, waiting, running.as_mut(), cx);
        let result = std::task::ready!(turn);
        self.future = None;
        Poll::Ready(result)
    }
}

/// A request body's error on its way to the guest.
struct IncomingError(BoxError);

impl From<IncomingError> for wasmtime_wasi_http::Error {
    fn from(IncomingError(error): IncomingError) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::InternalError(Some(error.to_string())),
        }
    }
}

/// The container as the proxy calls it.
pub(super) struct Handler(pub(super) Arc<HttpContainer>);

impl HttpHandler for Handler {
    fn call(
        &self,
        _: Caller,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        Box::pin(self.0.clone().serve(request))
    }
}
