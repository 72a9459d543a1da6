//! The ingress address.

use super::*;

/// Asks the ingress for a host, by the header alone.
async fn ask(cluster: &Cluster, host: &str) -> (StatusCode, String) {
    let addr = cluster.handle.ingress_addr().unwrap();
    let request = Request::get(format!("http://{addr}/")).header("host", host);
    send(&client(), request.body(Full::default()).unwrap()).await
}

/// A pod that answers with some of the headers that it got.
fn headers_of(name: &'static str) -> Arc<dyn HttpHandler> {
    pod(move |_, request| async move {
        let header = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        let text = format!(
            "{name}: {} {} {}",
            header("host"),
            header("x-forwarded-for"),
            header("x-forwarded-host")
        );
        Ok(Response::new(full_body(text)))
    })
}

/// Service `web` with ports `admin` 9000 and `http` 80.
async fn shop() -> (Cluster, [Registration; 2]) {
    let cluster = Cluster::start().await;
    let pods =
        [cluster.register(1, 8080, headers_of("http")), cluster.register(1, 9000, headers_of("admin"))];
    let ports = json!([{"name": "admin", "port": 9000}, {"name": "http", "port": 80, "targetPort": 8080}]);
    cluster.apply(service_of_spec("web", json!({"clusterIP": "None", "ports": ports})));
    let mut slice = slice("web", 0, vec![here(cluster.pod_addr(1))]);
    slice.ports =
        serde_json::from_value(json!([{"name": "admin", "port": 9000}, {"name": "http", "port": 8080}]))
            .unwrap();
    cluster.slices.send(Event::Apply(slice)).unwrap();
    cluster.routes_to(1).await;
    (cluster, pods)
}

#[tokio::test]
async fn host_names_lead_to_services_and_their_ports() {
    let (cluster, _pods) = shop().await;
    let table = [
        ("web.shop.localhost", 200, "http: web.shop.localhost 127.0.0.1 web.shop.localhost"),
        ("web.shop.localhost:8080", 200, "http: web.shop.localhost:8080 127.0.0.1 web.shop.localhost:8080"),
        ("WEB.Shop.LOCALHOST", 200, "http: WEB.Shop.LOCALHOST 127.0.0.1 WEB.Shop.LOCALHOST"),
        (
            "admin.web.shop.localhost",
            200,
            "admin: admin.web.shop.localhost 127.0.0.1 admin.web.shop.localhost",
        ),
        ("9000.web.shop.localhost", 200, "admin: 9000.web.shop.localhost 127.0.0.1 9000.web.shop.localhost"),
        ("dns.web.shop.localhost", 404, "service shop/web has no port dns; it has admin (9000), http (80)\n"),
        (
            "cart.shop.localhost",
            404,
            "no service has the host cart.shop.localhost. There are:\nweb.shop.localhost\n",
        ),
        ("example.com", 404, "no service has the host example.com. There are:\nweb.shop.localhost\n"),
        ("a b", 400, "\"a b\" is no host name\n"),
    ];
    for (host, status, text) in table {
        let expected = (StatusCode::from_u16(status).unwrap(), text.to_owned());
        assert_eq!(ask(&cluster, host).await, expected, "{host}");
    }
}

#[tokio::test]
async fn host_of_an_absolute_uri_wins_over_the_header() {
    let (cluster, _pods) = shop().await;
    let addr = cluster.handle.ingress_addr().unwrap();
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://web.shop.localhost/").header("host", "cart.shop.localhost");
    let response = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn empty_cluster_and_missing_host_are_told_apart() {
    let cluster = Cluster::start().await;
    let text = "no service has the host web.shop.localhost. There are no services yet.\n";
    assert_eq!(ask(&cluster, "web.shop.localhost").await, (StatusCode::NOT_FOUND, text.to_owned()));
    let text = "the request names no host. There are no services yet.\n";
    assert_eq!(ask(&cluster, "").await, (StatusCode::BAD_REQUEST, text.to_owned()));
    cluster.apply(service_of_spec("web", json!({"type": "ExternalName", "externalName": "example.com"})));
    eventually("the service is known", || cluster.path.routes().service("shop", "web").is_some()).await;
    let text = "service shop/web stands for example.com, which is not reached from here\n";
    assert_eq!(ask(&cluster, "web.shop.localhost").await, (StatusCode::NOT_FOUND, text.to_owned()));
}
