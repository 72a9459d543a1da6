//! A watch moves between members at its `resourceVersion`, whatever becomes of them, and sees every change once and in
//! order; whoever is too far behind is told so.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::Command;

use futures::TryStreamExt as _;
use isopod_tests::client::client;
use isopod_tests::control_plane::{ControlPlane, Server};
use isopod_tests::observer::{Observer, revision_of};
use isopod_tests::run;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use tokio::runtime::Runtime;

use super::history::History;

#[test]
fn watches_go_on_elsewhere_over_kills_and_restarts_and_see_every_change_once() {
    let mut plane = ControlPlane::start(3);
    let from = newest(&plane.servers[0]);
    let history = History::begin(&plane.servers);
    let mut kubeconfigs: Vec<_> = plane.servers.iter().map(Server::kubeconfig).collect();
    let mut others = Vec::new();
    for _ in 0..2 {
        kubeconfigs.rotate_left(1);
        others.push(Observer::start(history.runtime(), kubeconfigs.clone(), from));
    }
    for round in 0..4 {
        let leader = plane.leader();
        // One of them dies, another one is asked to stop: at times the same.
        let (killed, stopped) = (leader, (leader + round) % 3);
        plane.servers[killed].kill();
        history.await_writes();
        plane.servers[killed].restart(&[]);
        plane.servers[killed].await_voters(3);
        terminate(&mut plane.servers[stopped]);
        history.await_writes();
        plane.servers[stopped].restart(&[]);
        plane.servers[stopped].await_voters(3);
    }
    let seen = history.end();
    assert!(seen.moves > 3, "it was moved {} times", seen.moves);
    for other in others {
        let other = other.end_at(seen.revision);
        assert_eq!(other.compacted, 0);
        let changes: Vec<_> = other.changes.iter().filter(|change| change.revision > from).collect();
        assert_eq!(changes, seen.changes.iter().collect::<Vec<_>>(), "all watches see the same");
    }
}

/// A watch may be as slow as it likes while the history is kept. The history is bounded by its size too, so that large
/// objects are forgotten soon.
#[test]
fn a_watch_that_is_too_slow_is_told_that_its_place_is_gone_and_begins_anew_elsewhere() {
    let plane = ControlPlane::start(3);
    let runtime = Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let mut members = Vec::new();
        for server in &plane.servers {
            members.push(Api::<ConfigMap>::namespaced(client(&server.kubeconfig()).await, "default"));
        }
        let mut from = 0;
        for object in 0..OBJECTS {
            let created = members[0].create(&PostParams::default(), &large(object, 1, 1)).await;
            from = revision_of(&created.expect("it is created"));
        }
        // This one begins in time, and takes nothing for a while.
        let slow = watch(&members[1], from).await.expect("its place is there");
        let written = write_until_gone(&members, from).await;
        let place = drain(slow, from, written).await;
        assert!(is_gone(&members[2], place).await, "what it has not seen is not there any more");

        // It reads everything on another member, and goes on from there on a third.
        let list = members[2].list(&ListParams::default()).await.expect("a list is answered");
        let version = list.metadata.resource_version.expect("a list has a version");
        let numbers = list.items.iter().filter_map(number_of);
        assert_eq!(numbers.collect::<Vec<_>>(), [written; OBJECTS]);
        let place = version.parse().expect("a number");
        let mut again = pin!(watch(&members[0], place).await.expect("its place is there"));
        replace(&members[1], 0, written + 1).await;
        let event = again.try_next().await.expect("it goes on").expect("there is a change");
        let WatchEvent::Modified(object) = event else { panic!("{event:?} was not asked for") };
        assert_eq!(number_of(&object), Some(written + 1));
    });
}

/// Large objects, written side by side.
const OBJECTS: usize = 8;

/// Of one of them: nearly as large as a ConfigMap may be.
const LARGE_BYTES: usize = 1000 << 10;

/// Rounds of writes after the history has forgotten the first: more than the kernel keeps for a client that takes
/// nothing, which may be some 40 MB.
const ROUNDS_MORE: u64 = 12;

