//! Containers that serve.

use http_body_util::StreamBody;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_answers_with_its_pod_and_path() {
    let node = Node::new();
    let container = node.start("hello", |spec| spec.env = vec![("POD_NAME".into(), "hello-0".into())]).await;
    let response = get(&container, "/some/path?q=1").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text(response).await, "Hello from hello-0! You asked for /some/path?q=1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guest_sees_the_request_as_it_came() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let told = |request| async { text(ask(&container, request).await.unwrap()).await };

    let mut with_header = request("/request?x", empty_body());
    with_header.headers_mut().insert("x-custom", "1".parse().unwrap());
    let expected = "Some(Scheme::Http) Some(\"web.ns\") /request?x\nx-custom: 1\n";
    assert_eq!(told(with_header).await, expected);

    let absolute = Request::get("https://shop.example:8443/request").body(empty_body()).unwrap();
    let expected = "Some(Scheme::Https) Some(\"shop.example:8443\") /request\n";
    assert_eq!(told(absolute).await, expected);

    let ancient = Request::get("/request").body(empty_body()).unwrap();
    assert_eq!(told(ancient).await, "Some(Scheme::Http) Some(\"127.42.0.7\") /request\n");

    let broken = Request::get("/request").header("host", "a b").body(empty_body()).unwrap();
    assert_eq!(ask(&container, broken).await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_ambient() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let told = text(get(&container, "/ambient").await.unwrap()).await;
    assert!(told.starts_with("[] [\"unruly\"] Err("), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = futures::stream::unfold(receiver, |mut receiver| async {
        let bytes: Bytes = receiver.recv().await?;
        Some((Ok(http_body::Frame::data(bytes)), receiver))
    });
    let response = ask(&container, request("/echo", StreamBody::new(stream).boxed_unsync())).await.unwrap();
    let mut body = response.into_body();
    for piece in ["one", "two", "three"] {
        // Each piece is back before the next is sent.
        sender.send(piece.into()).await.unwrap();
        let frame = tokio::time::timeout(DEADLINE, body.frame()).await.expect("a piece comes back");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_passes_whole() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let size = 8 << 20;
    let body = text(get(&container, &format!("/large?{size}")).await.unwrap()).await;
    assert_eq!(body.len(), size);
    let echoed = ask(&container, request("/echo", full_body(body.clone()))).await.unwrap();
    assert!(text(echoed).await == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_answer_has_a_known_length() {
    let node = Node::new();
    let container = node.start("hello", |_| ()).await;
    // Unless its guest had to give way to others just before the end, which cannot happen every time.
    for _ in 0..1000 {
        let body = get(&container, "/").await.unwrap().into_body();
        if let Some(length) = http_body::Body::size_hint(&body).exact() {
            return assert_eq!(length, 38);
        }
    }
    panic!("no length was ever known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_fails_that_request_alone_and_is_told() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let mut traps = container.traps();
    let Err(CallError::Trap(message)) = get(&container, "/trap").await else { panic!("it traps") };
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines[0], "wasm trap: wasm `unreachable` instruction executed");
    assert!(lines[1].ends_with("::deep"), "{message}");
    assert!(message.contains("wasi:http/incoming-handler@0.2.12#handle"), "{message}");

    traps.changed().await.unwrap();
    let seen = traps.borrow().clone();
    assert_eq!((seen.total, seen.out_of_memory, seen.last.as_deref()), (1, 0, Some(message.as_str())));
    assert_eq!(get(&container, "/").await.unwrap().status(), 200);
    assert!(matches!(*container.state().borrow(), State::Running { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_after_the_beginning_breaks_the_body() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    // The guest gets that far in one go, so no byte has been sent: an error is still possible, and better.
    assert!(matches!(get(&container, "/trap-late").await, Err(CallError::Trap(_))));

    let response = get(&container, "/trap-later").await.unwrap();
    let body = response.into_body().collect().await;
    assert_eq!(body.expect_err("it breaks").to_string(), "the container failed while responding");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_an_error() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    assert!(matches!(get(&container, "/silent").await, Err(CallError::NoResponse)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_handles_are_limited_per_request() {
    let node = Node::new();
    let container = node.start("unruly", |spec| spec.memory_limit_bytes = Some(16 << 20)).await;
    let Err(CallError::Trap(message)) = get(&container, "/hog").await else { panic!("it is refused memory") };
    assert!(message.starts_with("out of memory: wasm trap"), "{message}");
    assert_eq!(container.traps().borrow().out_of_memory, 1);
    let Err(CallError::Trap(message)) = get(&container, "/handles").await else { panic!("it is refused") };
    assert!(message.contains("resource table has no free keys"), "{message}");
    assert_eq!(get(&container, "/").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stack_and_what_the_host_holds_are_limited() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let cases = [
        ("/recurse", "wasm trap: call stack exhausted"),
        ("/host-memory?random", "requested len 1073741824 exceeds limit 1048576"),
        ("/host-memory?write", "too much data"),
        ("/host-memory?headers", "total size of fields exceeds limit"),
    ];
    for (path, expected) in cases {
        let told = match get(&container, path).await {
            Ok(response) => text(response).await,
            Err(CallError::Trap(message)) => message,
            Err(other) => panic!("{path}: {other}"),
        };
        assert!(told.contains(expected), "{path}: {told}");
    }
    assert_eq!(get(&container, "/").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinning_guests_hold_up_nobody() {
    let node = Node::new();
    let spinning = Arc::new(node.start("unruly", |_| ()).await);
    let serving = node.start("hello", |_| ()).await;
    // More of them than threads.
    let spinners: Vec<_> = (0..6)
        .map(|i| {
            let (container, path) = (spinning.clone(), ["/spin", "/spin-late"][i % 2]);
            tokio::spawn(async move { text(get(&container, path).await.unwrap()).await })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(get(&serving, "/").await.unwrap().status(), 200);
    }
    for spinner in &spinners {
        assert!(!spinner.is_finished());
    }
    // Those who give up take their guests with them.
    spinners.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::timeout(DEADLINE, spinning.stop(Duration::ZERO)).await.expect("it stops");
    let _all = node.runtime.host.instances.acquire_many(node.runtime.live_instances()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_drains_then_cancels() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let stream = futures::stream::unfold(receiver, |mut receiver| async {
        Some((Ok(http_body::Frame::data(receiver.recv().await?)), receiver))
    });
    let mut open = ask(&container, request("/echo", StreamBody::new(stream).boxed_unsync())).await.unwrap();
    let reader = async {
        let rest = open.body_mut().collect().await.unwrap();
        assert_eq!(rest.to_bytes(), "last words");
    };
    let writer = async {
        // New requests are refused while the open one goes on, and come back whole.
        loop {
            match get(&container, "/").await {
                Err(CallError::Refused(request)) => break assert_eq!(request.uri(), "/"),
                other => assert_eq!(other.unwrap().status(), 200),
            }
            tokio::task::yield_now().await;
        }
        sender.send("last words".into()).await.unwrap();
        drop(sender);
    };
    tokio::join!(container.stop(DEADLINE), reader, writer);
    assert_eq!(end(&container).await, (0, Reason::Completed, String::new()));

    let container = node.start("unruly", |_| ()).await;
    let handler = container.handler().unwrap();
    let caller = Caller { addr: "127.0.0.1".parse().unwrap() };
    let spinner = tokio::spawn(handler.call(caller, request("/spin", empty_body())));
    while node.runtime.host.instances.available_permits() == node.runtime.live_instances() as usize {
        tokio::task::yield_now().await;
    }
    container.stop(Duration::ZERO).await;
    assert!(matches!(spinner.await.unwrap(), Err(CallError::Unavailable)));
    let (code, reason, _) = end(&container).await;
    assert_eq!((code, reason), (137, Reason::Error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_leave_nothing_for_those_after_them() {
    let node = Node::with(|config| config.live_instances = 1);
    let (a, b) = (node.start("unruly", |_| ()).await, node.start("unruly", |_| ()).await);
    for container in [&a, &b, &a, &b] {
        assert_eq!(text(get(container, "/canary").await.unwrap()).await, "0\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_of_handlers_is_logged_by_line() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    assert_eq!(text(get(&container, "/log").await.unwrap()).await, "logged\n");
    container.stop(DEADLINE).await;
    let log = node.log().await;
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["to stderr, no newline", "to stdout"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_only_slows_its_own_guest() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let (flooded, calm) = tokio::join!(get(&container, "/flood?20000"), get(&container, "/"));
    assert_eq!(flooded.unwrap().status(), 200);
    assert_eq!(calm.unwrap().status(), 200);
    container.stop(DEADLINE).await;
    assert_eq!(node.log().await.lines().count(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greeter_front_passes_on_what_back_says() {
    let node = Node::new();
    let env = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let front =
        node.start("greeter", |spec| spec.env = env(&[("POD_NAME", "front-0"), ("BACKEND", "back")])).await;
    let unreachable = get(&front, "/you").await.unwrap();
    assert_eq!(unreachable.status(), 502);
    let told = text(unreachable).await;
    assert!(told.starts_with("front-0 cannot reach back: "), "{told}");

    let back = node.start("greeter", |spec| spec.env = env(&[("POD_NAME", "back-0")])).await;
    node.network.hosts.lock().unwrap().insert("back".into(), back.handler().unwrap());
    let told = text(get(&front, "/you").await.unwrap()).await;
    assert_eq!(told, "front-0 says: good day from back-0 for /you\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outgoing_requests_go_through_the_network() {
    let node = Node::new();
    let front = node.start("unruly", |_| ()).await;
    let back = node.start("hello", |spec| spec.env = vec![("POD_NAME".into(), "back-0".into())]).await;
    node.network.hosts.lock().unwrap().insert("back.ns".into(), back.handler().unwrap());
    let fetch = |target: &'static str| async { text(get(&front, target).await.unwrap()).await };
    assert_eq!(fetch("/fetch?back.ns/x").await, "200 Ok(36) Hello from back-0! You asked for /x\n");
    let streaming = node.start("unruly", |_| ()).await;
    node.network.hosts.lock().unwrap().insert("stream.ns".into(), streaming.handler().unwrap());
    let told = fetch("/fetch?stream.ns/large?300000").await;
    assert!(told.starts_with("200 Ok(300000) x"), "{} bytes", told.len());
    let told = fetch("/fetch?elsewhere.example/").await;
    assert!(told.contains("NXDOMAIN"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_instances_wait_for_one() {
    let node = Node::with(|config| config.live_instances = 2);
    let container = node.start("hello", |_| ()).await;
    let answers = futures::future::join_all((0..50).map(|_| get(&container, "/"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 200);
    }
}
