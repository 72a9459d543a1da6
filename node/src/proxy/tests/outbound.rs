//! Requests of pods.

use super::*;
use crate::local::{OutboundError, empty_body};

/// A pod that answers with its name, the caller and the path.
fn who(name: &'static str) -> Arc<dyn HttpHandler> {
    pod(move |caller, request| async move {
        let text = format!("{name} {} {}", caller.addr, request.uri().path());
        Ok(Response::new(full_body(text)))
    })
}

async fn ask(cluster: &Cluster, uri: &str) -> Result<(u16, String), OutboundError> {
    let request = Request::get(uri).body(empty_body()).unwrap();
    let response = cluster.handle.outbound().send(&cluster.identity(9), request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

/// Services `web` (port 80 to 8080), the headless `db` with host `db-0`, and aliases of inside and outside.
async fn shop() -> (Cluster, Vec<Registration>, IpAddr) {
    let cluster = Cluster::start().await;
    let pods = vec![
        cluster.register(1, 8080, who("web")),
        cluster.register(2, 5432, who("db")),
        cluster.register(9, 8080, who("self")),
    ];
    let web: IpAddr = [127, cluster.net[0], cluster.net[1], 200].into();
    let alias = |name: &str, target: &str| {
        service_of_spec(
            name,
            json!({"type": "ExternalName", "externalName": target, "ports": [{"port": 80}]}),
        )
    };
    for service in [
        service_of_spec("web", json!({"clusterIP": web, "ports": [{"port": 80, "targetPort": 8080}]})),
        service_of_spec("db", json!({"clusterIP": "None", "ports": [{"port": 80, "targetPort": 5432}]})),
        alias("inside", "web.shop.svc.cluster.local"),
        alias("outside", "db.example.com"),
        alias("circle", "circle.shop.svc.cluster.local"),
    ] {
        cluster.apply(service);
    }
    let mut db = here(cluster.pod_addr(2));
    db["hostname"] = json!("db-0");
    cluster.slices.send(Event::Apply(slice("db", 5432, vec![db]))).unwrap();
    cluster.endpoints(8080, vec![here(cluster.pod_addr(1))]);
    cluster.routes_to(1).await;
    eventually("db has its host", || {
        cluster.path.routes().service("shop", "db").is_some_and(|db| !db.hosts.is_empty())
            && cluster.path.routes().services().count() == 5
    })
    .await;
    (cluster, pods, web)
}

#[tokio::test]
async fn cluster_names_and_addresses_are_called_in_process() {
    let (cluster, _pods, web) = shop().await;
    let me = cluster.pod_addr(9);
    let (pod, db) = (cluster.pod_addr(1), cluster.pod_addr(2));
    let table = [
        ("http://web/a?b=c".to_owned(), "web"),
        ("http://web.shop/a".to_owned(), "web"),
        ("http://web.shop.svc.cluster.local:80/a".to_owned(), "web"),
        ("http://inside/a".to_owned(), "web"),
        (format!("http://{web}/a"), "web"),
        (format!("http://{pod}:8080/a"), "web"),
        ("http://db:5432/a".to_owned(), "db"),
        ("http://db-0.db:5432/a".to_owned(), "db"),
        (format!("http://{}.shop.pod:5432/a", db.to_string().replace('.', "-")), "db"),
        ("http://localhost:8080/a".to_owned(), "self"),
        ("http://127.0.0.1:8080/a".to_owned(), "self"),
        ("http://[::1]:8080/a".to_owned(), "self"),
    ];
    for (uri, expected) in table {
        let answer = ask(&cluster, &uri).await;
        assert_eq!(answer.expect(&uri), (200, format!("{expected} {me} /a")), "{uri}");
    }
}

#[tokio::test]
async fn what_leads_nowhere_says_why() {
    let (cluster, _pods, _) = shop().await;
    let gone = cluster.pod_addr(77);
    let table = [
        ("http://cart/".to_owned(), "no such host: cart"),
        ("http://cart.shop.svc.cluster.local/".to_owned(), "no such host: cart.shop.svc.cluster.local"),
        ("http://circle/".to_owned(), "no such host: circle"),
        (
            "https://web/".to_owned(),
            "the request cannot be sent: names of the cluster are reached by http, not https",
        ),
        ("http://web:81/".to_owned(), "cannot connect to web:81: service shop/web has no port 81; it has 80"),
        (
            "http://example.com/".to_owned(),
            "egress to example.com:80 is denied: it is no name or address of the cluster, and no egress rule allows it",
        ),
        (
            "https://outside/".to_owned(),
            "egress to db.example.com:443 is denied: it is no name or address of the cluster, and no egress rule \
             allows it",
        ),
        (
            "http://169.254.169.254/".to_owned(),
            "egress to 169.254.169.254:80 is denied: it is no name or address of the cluster, and no egress rule \
             allows it",
        ),
    ];
    for (uri, expected) in table {
        let error = ask(&cluster, &uri).await.expect_err(&uri);
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        assert_eq!(format!("{error}{cause}"), expected);
    }
    let text = format!("the pod at {gone}:80 takes no requests now\n");
    assert_eq!(ask(&cluster, &format!("http://{gone}/")).await.unwrap(), (503, text));
}

#[tokio::test]
async fn names_resolve_to_addresses() {
    let (cluster, _pods, web) = shop().await;
    let (me, db) = (cluster.pod_addr(9), cluster.pod_addr(2));
    let table = [
        ("web", Some(vec![web])),
        ("inside", Some(vec![web])),
        ("db.shop", Some(vec![db])),
        ("db-0.db", Some(vec![db])),
        ("localhost", Some(vec![me])),
        ("outside", None),
        ("circle", None),
        ("cart", None),
        ("example.com", None),
    ];
    let outbound = cluster.handle.outbound();
    for (name, expected) in table {
        assert_eq!(outbound.resolve(&cluster.identity(9), name), expected, "{name}");
    }
}

#[tokio::test]
async fn allowed_host_outside_is_reached() {
    let server = remote::Server::start([127, 0, 0, 1].into(), "outside").await;
    let rule = format!("127.0.0.1:{}", server.addr.port());
    // Seen from a pod 127.0.0.1 is the pod itself, so the rule is about the name's target.
    let cluster =
        Cluster::start_with(|config| config.egress = Egress::new(vec![rule.parse().unwrap()])).await;
    let alias = json!({"type": "ExternalName", "externalName": "127.0.0.1", "ports": []});
    cluster.apply(service_of_spec("partner", alias));
    eventually("the service is known", || cluster.path.routes().service("shop", "partner").is_some()).await;
    let uri = format!("http://partner:{}/x", server.addr.port());
    let (status, body) = ask(&cluster, &uri).await.unwrap();
    assert_eq!((status, body.as_str()), (200, format!("outside /x partner:{}", server.addr.port()).as_str()));
}
