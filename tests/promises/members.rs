//! A control plane of several members: joining, losing the leader, changing who takes part, going on after losses.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isopod_tests::control_plane::{Begin, ControlPlane, Server};
use isopod_tests::eventually;

/// Creates ConfigMaps one after the other through the members in turn; remembers which were acknowledged.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writer: std::thread::JoinHandle<Vec<String>>,
}

impl Load {
    /// Every write goes to the next of these kubeconfigs that takes it, as a client with several addresses does.
    pub(crate) fn start(names: &'static str, kubeconfigs: Vec<PathBuf>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if asked.load(Ordering::Relaxed) {
                    break;
                }
                let name = format!("{names}-{number}");
                let kubeconfig = &kubeconfigs[number % kubeconfigs.len()];
                let mut kubectl = Command::new(isopod_tests::command::tool("kubectl"));
                kubectl.env("KUBECONFIG", kubeconfig).args(["create", "configmap", &name]);
                kubectl.env("KUBECACHEDIR", kubeconfig.with_file_name("load-cache"));
                if isopod_tests::run(&mut kubectl, "").success {
                    acknowledged.push(format!("configmap/{name}"));
                }
            }
            acknowledged
        });
        Load { stop, writer }
    }

    /// What was acknowledged.
    pub(crate) fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().expect("the writer does not panic")
    }
}

fn config_maps(server: &Server) -> BTreeSet<String> {
    server.kubectl(&["get", "configmaps", "-o", "name"]).ok().lines().map(str::to_owned).collect()
}

#[track_caller]
pub(crate) fn assert_kept(server: &Server, acknowledged: &[String]) {
    assert!(!acknowledged.is_empty());
    let kept = config_maps(server);
    let lost: Vec<_> = acknowledged.iter().filter(|name| !kept.contains(*name)).collect();
    assert!(lost.is_empty(), "acknowledged and gone at {}: {lost:?}", server.name());
}