/// Takes what there is of a watch, which must have no gap and must end before the last change; returns how far it came.
async fn drain(
    slow: impl futures::Stream<Item = kube::Result<WatchEvent<ConfigMap>>>,
    from: u64,
    written: u64,
) -> u64 {
    let (mut slow, mut place, mut seen) = (pin!(slow), from, BTreeMap::new());
    loop {
        match slow.try_next().await {
            Ok(Some(WatchEvent::Modified(object))) => {
                let next = seen.entry(object.metadata.name.clone()).or_insert(1);
                *next += 1;
                assert_eq!(number_of(&object), Some(*next), "there is no gap");
                place = revision_of(&object);
            }
            Ok(Some(WatchEvent::Bookmark(_))) => {}
            Ok(Some(WatchEvent::Error(status))) => {
                assert_eq!(status.code, 410, "{status:?}");
                break;
            }
            Ok(Some(other)) => panic!("{other:?} was not asked for"),
            // It is to come again, and is told then.
            Ok(None) | Err(_) => break,
        }
    }
    assert!(
        seen.values().any(|seen| *seen < written),
        "it saw {seen:?} of {written}, also what was forgotten"
    );
    place
}

async fn watch(
    api: &Api<ConfigMap>,
    from: u64,
) -> Result<impl futures::Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + use<>, kube::Error> {
    api.watch(&WatchParams::default().labels("large=yes").timeout(60), &from.to_string()).await
}

/// Writes until no member has the history after `from`, and some more; returns the number of the last round.
async fn write_until_gone(members: &[Api<ConfigMap>], from: u64) -> u64 {
    let mut last = u64::MAX;
    for round in 2..40 {
        let writes = (0..OBJECTS).map(|object| replace(&members[object % members.len()], object, round));
        futures::future::join_all(writes).await;
        let mut gone = 0;
        for api in members {
            gone += usize::from(last == u64::MAX && is_gone(api, from).await);
        }
        if gone == members.len() {
            last = round + ROUNDS_MORE;
        }
        if round == last {
            return round;
        }
    }
    panic!("so many large writes are still remembered");
}

async fn is_gone(api: &Api<ConfigMap>, from: u64) -> bool {
    let events = match watch(api, from).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) => return status.code == 410,
        Err(error) => panic!("{error}"),
    };
    let mut events = pin!(events);
    matches!(events.try_next().await, Ok(Some(WatchEvent::Error(status))) if status.code == 410)
}

async fn replace(api: &Api<ConfigMap>, object: usize, number: u64) {
    let wanted = large(object, number, LARGE_BYTES);
    let name = wanted.metadata.name.clone().unwrap_or_default();
    api.replace(&name, &PostParams::default(), &wanted).await.expect("it is written");
}

fn large(object: usize, number: u64, bytes: usize) -> ConfigMap {
    let mut large = ConfigMap::default();
    large.metadata.name = Some(format!("large-{object}"));
    large.metadata.labels = Some(BTreeMap::from([("large".to_owned(), "yes".to_owned())]));
    let data = [("number".to_owned(), number.to_string()), ("ballast".to_owned(), "x".repeat(bytes))];
    large.data = Some(BTreeMap::from(data));
    large
}

fn number_of(object: &ConfigMap) -> Option<u64> {
    object.data.as_ref()?.get("number")?.parse().ok()
}

/// The newest `resourceVersion` that a member knows.
fn newest(server: &Server) -> u64 {
    let list = server.kubectl(&["get", "--raw", "/api/v1/namespaces/default/configmaps"]).ok();
    let list: serde_json::Value = serde_json::from_str(&list).expect("a list is JSON");
    let version = list["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
    version.expect("a list has a version")
}

/// SIGTERM, and waits for the end.
fn terminate(server: &mut Server) {
    run(Command::new("kill").args(["-TERM", &server.pid().to_string()]), "").ok();
    assert!(server.ended(), "it was asked to stop: {}", server.log());
}
