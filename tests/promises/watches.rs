//! A watch moves between members at its `resourceVersion`, whatever becomes of them, and sees every change once and in
//! order.

use std::process::Command;

use isopod_tests::control_plane::{ControlPlane, Server};
use isopod_tests::observer::Observer;
use isopod_tests::run;

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
