//! Containers that are processes.

use super::*;

/// Runs the tool to its end: exit code, reason, and what it wrote.
async fn run(args: &[&str], change: impl FnOnce(&mut ContainerSpec)) -> (i32, Reason, String, String) {
    let node = Node::new();
    let container = node
        .start("tool", |spec| {
            spec.args = args.iter().map(ToString::to_string).collect();
            change(spec);
        })
        .await;
    let (code, reason, message) = end(&container).await;
    (code, reason, message, node.log().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_end_with_their_exit_code() {
    let cases: &[(&[&str], i32, Reason, &str)] = &[
        (&[], 0, Reason::Completed, "nothing to do\n"),
        (&["exit", "0"], 0, Reason::Completed, ""),
        (&["exit", "3"], 3, Reason::Error, ""),
        (&["fail"], 1, Reason::Error, ""),
        (&["args", "a b", "$c"], 0, Reason::Completed, "[\"tool\", \"args\", \"a b\", \"$c\"]\n"),
        (&["stdin"], 0, Reason::Completed, "Ok(\"\")\n"),
    ];
    for (args, code, reason, log) in cases {
        let ended = run(args, |_| ()).await;
        assert_eq!(ended, (*code, *reason, String::new(), (*log).to_owned()), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environment_is_what_the_spec_gives() {
    let (.., log) = run(&["env"], |spec| {
        spec.env = vec![("B".into(), "2".into()), ("A".into(), "x=y".into())];
    })
    .await;
    assert_eq!(log, "B=2\nA=x=y\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_told_with_its_frames() {
    let (code, reason, message, log) = run(&["trap"], |_| ()).await;
    assert_eq!((code, reason), (134, Reason::Error));
    let mut lines = message.lines();
    assert_eq!(lines.next(), Some("wasm trap: wasm `unreachable` instruction executed"));
    assert!(message.contains("tool.wasm!wasi:cli/run@0.2.12#run"), "{message}");
    assert!(log.contains("as asked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_beyond_the_limit_ends_in_oom_killed() {
    for args in [["hog"], ["hog-gently"]] {
        let (code, reason, _, _) = run(&args, |spec| spec.memory_limit_bytes = Some(16 << 20)).await;
        assert_eq!((code, reason), (137, Reason::OomKilled), "{args:?}");
    }
    // Not even enough to begin.
    let (code, reason, _, _) = run(&[], |spec| spec.memory_limit_bytes = Some(64 << 10)).await;
    assert_eq!((code, reason), (137, Reason::OomKilled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_of_a_flood_is_lost() {
    let (code, _, _, log) = run(&["flood", "20000"], |_| ()).await;
    assert_eq!(code, 0);
    let expected: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    assert!(log == expected, "{} bytes of {}", log.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_those_of_the_mounts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("greeting"), "hello\n").unwrap();
    let mounts = |access| {
        let mount = Mount { host_path: dir.path().into(), guest_path: "/data".into(), access, held: None };
        |spec: &mut ContainerSpec| spec.mounts = vec![mount]
    };
    let (.., log) = run(&["cat", "/data/greeting"], mounts(Access::ReadOnly)).await;
    assert_eq!(log, "hello\n");
    let (.., log) = run(&["list", "/data"], mounts(Access::ReadOnly)).await;
    assert_eq!(log, "[\"greeting\"]\n");
    let (.., log) = run(&["write", "/data/greeting"], mounts(Access::ReadOnly)).await;
    assert!(log.starts_with("Err("), "{log}");
    assert_eq!(std::fs::read_to_string(dir.path().join("greeting")).unwrap(), "hello\n");
    let (.., log) = run(&["write", "/data/greeting"], mounts(Access::ReadWrite)).await;
    assert_eq!(log, "Ok(())\n");
    assert_eq!(std::fs::read_to_string(dir.path().join("greeting")).unwrap(), "written\n");
    for path in ["/data/../etc/passwd", "/etc/passwd", "/"] {
        let (.., log) = run(&["cat", path], mounts(Access::ReadWrite)).await;
        assert!(!log.contains("root"), "{path}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_is_not_there_fails_the_start() {
    let (code, reason, message, _) = run(&[], |spec| {
        let host_path = "/nonexistent/folder".into();
        let (guest_path, access) = ("/data".into(), Access::ReadOnly);
        spec.mounts = vec![Mount { host_path, guest_path, access, held: None }];
    })
    .await;
    assert_eq!((code, reason), (128, Reason::Error));
    assert!(message.starts_with("cannot open /nonexistent/folder"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_those_of_the_cluster_and_sockets_are_closed() {
    let cases = [
        (["lookup", "back.ns"], "IpAddress::Ipv4((127, 43, 0, 9)) IpAddress::Ipv4((127, 43, 0, 10))\n"),
        (["lookup", "localhost"], "name-unresolvable"),
        (["lookup", "127.43.0.9"], "IpAddress::Ipv4((127, 43, 0, 9))\n"),
        (["connect", "127.0.0.1:9"], "no socket: access-denied"),
    ];
    for (args, expected) in cases {
        let (.., log) = run(&args, |_| ()).await;
        assert!(log.starts_with(expected), "{args:?}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_command_ends_whether_it_spins_or_waits() {
    for args in ["spin", "sleep"] {
        let node = Node::new();
        let container = node.start("tool", |spec| spec.args = vec![args.into()]).await;
        tokio::time::timeout(DEADLINE, container.stop(DEADLINE)).await.expect("it stops");
        assert_eq!(end(&container).await, (143, Reason::Error, "stopped".into()), "{args}");
        // All instances are free again.
        let all = node.runtime.live_instances();
        let _all = node.runtime.host.instances.acquire_many(all).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processor_time_is_held_to_the_limit() {
    let node = Node::new();
    let container = node
        .start("tool", |spec| {
            spec.args = vec!["spin".into()];
            spec.cpu_limit_millis = Some(100);
        })
        .await;
    let start = std::time::Instant::now();
    // What the first period grants at once is 10 ms; the rest comes at a tenth of a core.
    while container.cpu_time() < Duration::from_millis(60) {
        assert!(start.elapsed() < DEADLINE, "it never gets its time");
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    container.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_module_runs_as_a_command() {
    let node = Node::new();
    let container = node.start("batch-core", |spec| spec.args = vec!["2".into(), "7".into()]).await;
    assert_eq!(end(&container).await, (7, Reason::Error, String::new()));
    assert_eq!(node.log().await, "step 1 of 2\nstep 2 of 2\nfailing with code 7, as asked\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_needs_a_free_instance() {
    let node = Node::with(|config| config.live_instances = 1);
    let first = node.start("tool", |spec| spec.args = vec!["sleep".into()]).await;
    let spec = ContainerSpec {
        pod: pod(),
        name: "second".into(),
        artifact: node.artifact("tool").await,
        args: vec![],
        env: vec![],
        mounts: vec![],
        memory_limit_bytes: None,
        cpu_limit_millis: None,
        config: vec![],
        instances: Instances::Fresh,
        logs: node.logs.open(&pod_ref(), "d", 0),
    };
    let refused = node.runtime.start(spec, node.network.clone()).unwrap_err();
    assert_eq!(refused.to_string(), "all 1 instances of this node are in use");
    first.stop(Duration::ZERO).await;
}
