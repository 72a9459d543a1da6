//! Which of the API's servers is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use kube::client::Body;
use tower::Service;

use super::InTime;

/// The servers, and which of them is asked now. Clones share it.
#[derive(Clone)]
pub struct ServerList(Arc<ArcSwap<List>>);

struct List {
    all: Vec<Uri>,
    /// Counts on, past the end and round again.
    current: AtomicUsize,
}

impl List {
    fn place(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    fn at(&self, place: usize) -> Option<&Uri> {
        self.all.get(place.checked_rem(self.all.len())?)
    }
}

impl ServerList {
    pub(super) fn new(all: Vec<Uri>) -> ServerList {
        ServerList(Arc::new(ArcSwap::from_pointee(List { all, current: AtomicUsize::new(0) })))
    }

    /// Replaces the servers by others, of which there must be some. The one that is asked now is asked on if it is among
    /// them.
    pub fn set(&self, all: Vec<Uri>) {
        let known = self.0.load();
        let same = known.at(known.place()).and_then(|now| all.iter().position(|uri| uri == now));
        self.0.store(Arc::new(List { all, current: AtomicUsize::new(same.unwrap_or(0)) }));
    }
}

/// Sends each request to the current server, and turns to the next one when it cannot be reached or a connection to it
/// breaks. The request that found out fails: only whoever sent it knows whether it may be sent twice.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) list: ServerList,
    pub(super) http: HttpClient<InTime, Body>,
}

impl Service<Request<Body>> for Servers {
    type Response = Response<Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let list = self.list.0.load_full();
        let place = list.place();
        if let Some(server) = list.at(place) {
            *request.uri_mut() = at(server, request.uri());
        }
        let http = self.http.clone();
        async move {
            let answer = http.request(request).await;
            if answer.is_err() {
                // Only one step, however many requests found out.
                let next = place.wrapping_add(1);
                list.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed).ok();
            }
            answer
        }
        .boxed()
    }
}

/// The path and query of `uri` at this server.
fn at(server: &Uri, uri: &Uri) -> Uri {
    let mut parts = server.clone().into_parts();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).unwrap_or_else(|_| server.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn paths_are_taken_to_the_server() {
        let path = uri("/api/v1/pods?watch=true");
        let taken = at(&uri("https://127.0.0.1:6443"), &path);
        assert_eq!(taken.to_string(), "https://127.0.0.1:6443/api/v1/pods?watch=true");
    }

    #[test]
    fn the_server_that_is_asked_stays_so_while_there_are_others_too() {
        let [a, b, c] = ["https://a:1", "https://b:1", "https://c:1"].map(uri);
        let servers = ServerList::new(vec![a.clone(), b.clone()]);
        servers.0.load().current.store(1, Ordering::Relaxed);
        let now = |servers: &ServerList| {
            let list = servers.0.load();
            list.at(list.place()).cloned().unwrap()
        };
        servers.set(vec![c.clone(), a.clone(), b.clone()]);
        assert_eq!(now(&servers), b);
        servers.set(vec![c.clone(), a]);
        assert_eq!(now(&servers), c);
        servers.0.load().current.store(3, Ordering::Relaxed);
        assert_eq!(now(&servers), uri("https://a:1"));
    }
}
