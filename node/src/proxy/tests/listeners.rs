//! Which addresses are listened on, and what happens where one cannot be.

use super::*;

#[tokio::test]
async fn thousand_pods_are_listened_on_and_let_go() {
    let cluster = Cluster::start().await;
    let metrics = &cluster.path.metrics;
    let mut pods = Vec::new();
    for last in 1..=100 {
        let identity = cluster.identity(last);
        pods.extend((0..10).map(|port| {
            cluster.local.register(Arc::clone(&identity), 18_000 + port, named(format!("{last} {port}")))
        }));
    }
    eventually("all addresses are tried", || {
        metrics.listeners.get() + metrics.listeners_failed.get() == 1_000
    })
    .await;
    assert_eq!(metrics.listeners_failed.get(), 0, "{:?}", cluster.reports.0.lock().unwrap());
    let client = client();
    for (last, port) in [(1, 0), (50, 5), (100, 9)] {
        let addr = (cluster.pod_addr(last), 18_000 + port).into();
        assert_eq!(get(&client, addr).await.1, format!("{last} {port}"));
    }
    pods.clear();
    eventually("no address is listened on", || metrics.listeners.get() == 0).await;
    eventually("no connection is left", || metrics.connections.get() == 0).await;
}

#[tokio::test]
async fn port_of_another_program_is_reported_once_and_taken_when_free() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let other = std::net::TcpListener::bind(addr).unwrap();
    let _pod = cluster.register(1, 80, named("web"));
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.routes_to(1).await;
    eventually("the failure is reported", || !cluster.reports.0.lock().unwrap().is_empty()).await;

    // Pods reach the Service all the same.
    let outbound = cluster.handle.outbound();
    let request = Request::get(format!("http://{addr}/")).body(crate::local::empty_body()).unwrap();
    let response = outbound.send(&cluster.identity(2), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    // Another address fails: the first was tried again with it, and is not reported again.
    let second = cluster.service_addr(2);
    let _other = std::net::TcpListener::bind(second).unwrap();
    cluster.apply(service("cart", second));
    eventually("that failure is reported", || cluster.reports.0.lock().unwrap().len() > 1).await;
    let reports = cluster.reports.0.lock().unwrap().clone();
    let [report, _] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!(report.subject.to_string(), "Service shop/web");
    assert_eq!(report.reason, "ListenFailed");
    let begin = format!("Cannot listen on {addr}: another program has the port");
    assert!(report.message.starts_with(&begin), "{}", report.message);

    drop(other);
    let client = client();
    cluster.listens(addr).await;
    assert_eq!(get(&client, addr).await.1, "web");
    assert_eq!(cluster.path.metrics.listeners_failed.get(), 1, "the second is still taken");
}

#[test]
fn what_stands_in_the_way_is_explained_with_what_to_do() {
    let addr = "127.43.0.9:80".parse().unwrap();
    let table = [
        (io::ErrorKind::PermissionDenied, "sysctl net.ipv4.ip_unprivileged_port_start=80"),
        (io::ErrorKind::AddrInUse, "ss -ltn sport = :80"),
        (io::ErrorKind::AddrNotAvailable, "not one of this host"),
        (io::ErrorKind::Other, "tried again"),
    ];
    for (kind, expected) in table {
        let text = listen::explain(addr, &io::Error::from(kind));
        assert!(text.starts_with("Cannot listen on 127.43.0.9:80: ") && text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn taken_ingress_address_is_an_error_at_once() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::new(NODE);
    config.ingress = Some(other.local_addr().unwrap());
    let error = Proxy::new(config, LocalPods::default(), &mut Registry::default()).err().unwrap();
    assert!(error.to_string().contains("another program has the port"), "{error}");
}

#[tokio::test]
async fn nodes_of_one_host_share_service_addresses_if_told_to() {
    let share = |config: &mut Config| config.sharing = Sharing::WithOtherNodes;
    let (one, two) = (Cluster::start_with(share).await, Cluster::start_with(share).await);
    let addr = one.service_addr(1);
    for cluster in [&one, &two] {
        cluster.apply(service("web", addr));
        eventually("the address is tried", || cluster.path.routes().by_addr(addr).is_some()).await;
        cluster.listens(addr).await;
    }
    two.listens(addr).await;
    eventually("both listen", || {
        [&one, &two].iter().all(|cluster| cluster.path.metrics.listeners.get() == 1)
    })
    .await;
}

#[tokio::test]
async fn node_port_is_answered_on_the_loopback_address() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _pod = cluster.register(1, 80, named("web"));
    let ports = json!([{"port": addr.port(), "nodePort": free.port()}]);
    cluster
        .apply(service_of_spec("web", json!({"clusterIP": addr.ip(), "type": "NodePort", "ports": ports})));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(free).await;
    assert_eq!(get(&client(), free).await.1, "web");
}
