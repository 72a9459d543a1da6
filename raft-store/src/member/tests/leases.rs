//! Reads that the leader answers by itself, and when it must not; and leadership that is handed over at the end.

use raft::eraftpb::MessageType;

use super::harness::{Cluster, Node, put};
use super::*;
use crate::command::{Op, Txn};
use crate::disk::memory::Faults;
use crate::transport::Body;
use crate::transport::letter::Request;

/// Whether a read is answered without a word to anybody.
fn answers_by_itself(node: &mut Node, now: Duration) -> bool {
    let mut read = node.confirm_read();
    node.step(now);
    read.poll() == Some(Ok(()))
}

fn with_lease() -> (Cluster, usize) {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let mut read = cluster.nodes[leader].confirm_read();
    cluster.until("a confirmation", |_| read.poll()).expect("there is a leader");
    (cluster, leader)
}

#[test]
fn a_leader_that_was_confirmed_answers_for_a_while_by_itself() {
    let (mut cluster, leader) = with_lease();
    let now = cluster.now;
    assert!(answers_by_itself(&mut cluster.nodes[leader], now));
    let follower = (leader + 1) % 3;
    assert!(!answers_by_itself(&mut cluster.nodes[follower], now));
}

#[test]
fn a_pause_ends_the_lease() {
    let (mut cluster, leader) = with_lease();
    // Nothing ticks meanwhile: the process was stopped.
    let later = cluster.now + Duration::from_millis(160);
    assert!(!answers_by_itself(&mut cluster.nodes[leader], later));
}

#[test]
fn nothing_stale_is_read_from_a_leader_that_was_cut_off() {
    let (mut cluster, old) = with_lease();
    cluster.nodes[old].cut_off = true;
    let mut answered = 0;
    let new = cluster.until("another leads", |cluster| {
        let now = cluster.now;
        answered += usize::from(answers_by_itself(&mut cluster.nodes[old], now));
        cluster.nodes.iter().position(Node::leads)
    });
    assert!(answered > 0, "it had a lease");
    let now = cluster.now;
    assert!(!answers_by_itself(&mut cluster.nodes[old], now));
    cluster.put(new, "/a", "1").expect("two of three commit");
    assert!(!answers_by_itself(&mut cluster.nodes[old], now));
}

#[test]
fn a_term_in_which_leadership_was_to_move_has_no_leases_any_more() {
    let (mut cluster, leader) = with_lease();
    let to = (leader + 1) % 3;
    cluster.nodes[to].cut_off = true;
    let transfer = Request::Transfer(Some(cluster.nodes[to].id()));
    let mut moving = cluster.nodes[leader].hand_in(transfer);
    let now = cluster.now;
    cluster.nodes[leader].step(now);
    assert!(!answers_by_itself(&mut cluster.nodes[leader], now));
    assert!(cluster.until("it gives up", |_| moving.poll()).is_err());
    let mut read = cluster.nodes[leader].confirm_read();
    cluster.until("a confirmation", |_| read.poll()).expect("it still leads");
    let now = cluster.now;
    assert!(
        !answers_by_itself(&mut cluster.nodes[leader], now),
        "the other may still have been told to lead"
    );
}

#[test]
fn a_member_that_was_just_started_does_not_vote() {
    let (mut cluster, leader) = with_lease();
    let [restarted, candidate] = [(leader + 1) % 3, (leader + 2) % 3];
    let config = cluster.nodes[restarted].config.clone();
    let disk = cluster.nodes[restarted].disk.crashed(1);
    cluster.nodes[restarted] = Node::open(config, disk);
    cluster.nodes[leader].cut_off = true;
    let asks = |letter: &Letter| matches!(&letter.body, Body::Raft(message) if message.msg_type == MessageType::MsgRequestPreVote);
    // The other one has not heard of the leader for so long that it asks within the time, whatever it has drawn.
    for _ in 0..11 {
        cluster.nodes[candidate].member.tick();
    }
    let (mut early, begun) = (0, cluster.now);
    for _ in 0..9 {
        cluster.now += TICK;
        cluster.nodes[candidate].member.tick();
        cluster.nodes[candidate].step(cluster.now);
        for letter in cluster.nodes[candidate].member.take_messages() {
            early += usize::from(asks(&letter));
            let bytes = crate::transport::encode(CLUSTER, &letter).expect("one for others");
            let to = cluster.nodes.iter().find(|node| node.id() == letter.to).expect("it is there");
            to.shared.receive(&bytes).expect("it can be read");
        }
        let now = cluster.now;
        cluster.nodes[restarted].step(now);
        assert!(cluster.nodes[restarted].member.take_messages().is_empty(), "no vote");
    }
    assert!(early > 0, "it was asked, within {:?}", cluster.now - begun);
    cluster.leader();
}

