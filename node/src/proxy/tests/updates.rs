//! Pods that come and go under load.

use std::sync::atomic::{AtomicU32, Ordering};

use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::Notify;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update_loses_no_request() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let mut pods: Vec<_> = (1..=3).map(|n| (n, cluster.register(n, 80, named(n.to_string())))).collect();
    let publish = |pods: &[(u8, Registration)]| {
        cluster.endpoints(80, pods.iter().map(|(n, _)| here(cluster.pod_addr(*n))).collect());
    };
    cluster.apply(service("web", addr));
    publish(&pods);
    cluster.listens(addr).await;

    let stop = CancellationToken::new();
    let answered = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (client, stop, answered) = (client(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let (status, body) = get(&client, addr).await;
                    assert_eq!(status, StatusCode::OK, "{body}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more_answers = async || {
        let before = answered.load(Ordering::Relaxed);
        eventually("the clients go on", || answered.load(Ordering::Relaxed) > before + 16).await;
    };
    for n in 4..=60 {
        // A new pod, and the oldest gone before the news of it: the worst order of events.
        pods.push((n, cluster.register(n, 80, named(n.to_string()))));
        let oldest = pods.remove(0);
        drop(oldest);
        tokio::task::yield_now().await;
        publish(&pods);
        more_answers().await;
    }
    // Even all at once: somebody asks while there is no pod.
    pods.clear();
    let waiting = tokio::spawn(async move { get(&client(), addr).await });
    eventually("it has connected", || cluster.path.metrics.connections.get() > 8).await;
    pods.push((61, cluster.register(61, 80, named("61"))));
    publish(&pods);
    assert_eq!(waiting.await.unwrap(), (StatusCode::OK, "61".to_owned()));
    more_answers().await;
    stop.cancel();
    for client in clients {
        client.await.unwrap();
    }
}

/// A pod whose answer begins, and ends when told.
fn lingering(end: &Arc<Notify>) -> Arc<dyn HttpHandler> {
    let end = Arc::clone(end);
    pod(move |_, _| {
        let end = Arc::clone(&end);
        async move {
            let first = futures::stream::iter([Ok(Frame::data(Bytes::from("begin, ")))]);
            let last = futures::stream::once(async move {
                end.notified().await;
                Ok(Frame::data(Bytes::from("end")))
            });
            Ok(Response::new(StreamBody::new(first.chain(last)).boxed_unsync()))
        }
    })
}

#[tokio::test]
async fn request_in_hand_is_finished_after_its_pod_left() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let end = Arc::new(Notify::new());
    let old = cluster.register(1, 80, lingering(&end));
    let direct = old.addr();
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;
    cluster.listens(direct).await;

    let client = client();
    let mut waiting = Vec::new();
    for addr in [addr, direct] {
        let request = Request::get(format!("http://{addr}/")).body(Full::default()).unwrap();
        waiting.push(client.request(request).await.unwrap());
    }
    let _new = cluster.register(2, 80, named("new"));
    cluster.endpoints(80, vec![here(cluster.pod_addr(2))]);
    drop(old);
    cluster.routes_to(1).await;
    assert_eq!(get(&client, addr).await.1, "new");
    eventually("the pod's address is closed", || std::net::TcpStream::connect(direct).is_err()).await;
    for response in waiting {
        end.notify_one();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "begin, end");
    }
}

#[tokio::test]
async fn shutdown_finishes_what_is_open() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let end = Arc::new(Notify::new());
    let _pod = cluster.register(1, 80, lingering(&end));
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;
    let request = Request::get(format!("http://{addr}/")).body(Full::default()).unwrap();
    let response = client().request(request).await.unwrap();
    cluster.shutdown.cancel();
    eventually("the address is closed", || std::net::TcpStream::connect(addr).is_err()).await;
    end.notify_one();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "begin, end");
    cluster.stop().await;
}

#[tokio::test]
async fn container_that_restarts_is_waited_for() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let old = cluster.register(1, 80, named("old"));
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;
    drop(old);
    let waiting = tokio::spawn(async move { get(&client(), addr).await });
    eventually("it has connected", || cluster.path.metrics.connections.get() == 1).await;
    let _new = cluster.register(1, 80, named("new"));
    assert_eq!(waiting.await.unwrap(), (StatusCode::OK, "new".to_owned()));
}

#[tokio::test]
async fn list_after_a_broken_watch_removes_what_is_gone() {
    let cluster = Cluster::start().await;
    let [web, cart] = [1, 2].map(|last| cluster.service_addr(last));
    let endpoints = || vec![here(cluster.pod_addr(1))];
    cluster.apply(service("web", web));
    cluster.apply(service("cart", cart));
    cluster.endpoints(80, endpoints());
    cluster.slices.send(Event::Apply(slice("cart", 80, endpoints()))).unwrap();
    cluster.listens(web).await;
    cluster.listens(cart).await;
    cluster.routes_to(1).await;

    cluster.list(vec![service("web", web)], vec![slice("cart", 80, endpoints())]);
    cluster.routes_to(0).await;
    eventually("the address is closed", || std::net::TcpStream::connect(cart).is_err()).await;
    cluster.listens(web).await;
    let routes = cluster.path.routes();
    assert_eq!(routes.services().count(), 1);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let _pod =
        cluster.register(1, 80, pod(|_, request| async move { Ok(Response::new(request.into_body())) }));
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;

    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let upload = futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, crate::local::BoxError>(Frame::data(bytes)), receiver))
    });
    let upload = StreamBody::new(upload).boxed_unsync();
    let client: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{addr}/")).body(upload).unwrap();
    let mut echo = client.request(request).await.unwrap().into_body();
    // Each piece comes back before the next is sent, and all together are far more than any buffer.
    for n in 0..100_u8 {
        let piece = Bytes::from(vec![n; 64 * 1024]);
        sender.send(piece.clone()).await.unwrap();
        let mut back = Vec::new();
        while back.len() < piece.len() {
            back.extend_from_slice(&echo.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(back, piece);
    }
    drop(sender);
    assert!(echo.frame().await.is_none());
}
