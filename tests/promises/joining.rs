//! Machines that join a cluster with a token: whom the cluster lets in, what it is told, and what a node keeps over a restart.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use isopod_tests::control_plane::{Begin, ControlPlane, Server};
use isopod_tests::node::{Node, await_ready, token};
use isopod_tests::{Ranges, eventually, run};

#[test]
fn a_node_joins_with_a_token_runs_pods_and_needs_none_to_start_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ranges = Ranges::claim();
    let [_, pods, _, services] = ranges.args() else { panic!("two ranges with their flags") };
    let begin = Begin::Found(vec!["--service-cidr".into(), services.clone()]);
    let server = Server::start(&folder.path().join("server"), &begin).expect("it starts");
    let (api, token) = (server.api(), token(&server, "node"));
    let data_dir = folder.path().join("node");
    let joining = ["--server", &api, "--token", &token, "--name", "n1", "--pod-cidr", pods];
    let node = Node::start(&data_dir, &joining);
    await_ready(&server, "n1", "True");
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples/hello/");
    server.isopod(&["push", &format!("{hello}hello.wasm"), "registry.local/hello:v1"]).ok();
    server.kubectl(&["apply", "-f", &format!("{hello}hello.yaml")]).ok();
    let rolled_out = ["rollout", "status", "deployment/hello", "-n", "hello", "--timeout=60s"];
    server.kubectl(&rolled_out).ok();
    server.kubectl(&["logs", "-n", "hello", "deployment/hello"]).ok();

    drop(node);
    let _node = Node::start(&data_dir, &[]);
    await_ready(&server, "n1", "True");
    eventually("its pods run again", || {
        let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        let found = server.kubectl(&["get", "pods", "-n", "hello", "-o", restarts]).ok();
        if found == "1 1 1" { Ok(()) } else { Err(found) }
    });

    // The place of a node that there is cannot be taken, and ranges are given once.
    let other = folder.path().join("other");
    let refused = run(&mut Node::command(&other, &joining), "").err();
    assert!(refused.contains("there is a node n1 already"), "{refused}");
    let overlapping = ["--server", &api, "--token", &token, "--name", "n2", "--pod-cidr", pods];
    let refused = run(&mut Node::command(&other, &overlapping), "").err();
    assert!(refused.contains("node n1 has") && refused.contains("overlaps"), "{refused}");
    assert!(!other.join("node.json").exists());
}

#[test]
fn a_node_that_may_not_join_is_told_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("server"), &Begin::Init).expect("it starts");
    let (api, for_servers, for_nodes) = (server.api(), token(&server, "server"), token(&server, "node"));
    let data_dir = folder.path().join("node");
    let refused = |args: &[&str]| run(&mut Node::command(&data_dir, args), "").err();
    let error = refused(&[]);
    assert!(error.contains("isopod token create --role node"), "{error}");
    let error = refused(&["--server", &api, "--token", &for_servers, "--name", "n"]);
    assert!(error.contains("the token is not for a node"), "{error}");
    let error = refused(&["--server", &api, "--token", &for_nodes, "--name", "N!"]);
    assert!(error.contains("cannot be the name of a node"), "{error}");
    let error = refused(&["--server", &api, "--token", &for_nodes, "--name", "n", "--address", "192.0.2.1"]);
    assert!(error.contains("on one machine"), "{error}");
    let error = refused(&["--server", "127.0.0.1:1", "--token", &for_nodes, "--name", "n"]);
    assert!(error.contains("cannot connect to 127.0.0.1:1"), "{error}");
    // A token of another cluster: its hash does not fit, and the secret is not even sent.
    let stranger = Server::start(&folder.path().join("stranger"), &Begin::Init).expect("it starts");
    let error = refused(&["--server", &stranger.api(), "--token", &for_nodes, "--name", "n"]);
    assert!(error.contains("is not trusted"), "{error}");
    assert!(!data_dir.join("node.json").exists());
}

/// Passes two connections on to `target`. Of the first, only the greeting comes back: what is answered is read and thrown
/// away, and then the connection is cut.
fn forgetful(target: String) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let passing = std::thread::spawn(move || {
        for turn in 0..2 {
            let (client, _) = listener.accept().expect("a connection");
            let server = TcpStream::connect(&target).expect("the member listens");
            pass(&client, &server, turn == 0);
        }
    });
    (address, passing)
}

/// An answer is longer than this; what TLS says after its greeting is not.
const ANSWER_BYTES_MIN: usize = 1000;

fn pass(client: &TcpStream, server: &TcpStream, forgets: bool) {
    let spoken = Arc::new(AtomicU32::new(0));
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
    let (mut from, mut to, counter) = (clone(client), clone(server), spoken.clone());
    let there = std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            counter.fetch_add(1, Ordering::SeqCst);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // It may be cut already.
        drop(to.shutdown(Shutdown::Write));
    });
    let (mut buffer, mut forgotten) = ([0; 16 << 10], 0);
    let (mut from, mut to) = (clone(server), clone(client));
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        // The first that the client says is its greeting.
        if forgets && spoken.load(Ordering::SeqCst) > 1 {
            forgotten += length;
            if forgotten > ANSWER_BYTES_MIN {
                break;
            }
        } else if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for stream in [client, server] {
        drop(stream.shutdown(Shutdown::Both));
    }
    there.join().expect("the other direction does not panic");
}

#[test]
fn a_member_whose_answer_was_lost_asks_again_and_has_its_token_not_wasted() {
    let plane = ControlPlane::start(1);
    let founder = &plane.servers[0];
    let (address, passing) = forgetful(founder.api());
    let joined = Server::start(&plane.new_dir(), &Begin::Join(address, founder.token())).expect("it joins");
    founder.await_voters(2);
    assert!(joined.log().contains("the cluster is asked again"), "{}", joined.log());
    assert!(founder.log().contains("asks again for its answer"), "{}", founder.log());
    passing.join().expect("nothing panics");
}
