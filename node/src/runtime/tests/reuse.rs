//! Instances that answer more than one request.

use super::*;

fn reuse(requests: u32, at_a_time: u32) -> impl FnOnce(&mut ContainerSpec) {
    let idle = DEADLINE;
    move |spec| spec.instances = Instances::Reused(Reuse { requests, at_a_time, idle })
}

/// How many requests the answering instance has had before.
async fn count(container: &Container) -> String {
    text(get(container, "/count").await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_answers_as_many_requests_as_it_may() {
    let node = Node::new();
    let container = node.start("unruly", reuse(3, 1)).await;
    // The next request may come before the last one's guest is quite done, and then finds another instance.
    let mut counts = Vec::new();
    for _ in 0..50 {
        counts.push(count(&container).await);
    }
    assert!(counts.iter().all(|count| ["0\n", "1\n", "2\n"].contains(&count.as_str())), "{counts:?}");
    assert!(counts.iter().filter(|count| *count == "0\n").count() < 40, "{counts:?}");
    let fresh = node.start("unruly", |_| ()).await;
    assert_eq!((count(&fresh).await, count(&fresh).await), ("0\n".into(), "0\n".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_the_same_time_have_instances_of_their_own() {
    let node = Node::new();
    let container = node.start("unruly", reuse(1000, 1)).await;
    let answers = futures::future::join_all((0..200).map(|_| get(&container, "/count"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 200);
    }
    container.stop(DEADLINE).await;
    assert_eq!(end(&container).await, (0, Reason::Completed, String::new()));
    let _all = node.runtime.host.instances.acquire_many(node.runtime.live_instances()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_takes_its_instance_with_it() {
    let node = Node::new();
    let container = node.start("unruly", reuse(1000, 4)).await;
    let Err(CallError::Trap(message)) = get(&container, "/trap").await else { panic!("it traps") };
    assert!(message.starts_with("wasm trap: wasm `unreachable` instruction executed\n"), "{message}");
    assert_eq!(container.traps().borrow().total, 1);
    assert_eq!(count(&container).await, "0\n");

    let response = get(&container, "/trap-later").await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert!(matches!(get(&container, "/silent").await, Err(CallError::NoResponse)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_spins_after_its_caller_has_gone_is_ended() {
    let node = Node::new();
    let container = Arc::new(node.start("unruly", reuse(1000, 1)).await);
    let asked = container.clone();
    let spinner = tokio::spawn(async move { get(&asked, "/spin").await.map(drop) });
    while container.cpu_time() < Duration::from_millis(20) {
        tokio::task::yield_now().await;
    }
    spinner.abort();
    let all = node.runtime.host.instances.acquire_many(node.runtime.live_instances());
    drop(tokio::time::timeout(DEADLINE, all).await.expect("its instance is free again").unwrap());
    assert_eq!(count(&container).await, "0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_instances_give_way_to_those_who_need_one() {
    let node = Node::with(|config| config.live_instances = 2);
    let keeping = node.start("unruly", reuse(1000, 1)).await;
    let answers = futures::future::join_all((0..2).map(|_| get(&keeping, "/large?100000"))).await;
    for answer in answers {
        assert_eq!(text(answer.unwrap()).await.len(), 100_000);
    }
    let other = node.start("hello", |_| ()).await;
    assert_eq!(get(&other, "/").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_refused_memory_is_not_used_again() {
    let node = Node::new();
    let container = node
        .start("unruly", |spec| {
            reuse(1000, 1)(spec);
            spec.memory_limit_bytes = Some(16 << 20);
        })
        .await;
    assert_eq!(text(get(&container, "/refused").await.unwrap()).await, "refused\n");
    assert_eq!(count(&container).await, "0\n");
}
