//! Endpoints that are not in process.

use std::sync::atomic::AtomicUsize;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::local::empty_body;

/// An HTTP server that answers with its name, the path and the host it was asked for.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) peers: Arc<Mutex<Vec<IpAddr>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(ip: IpAddr, name: &'static str) -> Server {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, peers) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<IpAddr>>>::default());
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&peers));
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                seen.lock().unwrap().push(peer.ip());
                serving.spawn(serve(stream, name));
            }
        });
        Server { addr, connections, peers, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, name: &'static str) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| async move {
        let host = request.headers().get("host").map_or("-", |host| host.to_str().unwrap());
        let text = format!("{name} {} {host}", request.uri());
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(text)))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Service `web` that speaks `protocol`, with endpoints elsewhere.
fn publish(cluster: &Cluster, addr: SocketAddr, protocol: Option<&str>, endpoints: &[SocketAddr]) {
    let port = json!({"port": addr.port(), "appProtocol": protocol});
    cluster.apply(service_of_spec("web", json!({"clusterIP": addr.ip(), "ports": [port]})));
    for (index, endpoint) in endpoints.iter().enumerate() {
        let mut slice = slice("web", endpoint.port(), vec![elsewhere(endpoint.ip())]);
        slice.metadata.name = Some(format!("web-{index}"));
        cluster.slices.send(Event::Apply(slice)).unwrap();
    }
}

#[tokio::test]
async fn http_is_sent_over_one_connection_with_its_host() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let server = Server::start(cluster.pod_addr(100), "remote").await;
    publish(&cluster, addr, Some("http"), &[server.addr]);
    cluster.routes_to(1).await;
    cluster.listens(addr).await;
    let client = client();
    for n in 0..50 {
        let request = Request::get(format!("http://{addr}/{n}?q")).header("host", "web.shop");
        let (status, body) = send(&client, request.body(Full::default()).unwrap()).await;
        assert_eq!((status, body), (StatusCode::OK, format!("remote /{n}?q web.shop")));
    }
    assert!(server.connections.load(Ordering::Relaxed) < 5);
}

#[tokio::test]
async fn called_server_sees_the_calling_pod() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let server = Server::start(cluster.pod_addr(100), "remote").await;
    publish(&cluster, addr, Some("http"), &[server.addr]);
    cluster.routes_to(1).await;
    for last in [5, 6] {
        let request = Request::get(format!("http://web:{}/", addr.port())).body(empty_body()).unwrap();
        let response = cluster.handle.outbound().send(&cluster.identity(last), request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(*server.peers.lock().unwrap(), [cluster.pod_addr(5), cluster.pod_addr(6)]);
}

#[tokio::test]
async fn endpoint_that_cannot_be_connected_to_is_passed_over_and_left_alone() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let server = Server::start(cluster.pod_addr(100), "remote").await;
    let dead = SocketAddr::new(cluster.pod_addr(101), server.addr.port());
    publish(&cluster, addr, Some("http"), &[server.addr, dead]);
    cluster.routes_to(2).await;
    cluster.listens(addr).await;
    let client = client();
    for n in 0..100 {
        let body = format!("{n}");
        let request = Request::post(format!("http://{addr}/{n}")).body(Full::from(body)).unwrap();
        assert_eq!(send(&client, request).await.0, StatusCode::OK);
    }
    // Without ejection, it would have been about every second request.
    let ejections = cluster.path.metrics.ejections.get();
    assert!((1..20).contains(&ejections), "{ejections}");
}

#[tokio::test]
async fn no_endpoint_to_connect_to_is_a_bad_gateway() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    publish(&cluster, addr, Some("http"), &[(cluster.pod_addr(101), 9).into()]);
    cluster.routes_to(1).await;
    cluster.listens(addr).await;
    let (status, body) = get(&client(), addr).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.starts_with("service shop/web: cannot connect: Connection refused"), "{body}");
}

/// A server that answers one request per connection and closes it without a word.
async fn one_shot(ip: IpAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let mut length = 0;
            while !head[..length].windows(4).any(|end| end == b"\r\n\r\n") {
                length += stream.read(&mut head[length..]).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    (addr, task)
}

#[tokio::test]
async fn connection_that_the_server_closed_meanwhile_costs_no_request() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let (server, _task) = one_shot(cluster.pod_addr(100)).await;
    publish(&cluster, addr, Some("http"), &[server]);
    cluster.routes_to(1).await;
    cluster.listens(addr).await;
    let client = client();
    for _ in 0..100 {
        assert_eq!(get(&client, addr).await, (StatusCode::OK, "ok".to_owned()));
    }
}

#[tokio::test]
async fn bytes_are_passed_on_where_no_pod_speaks_http_in_process() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let listener = TcpListener::bind((cluster.pod_addr(100), 0)).await.unwrap();
    let dead = SocketAddr::new(cluster.pod_addr(101), listener.local_addr().unwrap().port());
    publish(&cluster, addr, None, &[listener.local_addr().unwrap(), dead]);
    cluster.routes_to(2).await;
    cluster.listens(addr).await;
    let server = tokio::spawn(async move {
        loop {
            // The server speaks first, then echoes until the client is done, and says so.
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(b"hello ").await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.write_all(b" bye").await.unwrap();
            });
        }
    });
    for _ in 0..20 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"\x00\x01raw").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"hello \x00\x01raw bye");
    }
    server.abort();
}

#[tokio::test]
async fn endpoint_that_is_a_service_address_is_refused() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    publish(&cluster, addr, Some("http"), &[addr]);
    cluster.routes_to(1).await;
    cluster.listens(addr).await;
    let (status, body) = get(&client(), addr).await;
    assert_eq!(status, StatusCode::LOOP_DETECTED);
    assert!(body.ends_with("is the address of a service, not of a pod\n"), "{body}");
}
