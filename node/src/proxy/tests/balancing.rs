//! Who gets a request.

use std::collections::BTreeMap;

use tokio::sync::Semaphore;

use super::*;

#[tokio::test]
async fn requests_of_one_connection_go_to_all_pods() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let _pods: Vec<_> = (1..=3).map(|n| cluster.register(n, 80, named(n.to_string()))).collect();
    cluster.apply(service("web", addr));
    cluster.endpoints(80, (1..=3).map(|n| here(cluster.pod_addr(n))).collect());
    cluster.listens(addr).await;
    let client = client();
    let mut answers = BTreeMap::<String, u32>::new();
    for _ in 0..300 {
        let (status, body) = get(&client, addr).await;
        assert_eq!(status, StatusCode::OK);
        *answers.entry(body).or_default() += 1;
    }
    assert_eq!(answers.len(), 3);
    assert!(answers.values().all(|count| *count > 50), "{answers:?}");
    let routes = cluster.path.routes();
    assert_eq!(routes.service("shop", "web").unwrap().ports[0].stats.count(StatusCode::OK), 300);
}

#[tokio::test]
async fn pod_with_requests_in_hand_gets_no_more_while_another_is_free() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let gate = Arc::new(Semaphore::new(0));
    let slow = {
        let gate = Arc::clone(&gate);
        pod(move |_, _| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Response::new(full_body("slow")))
            }
        })
    };
    let _slow = cluster.register(1, 80, slow);
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;
    let client = client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { get(&client, addr).await }
    });
    let slow = cluster.path.endpoints.get((cluster.pod_addr(1), 80).into()).unwrap();
    eventually("the slow pod has the request", || slow.in_flight() == 1).await;

    let _quick = cluster.register(2, 80, named("quick"));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1)), here(cluster.pod_addr(2))]);
    cluster.routes_to(2).await;
    for _ in 0..50 {
        assert_eq!(get(&client, addr).await.1, "quick");
    }
    gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().1, "slow");
    eventually("nothing is in flight", || slow.in_flight() == 0).await;
}

#[tokio::test]
async fn client_with_affinity_keeps_its_pod() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let _pods: Vec<_> = (1..=5).map(|n| cluster.register(n, 80, named(n.to_string()))).collect();
    let mut web = service("web", addr);
    web.spec.as_mut().unwrap().session_affinity = Some("ClientIP".into());
    cluster.apply(web);
    cluster.endpoints(80, (1..=5).map(|n| here(cluster.pod_addr(n))).collect());
    cluster.listens(addr).await;
    let first = get(&client(), addr).await.1;
    for _ in 0..20 {
        assert_eq!(get(&client(), addr).await.1, first);
    }
}

#[tokio::test]
async fn pod_that_refuses_is_passed_over_with_the_body_whole() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    let refuses = pod(|_, request| async move { Err(CallError::Refused(Box::new(request))) });
    let echoes = pod(|_, request| async move { Ok(Response::new(request.into_body())) });
    let _pods = [cluster.register(1, 80, refuses), cluster.register(2, 80, echoes)];
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1)), here(cluster.pod_addr(2))]);
    cluster.listens(addr).await;
    let client = client();
    for n in 0..50 {
        let body = format!("body {n} ").repeat(n);
        let request = Request::post(format!("http://{addr}/")).body(Full::from(body.clone())).unwrap();
        assert_eq!(send(&client, request).await, (StatusCode::OK, body));
    }
}

#[tokio::test]
async fn calls_that_fail_say_which_service_and_why() {
    type Failure = fn(Request<Body>) -> CallError;
    let table: [(Failure, u16, &str); 6] = [
        (|_| CallError::Trap("wasm trap: unreachable".into()), 500, "trapped; its log says where"),
        (|_| CallError::Unavailable, 503, "is unavailable"),
        (|_| CallError::NoResponse, 502, "ended without a response"),
        (|_| CallError::BodyTooLarge, 413, "does not take a body this large"),
        (|_| CallError::Timeout, 504, "took too long to respond"),
        (|request| CallError::Refused(Box::new(request)), 503, ""),
    ];
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    cluster.apply(service("web", addr));
    cluster.endpoints(80, vec![here(cluster.pod_addr(1))]);
    cluster.listens(addr).await;
    let client = client();
    for (error, status, why) in table {
        let _pod = cluster.register(1, 80, pod(move |_, request| async move { Err(error(request)) }));
        let expected = match why {
            "" => "service shop/web: none of its 1 endpoints takes requests now\n".to_owned(),
            why => format!("service shop/web: the pod at {}:80 {why}\n", cluster.pod_addr(1)),
        };
        assert_eq!(get(&client, addr).await, (StatusCode::from_u16(status).unwrap(), expected));
    }
}

#[tokio::test]
async fn service_without_endpoints_says_so_at_once() {
    let cluster = Cluster::start().await;
    let addr = cluster.service_addr(1);
    cluster.apply(service("web", addr));
    cluster.listens(addr).await;
    let client = client();
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let expected = (unavailable, "service shop/web: it has no endpoints\n".to_owned());
    assert_eq!(get(&client, addr).await, expected);
    let starting = json!({"addresses": [cluster.pod_addr(1)], "conditions": {"ready": false}});
    cluster.endpoints(80, vec![starting]);
    eventually("the endpoint is known", || {
        cluster.path.routes().service("shop", "web").is_some_and(|web| web.ports[0].inside.of == 1)
    })
    .await;
    let expected = (unavailable, "service shop/web: none of its 1 endpoints is ready\n".to_owned());
    assert_eq!(get(&client, addr).await, expected);
    cluster.stop().await;
}
