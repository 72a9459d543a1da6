//! A container that answers requests: by default a fresh instance for each, gone with it.
//!
//! The guest runs inside whoever waits for it: first the call, then the response's body. So it makes progress only
//! as fast as its client reads, costs no task, and a client that is gone is noticed by the guest as a closed
//! stream. What a guest still does after its body has been taken is finished in a task of the container.
//!
//! Where the pod opted into reuse, instances outlive requests, each in a task of its own (`reuse`, `worker`).

mod body;
mod call;
mod reuse;
mod worker;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use isopod_spec::core::pod::annotations::Instances;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use self::body::{GuestBody, SharedBody, whole};
pub(super) use self::call::Linked;
use self::call::ResponseSender;
use self::reuse::{Asking, End, Pool};
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

/// The instances of one container.
pub(super) struct HttpContainer {
    host: Arc<Host>,
    component: Linked,
    /// None: as many instances as requests.
    pool: Option<Arc<Pool>>,
    grants: Arc<Grants>,
    cpu: Arc<Cpu>,
    traps: TrapLog,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    guests: TaskTracker,
    cancel: CancellationToken,
}

/// What a request holds as long as it is worked on.
struct Admitted {
    _slot: OwnedSemaphorePermit,
    _guest: TaskTrackerToken,
}

impl HttpContainer {
    pub(super) fn new(
        host: Arc<Host>,
        component: Linked,
        grants: Arc<Grants>,
        cpu: Arc<Cpu>,
        traps: TrapLog,
        instances: Instances,
    ) -> Arc<Self> {
        let pool = match instances {
            Instances::Fresh => None,
            Instances::Reused(reuse) => Some(Pool::new(reuse)),
        };
        Arc::new(Self {
            host,
            component,
            pool,
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
        if let Some(pool) = &self.pool {
            pool.close();
        }
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
        match self.pool.clone() {
            Some(pool) => self.serve_reused(&pool, request, admitted).await,
            None => self.serve_fresh(request, admitted).await,
        }
    }

    /// Waits for room, but not long, and not behind many.
    async fn admit(&self) -> Option<Admitted> {
        let slot = acquire(&self.slots, &self.waiting).await?;
        Some(Admitted { _slot: slot, _guest: self.guests.token() })
    }

    /// Waits for room for another instance.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        if self.host.instances.available_permits() == 0 {
            self.host.wanted.notify_one();
        }
        acquire(&self.host.instances, &self.host.waiting).await
    }

    async fn serve_fresh(
        self: Arc<Self>,
        request: Request<Body>,
        admitted: Admitted,
    ) -> Result<Response<Body>, CallError> {
        let Some(instance) = self.room().await else {
            return Err(CallError::Refused(Box::new(request)));
        };
        let (sender, receiver) = oneshot::channel();
        let container = self.clone();
        let future = Box::pin(async move {
            let result = self.run(request, sender).await;
            drop((instance, admitted));
            result
        });
        respond(Running { container, future: Some(future), waiting: None }, receiver).await
    }

    async fn run(&self, request: Request<Body>, sender: ResponseSender) -> Result<(), Failure> {
        let mut store = Guest::store(&self.host.engine, self.grants.clone());
        // A guest that answers without waiting for anything never gets to register for the cancellation.
        let ended = tokio::select! {
            biased;
            ended = self.component.answer_once(&mut store, request, sender) => Some(ended),
            () = self.cancel.cancelled() => None,
        };
        let failure = match ended {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => Failure::new(&error, &store.data().memory),
            None => Failure::Cancelled,
        };
        self.count(&failure);
        Err(failure)
    }

    fn count(&self, failure: &Failure) {
        self.traps.record(failure);
        match failure {
            Failure::Trap(_) => self.host.trapped.fetch_add(1, Ordering::Relaxed),
            Failure::OutOfMemory(_) => self.host.out_of_memory.fetch_add(1, Ordering::Relaxed),
            Failure::NoRoom | Failure::Cancelled => 0,
        };
    }

    async fn serve_reused(
        self: Arc<Self>,
        pool: &Arc<Pool>,
        request: Request<Body>,
        admitted: Admitted,
    ) -> Result<Response<Body>, CallError> {
        let (sender, receiver) = oneshot::channel();
        let mut asked = (request, sender);
        let asking = loop {
            asked = match pool.give(asked.0, asked.1) {
                Ok(asking) => break asking,
                Err(back) => *back,
            };
            // Cancel-safe: a permit that came is given back, a notice that was not taken stays.
            let instance = tokio::select! {
                biased;
                instance = self.room() => instance,
                () = pool.freed.notified() => continue,
            };
            let Some(instance) = instance else {
                return Err(CallError::Refused(Box::new(asked.0)));
            };
            match pool.seat(asked.0, asked.1) {
                Ok((asking, seated)) => {
                    let work = worker::run(self.clone(), pool.clone(), seated, instance);
                    self.host.handle.spawn(self.guests.track_future(work));
                    break asking;
                }
                Err(back) => return Err(CallError::Refused(Box::new(back.0))),
            }
        };
        self.respond_reused(pool, asking, receiver, admitted).await
    }

    async fn respond_reused(
        self: Arc<Self>,
        pool: &Arc<Pool>,
        mut asking: Asking,
        receiver: oneshot::Receiver<Result<Response<WasiBody>, ErrorCode>>,
        admitted: Admitted,
    ) -> Result<Response<Body>, CallError> {
        let response = match receiver.await {
            Ok(response) => response.map_err(|code| no_response(&code))?,
            Err(_) => {
                return match asking.end().await {
                    End::Untouched(request) => Box::pin(self.serve_reused(pool, *request, admitted)).await,
                    End::Silent => Err(CallError::NoResponse),
                    End::Failed(failure) => Err(call_error(failure)),
                };
            }
        };
        asking.responded();
        let (parts, body) = response.into_parts();
        let is_whole = asking.is_answered() && matches!(self.component, Linked::P2(_));
        let body = if is_whole && !asking.has_failed() {
            whole(body).await
        } else {
            SharedBody::new(body, asking, admitted).boxed_unsync()
        };
        Ok(Response::from_parts(parts, body))
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
    mut receiver: oneshot::Receiver<Result<Response<WasiBody>, ErrorCode>>,
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
        Ok(Err(code)) => return Err(no_response(&code)),
        Err(_) => return Err(CallError::NoResponse),
    };
    let (parts, body) = response.into_parts();
    let body = if ended.is_some() { whole(body).await } else { GuestBody::new(body, guest).boxed_unsync() };
    Ok(Response::from_parts(parts, body))
}

fn no_response(code: &ErrorCode) -> CallError {
    tracing::debug!(?code, "the guest answered with an error");
    CallError::NoResponse
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