#[test]
fn a_leader_that_stops_hands_over_at_once_and_answers_what_it_was_given() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    let begun = cluster.now;
    let mut waiting = cluster.nodes[old].propose(put("/a", "1"));
    assert!(cluster.nodes[old].shared.inbox.push(Input::Shutdown).is_ok());
    cluster.until("it may stop", |cluster| cluster.nodes[old].member.is_stopping().then_some(()));
    assert!(cluster.now - begun <= 3 * TICK, "it took {:?}", cluster.now - begun);
    waiting.poll().expect("it is answered").expect("it commits");
    let mut late = cluster.nodes[old].propose(put("/a", "2"));
    assert_eq!(cluster.until("an answer", |_| late.poll()), Err(ProposeError::Closed));
    let new = cluster.leader();
    assert_ne!(new, old);
    assert!(cluster.now - begun <= 4 * TICK);
    cluster.put(new, "/a", "3").expect("writes go on");
}

#[test]
fn a_leader_that_nobody_can_follow_stops_all_the_same() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    cluster.nodes[old].cut_off = true;
    let mut lost = cluster.nodes[old].propose(put("/a", "1"));
    assert!(cluster.nodes[old].shared.inbox.push(Input::Shutdown).is_ok());
    cluster.until("it may stop", |cluster| cluster.nodes[old].member.is_stopping().then_some(()));
    assert!(lost.poll().is_none(), "nobody knows");
}

#[test]
fn a_leader_with_a_full_disk_lets_another_one_lead() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    let full = Faults { capacity_bytes: Some(0), ..Faults::default() };
    cluster.nodes[old].disk.set_faults(full);
    let value = vec![b'x'; 1_500];
    let mut refused = 0;
    cluster.until("another leads", |cluster| {
        let txn = Txn::of(vec![Op::Put("/a".into(), value.clone().into())]);
        let mut waiting = cluster.nodes[old].propose(txn);
        cluster.tick();
        refused += usize::from(matches!(waiting.poll(), Some(Err(ProposeError::DiskFull { .. }))));
        cluster.nodes.iter().position(Node::leads).filter(|leader| *leader != old)
    });
    assert!(refused > 0);
    let new = cluster.leader();
    cluster.put(new, "/b", "1").expect("writes go on");
    cluster.nodes[old].disk.set_faults(Faults::default());
    cluster.everyone_agrees();
}

#[test]
fn a_leader_with_a_lease_answers_the_others_at_once() {
    let (mut cluster, leader) = with_lease();
    let (reader, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.put(leader, "/a", "1").expect("it commits");
    let mut read = cluster.nodes[leader].confirm_read();
    cluster.until("a confirmation", |_| read.poll()).expect("there is a leader");
    // A quorum could not be asked.
    cluster.nodes[third].cut_off = true;
    let asked = cluster.nodes[reader].id();
    cluster.copies = Box::new(move |letter| usize::from(letter.from != asked || is_question(letter)));
    let mut read = cluster.nodes[reader].confirm_read();
    cluster.talk();
    assert_eq!(read.poll(), Some(Ok(())));
    assert_eq!(cluster.nodes[reader].revision(), Revision(2));
}

fn is_question(letter: &Letter) -> bool {
    matches!(&letter.body, Body::Raft(message) if message.msg_type == MessageType::MsgReadIndex)
}
