//! Components of WASI 0.3, and configuration.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_wasi_0_3_answers_fresh_and_reused() {
    let node = Node::new();
    let fresh = node.start("service3", |spec| spec.env = vec![("A".into(), "1".into())]).await;
    assert_eq!(
        text(get(&fresh, "/request?x").await.unwrap()).await,
        "Some(Scheme::Http) Some(\"web.ns\") /request?x [(\"A\", \"1\")] [\"service3\"]\n"
    );
    for _ in 0..3 {
        assert_eq!(text(get(&fresh, "/count").await.unwrap()).await, "0\n");
    }
    let reused = node
        .start("service3", |spec| {
            spec.instances = Instances::Reused(Reuse { requests: 3, at_a_time: 2, idle: DEADLINE });
        })
        .await;
    let mut again = 0;
    for _ in 0..50 {
        let before: u32 = text(get(&reused, "/count").await.unwrap()).await.trim().parse().unwrap();
        assert!(before < 3, "{before} requests before this one");
        again += u32::from(before > 0);
    }
    assert!(again > 10, "{again} of 50 were not the first");
    for container in [&fresh, &reused] {
        let Err(CallError::Trap(message)) = get(container, "/trap").await else { panic!("it traps") };
        assert!(message.starts_with("wasm trap: wasm `unreachable` instruction executed\n"), "{message}");
        assert!(matches!(get(container, "/fail").await, Err(CallError::NoResponse)));
        assert_eq!(text(get(container, "/").await.unwrap()).await, "calm\n");
        container.stop(DEADLINE).await;
    }
    let _all = node.runtime.host.instances.acquire_many(node.runtime.live_instances()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_trailers_pass_through_a_service_of_wasi_0_3() {
    let node = Node::new();
    let container = node.start("service3", |_| ()).await;
    let sent = "x".repeat(3 << 20);
    let mut trailers = ::http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let with_trailers =
        full_body(sent.clone()).with_trailers(std::future::ready(Some(Ok(trailers.clone())))).boxed_unsync();
    let response = ask(&container, request("/echo", with_trailers)).await.unwrap();
    let collected = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert!(collected.to_bytes() == sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_wasi_0_3_reaches_the_names_of_the_cluster_alone() {
    let node = Node::new();
    let front = node.start("service3", |_| ()).await;
    let back = node.start("hello", |spec| spec.env = vec![("POD_NAME".into(), "back-0".into())]).await;
    node.network.hosts.lock().unwrap().insert("back.ns".into(), back.handler().unwrap());
    let told = |path: &'static str| async { text(get(&front, path).await.unwrap()).await };
    assert_eq!(told("/fetch?back.ns").await, "200 Hello from back-0! You asked for /x\n");
    let elsewhere = told("/fetch?elsewhere.example").await;
    assert!(elsewhere.contains("NXDOMAIN"), "{elsewhere}");
    // A body that is still being written comes from a guest that must run beside this one.
    node.network.hosts.lock().unwrap().insert("chain.ns".into(), front.handler().unwrap());
    let chained = told("/fetch?chain.ns").await;
    assert_eq!(chained, "200 calm\n");
    let found = told("/lookup?back.ns").await;
    assert!(found.contains("127, 43, 0, 9") && found.contains("127, 43, 0, 10"), "{found}");
    let not_found = told("/lookup?localhost").await;
    assert!(not_found.contains("NameUnresolvable"), "{not_found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_of_wasi_0_3_runs_to_its_end() {
    let cases: &[(&[&str], i32, Reason, &str)] = &[
        (&[], 0, Reason::Completed, "[\"command3\"] [(\"A\", \"1\")]\n"),
        (&["exit", "3"], 3, Reason::Error, "[\"command3\", \"exit\", \"3\"] [(\"A\", \"1\")]\n"),
        (&["fail"], 1, Reason::Error, "[\"command3\", \"fail\"] [(\"A\", \"1\")]\n"),
        (&["trap"], 134, Reason::Error, "[\"command3\", \"trap\"] [(\"A\", \"1\")]\n"),
        (&["list"], 0, Reason::Completed, "[\"command3\", \"list\"] [(\"A\", \"1\")]\n/data\n"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (args, code, reason, log) in cases {
        let node = Node::new();
        let mount = Mount {
            host_path: dir.path().into(),
            guest_path: "/data".into(),
            access: Access::ReadOnly,
            held: None,
        };
        let container = node
            .start("command3", |spec| {
                spec.args = args.iter().map(ToString::to_string).collect();
                spec.env = vec![("A".into(), "1".into())];
                spec.mounts = vec![mount];
            })
            .await;
        let (ended, why, _) = end(&container).await;
        assert_eq!((ended, why, node.log().await), (*code, *reason, (*log).to_owned()), "{args:?}");
    }
    let node = Node::new();
    let spinning = node.start("command3", |spec| spec.args = vec!["spin".into()]).await;
    tokio::time::timeout(DEADLINE, spinning.stop(DEADLINE)).await.expect("it stops");
    assert_eq!(end(&spinning).await.0, 143);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_is_what_the_pod_was_given() {
    let node = Node::new();
    let container = node
        .start("unruly", |spec| spec.config = vec![("b".into(), "2".into()), ("a".into(), "1".into())])
        .await;
    let told = text(get(&container, "/config?b").await.unwrap()).await;
    assert_eq!(told, "[(\"a\", \"1\"), (\"b\", \"2\")] Ok(Some(\"2\"))\n");
    let without = node.start("unruly", |_| ()).await;
    assert_eq!(text(get(&without, "/config?b").await.unwrap()).await, "[] Ok(None)\n");
}