#[test]
fn every_member_serves_reads_writes_and_watches() {
    let plane = ControlPlane::start(3);
    let [one, two, three] = &plane.servers[..] else { panic!("three were started") };
    let mut watch = three
        .kubectl_command()
        .args(["get", "configmaps", "--watch-only", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    for (index, server) in plane.servers.iter().enumerate() {
        server.kubectl(&["create", "configmap", &format!("from-{index}")]).ok();
        // What a member acknowledged can be read from it at once.
        server.kubectl(&["get", "configmap", &format!("from-{index}")]).ok();
    }
    one.kubectl(&["create", "configmap", "last"]).ok();
    let stdout = watch.stdout.take().expect("standard output is piped");
    // Whether the watch began before the first write is not known; the last it must see.
    isopod_tests::control_plane::read_until(stdout, |text| {
        text.contains("configmap/last\n") || text.contains("configmap/from-2\n")
    });
    watch.kill().and_then(|()| watch.wait()).expect("kubectl can be ended");
    eventually("all members have all", || {
        let missing = plane.servers.iter().find(|server| config_maps(server).len() != 5);
        missing.map_or(Ok(()), |server| Err(format!("{} has {:?}", server.name(), config_maps(server))))
    });
    // Controllers run somewhere, whoever is asked.
    two.kubectl(&["create", "deployment", "d", "--image=registry.local/none:v1"]).ok();
    eventually("the deployment has a pod", || {
        let pods = three.kubectl(&["get", "pods", "-o", "name"]).ok();
        if pods.lines().count() == 1 { Ok(()) } else { Err(pods) }
    });
    let list = two.isopod(&["member", "list"]).ok();
    assert_eq!(list.matches("voter").count(), 3, "{list}");
    assert_eq!(list.matches("yes").count(), 1, "{list}");
    let metrics = one.kubectl(&["get", "--raw", "/metrics"]).ok();
    assert!(metrics.contains("isopod_peer_connected{member=\"2\"} 1"), "{metrics}");
    assert!(one.members().iter().any(|member| member["link"]["connected"] == true));
}

#[test]
fn an_artifact_that_was_pushed_to_one_member_outlives_it() {
    let mut plane = ControlPlane::start(3);
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/hello/hello.wasm");
    plane.servers[0].isopod(&["push", hello, "registry.local/hello:v1"]).ok();
    plane.servers[0].kill();
    let size = std::fs::metadata(hello).expect("the sample is built").len();
    for server in &plane.servers[1..] {
        let manifest = server.kubectl(&["get", "--raw", "/v2/hello/manifests/v1"]).ok();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
        let digest = manifest["layers"][0]["digest"].as_str().expect("a manifest has layers");
        let blob =
            server.kubectl_command().args(["get", "--raw", &format!("/v2/hello/blobs/{digest}")]).output();
        assert_eq!(blob.expect("kubectl runs").stdout.len() as u64, size, "at {}", server.name());
    }
}

#[test]
fn a_cluster_grows_under_load_and_loses_nothing_when_its_leader_is_killed() {
    let mut plane = ControlPlane::start(1);
    let load = Load::start("growing", vec![plane.servers[0].kubeconfig()]);
    plane.grow();
    plane.grow();
    let acknowledged = load.end();
    for server in &plane.servers {
        server.kubectl(&["create", "configmap", &format!("all-{}", server.name())]).ok();
        assert_kept(server, &acknowledged);
    }

    let leader = plane.leader();
    let others: Vec<_> = plane
        .servers
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != leader)
        .map(|(_, s)| s.kubeconfig())
        .collect();
    let load = Load::start("failing", others);
    plane.servers[leader].kill();
    let next = eventually("another member leads", || match plane.leader() {
        next if next != leader => Ok(next),
        _ => Err("those that are left do not know of the loss yet".to_owned()),
    });
    plane.servers[next].kubectl(&["create", "configmap", "after-the-kill"]).ok();
    plane.servers[leader].restart(&[]);
    plane.servers[next].await_voters(3);
    let acknowledged = load.end();
    plane.servers[leader].kubectl(&["create", "configmap", "back"]).ok();
    for server in &plane.servers {
        assert_kept(server, &acknowledged);
    }
}

#[test]
fn leadership_is_handed_over_and_members_are_removed() {
    let mut plane = ControlPlane::start(3);
    let leader = plane.leader();
    let other = plane.servers[(leader + 1) % 3].name();
    let said = plane.servers[leader].isopod(&["member", "transfer-leader", &other]).ok();
    assert!(said.contains(&format!("({other}) leads")), "{said}");
    let leader = plane.leader();
    assert_eq!(plane.servers[leader].name(), other);

    // The leader itself: it hands over, is taken out, and ends with an error that says so.
    let asked = &plane.servers[(leader + 1) % 3];
    let outcome = asked.isopod(&["member", "remove", &other]);
    assert!(outcome.stderr.contains("2 voting members survive the loss of 0"), "{}", outcome.stderr);
    outcome.ok();
    assert!(!plane.servers[leader].ended());
    let log = plane.servers[leader].log();
    assert!(log.contains("was removed from the cluster"), "{log}");
    let removed = plane.servers.remove(leader);
    plane.servers[0].await_voters(2);

    // It does not come back with what it has.
    let error = Server::start(removed.data_dir(), &Begin::Again(Vec::new()));
    if let Ok(mut server) = error {
        assert!(!server.ended());
    }
    // Its number is not used again, its place is.
    plane.grow();
    let ids: Vec<_> = plane.servers[0].members().iter().map(|member| member["id"].as_u64()).collect();
    assert!(ids.contains(&Some(4)), "{ids:?}");
    let error = plane.servers[0].isopod(&["member", "remove", "nobody"]).err();
    assert!(error.contains("no member has the name or number \"nobody\""), "{error}");
}

#[test]
fn the_last_member_and_a_quorum_cannot_be_removed() {
    let mut plane = ControlPlane::start(1);
    let error = plane.servers[0].isopod(&["member", "remove", "1"]).err();
    assert!(error.contains("member 1 is the last voter"), "{error}");
    plane.grow();
    plane.grow();
    plane.servers[2].kill();
    let name = plane.servers[2].name();
    eventually("the loss is noticed", || {
        let silent = plane.servers[0].members().into_iter().find(|member| member["state"] == "silent");
        silent.map(drop).ok_or_else(|| "not yet".to_owned())
    });
    let error = plane.servers[0].isopod(&["member", "remove", "2"]).err();
    assert!(error.contains(&format!("would not answer ({name})")), "{error}");
    plane.servers[0].isopod(&["member", "remove", &name]).ok();
    plane.servers[0].await_voters(2);
}

#[test]
fn whoever_may_not_join_is_told_why_and_harms_nothing() {
    let plane = ControlPlane::start(1);
    let founder = &plane.servers[0];
    let (api, dir) = (founder.api(), plane.new_dir());
    let refused = |begin: Begin| {
        let error = Server::start(&dir, &begin).map(|server| server.name()).expect_err("it is refused");
        assert!(!dir.exists(), "a start that failed leaves nothing behind");
        error
    };
    let join = |server: &str, token: &str| Begin::Join(server.to_owned(), token.to_owned());

    let error = refused(Begin::Again(Vec::new()));
    assert!(error.contains("--init") && error.contains("--join"), "{error}");
    let error = refused(join(&api, "nonsense"));
    assert!(error.contains("isopod token create"), "{error}");
    let token = founder.token();
    let (id, rest) = token.split_once('.').expect("a token has dots");
    let hash = rest.split_once('.').expect("a token has two dots").1;
    let error = refused(join(&api, &format!("{id}.aaaaaaaaaaaaaaaa.{hash}")));
    assert!(error.contains("does not know the token"), "{error}");
    let node = founder.isopod(&["token", "create", "--role", "node"]).ok();
    let error = refused(join(&api, node.trim()));
    assert!(error.contains("not for a server"), "{error}");
    let short = founder.isopod(&["token", "create", "--role", "server", "--ttl", "1s"]).ok();
    eventually("the token expires", || {
        let list = founder.isopod(&["token", "list"]).ok();
        if list.contains("(expired)") { Ok(()) } else { Err(list) }
    });
    let error = refused(join(&api, short.trim()));
    assert!(error.contains("expired at"), "{error}");
    let error = refused(join("no-such-host.invalid:6443", &token));
    assert!(error.contains("cannot resolve no-such-host.invalid:6443"), "{error}");
    let error = refused(join("127.0.0.1:1", &token));
    assert!(error.contains("cannot connect to 127.0.0.1:1"), "{error}");

    let stranger = ControlPlane::start(1);
    let error = refused(join(&api, &stranger.servers[0].token()));
    assert!(error.contains("does not belong to the cluster that the token is for"), "{error}");

    // After all that the token is as good as new, once.
    let joined = Server::start(&dir, &join(&api, &token)).expect("it joins");
    founder.await_voters(2);
    let error = Server::start(&plane.new_dir(), &join(&api, &token)).map(|server| server.name());
    assert!(error.as_ref().is_err_and(|error| error.contains("used up")), "{error:?}");
    assert_eq!(founder.members().len(), 2);
    drop(joined);
}

#[test]
fn a_member_that_lost_its_store_is_sent_everything_again() {
    let mut plane = ControlPlane::start(3);
    plane.servers[0].kubectl(&["create", "configmap", "kept"]).ok();
    let lost = (plane.leader() + 1) % 3;
    let asked = (lost + 1) % 3;
    plane.servers[lost].kill();
    std::fs::remove_dir_all(plane.servers[lost].data_dir().join("store")).expect("the store is there");
    plane.servers[lost].restart(&[]);
    plane.servers[asked].await_voters(3);
    plane.servers[lost].kubectl(&["get", "configmap", "kept"]).ok();

    // The founder too, which must not found another cluster.
    plane.servers[0].kill();
    std::fs::remove_dir_all(plane.servers[0].data_dir().join("store")).expect("the store is there");
    plane.servers[0].restart(&["--init"]);
    plane.servers[1].await_voters(3);
    plane.servers[0].kubectl(&["get", "configmap", "kept"]).ok();
}

#[test]
fn a_member_whose_folder_is_gone_joins_anew() {
    let mut plane = ControlPlane::start(3);
    let lost = (plane.leader() + 1) % 3;
    let asked = (lost + 1) % 3;
    let (name, dir) = (plane.servers[lost].name(), plane.servers[lost].data_dir().to_owned());
    plane.servers[lost].kill();
    std::fs::remove_dir_all(&dir).expect("the folder is there");
    eventually("the loss is noticed", || {
        let members = plane.servers[asked].members();
        if members.iter().any(|m| m["state"] == "silent") { Ok(()) } else { Err(format!("{members:?}")) }
    });
    plane.servers[asked].isopod(&["member", "remove", &name]).ok();
    let begin = Begin::Join(plane.servers[asked].api(), plane.servers[asked].token());
    plane.servers[lost] = Server::start(&dir, &begin).expect("it joins");
    plane.servers[asked].await_voters(3);
}

#[test]
fn a_lost_quorum_is_recovered_from_one_member() {
    let mut plane = ControlPlane::start(3);
    plane.servers[1].kubectl(&["create", "configmap", "kept"]).ok();
    plane.servers[0].kubectl(&["get", "configmap", "kept"]).ok();
    plane.servers.iter_mut().for_each(Server::kill);
    plane.servers.truncate(1);
    plane.servers[0].restart(&["--force-new-cluster"]);
    plane.servers[0].await_voters(1);
    plane.servers[0].kubectl(&["get", "configmap", "kept"]).ok();
    plane.servers[0].kubectl(&["create", "configmap", "after"]).ok();
    plane.grow();
    plane.grow();
    plane.servers[2].kubectl(&["get", "configmap", "after"]).ok();
}

#[test]
fn a_snapshot_makes_a_cluster_with_the_same_objects() {
    let plane = ControlPlane::start(1);
    let server = &plane.servers[0];
    server.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]).ok();
    let file = server.data_dir().with_file_name("file.snapshot");
    let path = file.display().to_string();
    let saved = server.isopod(&["snapshot", "save", &path]).ok();
    assert!(saved.contains("saved revision"), "{saved}");
    let status = server.isopod(&["snapshot", "status", &path]).ok();
    assert!(status.contains("hash"), "{status}");

    let dir = plane.new_dir();
    let text = dir.display().to_string();
    server.isopod(&["snapshot", "restore", &path, "--data-dir", &text]).ok();
    let restored = Server::start(&dir, &Begin::Again(Vec::new())).expect("it starts");
    restored.await_voters(1);
    let value = restored.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).ok();
    assert_eq!(value, "b");
    let error = server.isopod(&["snapshot", "restore", &path, "--data-dir", &text]).err();
    assert!(error.contains("has a member already"), "{error}");

    let bytes = std::fs::read(&file).expect("it was written");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("it can be written");
    let other = dir.with_file_name("other");
    for args in [vec!["status", &path], vec!["restore", &path, "--data-dir", other.to_str().expect("text")]] {
        let error = server.isopod(&[&["snapshot"], &args[..]].concat()).err();
        assert!(error.contains(&path), "{error}");
        assert!(!other.exists());
    }
}
