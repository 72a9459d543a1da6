//! What clients may not do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A cluster whose Service `web` echoes bodies, and its address.
async fn echo() -> (Cluster, SocketAddr, Registration) {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let pod =
        cluster.register(1, 80, pod(|_, request| async move { Ok(Response::new(request.into_body())) }));
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;
    cluster.routes_to(1).await;
    (cluster, addr, pod)
}

/// Sends bytes and reads all that comes back until the connection closes.
async fn exchange(addr: SocketAddr, sent: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The proxy may answer and close before it has read all.
    let _ = stream.write_all(sent.as_bytes()).await;
    let mut received = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut received)).await;
    let _ = read.expect("the connection closes");
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test]
async fn bad_requests_are_answered_and_the_connection_closed() {
    let (_cluster, addr, _pod) = echo().await;
    let close = "connection: close\r\n\r\n";
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "a".repeat(70_000);
    let table = [
        (format!("GET / HTTP/1.1\r\nhost: web\r\n{many}\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nhost: web\r\nx: {long}\r\n\r\n"), "431"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("CONNECT web:80 HTTP/1.1\r\nhost: web\r\n{close}"), "501"),
        (format!("GET / HTTP/1.1\r\nhost: web\r\nupgrade: websocket\r\n{close}"), "501"),
        (
            "GET / HTTP/1.1\r\nhost: web\r\nupgrade: h2c\r\nconnection: close, upgrade\r\n\r\n".to_owned(),
            "200",
        ),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "200"),
        // Two framings of one body: an invitation to read it differently than the next one.
        (
            format!("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\ncontent-length: 4\r\n{close}abcd"),
            "400",
        ),
    ];
    for (sent, status) in table {
        let received = exchange(addr, &sent).await;
        let begin = &sent[..sent.len().min(60)];
        assert!(
            received.starts_with("HTTP/1.") && received[9..].starts_with(status),
            "{begin:?}: {received}"
        );
    }
}

#[tokio::test]
async fn chunks_win_over_a_length_and_the_rest_is_no_request() {
    let (_cluster, addr, _pod) = echo().await;
    let sent = "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\ntransfer-encoding: chunked\r\n\
                connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n";
    let received = exchange(addr, sent).await;
    assert_eq!(received.matches("HTTP/1.1 ").count(), 1, "{received}");
    assert!(received.contains("abc") && !received.contains("smuggled"), "{received}");
}

#[tokio::test]
async fn http2_without_tls_is_served_on_the_same_port() {
    let (_cluster, addr, _pod) = echo().await;
    let client: Client = HttpClient::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::post(format!("http://{addr}/")).body(Full::from("hello")).unwrap();
    assert_eq!(send(&client, request).await, (StatusCode::OK, "hello".to_owned()));
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_others_to_end() {
    let cluster = Cluster::start_with(|config| config.max_connections = 1).await;
    let addr = cluster.handle.ingress_addr().unwrap();
    let mut first = TcpStream::connect(addr).await.unwrap();
    eventually("the first is served", || cluster.path.metrics.connections.get() == 1).await;
    let second = tokio::spawn(exchange(addr, "GET / HTTP/1.0\r\n\r\n"));
    // The second is in the queue of the kernel by then, or later; the first is answered all the while.
    for _ in 0..20 {
        first.write_all(b"GET / HTTP/1.1\r\nhost: nobody\r\n\r\n").await.unwrap();
        assert!(first.read(&mut [0; 4096]).await.unwrap() > 0);
        assert_eq!(cluster.path.metrics.connections.get(), 1);
    }
    assert!(!second.is_finished());
    drop(first);
    assert!(second.await.unwrap().starts_with("HTTP/1.0 404"));
}
