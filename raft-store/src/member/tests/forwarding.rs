//! Writes on members that do not lead.

use super::harness::{Cluster, put};
use super::*;
use crate::transport::Body;
use crate::transport::letter::{Note, Request};

fn is_ask(letter: &Letter) -> bool {
    matches!(letter.body, Body::Note(Note::Ask { .. }))
}

#[test]
fn a_write_on_any_member_is_there_to_be_read_when_it_is_acknowledged() {
    let mut cluster = Cluster::new();
    cluster.leader();
    for (number, at) in [0, 1, 2, 2, 1, 0].into_iter().enumerate() {
        let written = cluster.put(at, "/a", "value").expect("it commits").revision;
        assert_eq!(written, Revision(2 + number as u64));
        assert!(cluster.nodes[at].revision() >= written);
    }
    cluster.everyone_agrees();
}

#[test]
fn a_forwarded_write_that_comes_many_times_happens_once() {
    let mut cluster = Cluster::new();
    cluster.copies = Box::new(|letter| if is_ask(letter) { 3 } else { 1 });
    let leader = cluster.leader();
    for number in 0..10 {
        let at = (leader + 1 + number % 2) % 3;
        let written = cluster.put(at, "/a", "value").expect("it commits").revision;
        assert_eq!(written, Revision(2 + number as u64));
    }
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[leader].revision(), Revision(11));
}

#[test]
fn a_forwarded_write_that_is_lost_on_the_way_is_sent_again() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let mut asks = 0;
    cluster.copies = Box::new(move |letter| {
        asks += usize::from(is_ask(letter));
        usize::from(!is_ask(letter) || asks % 3 == 0)
    });
    let written = cluster.put((leader + 1) % 3, "/a", "value").expect("it commits");
    assert_eq!(written.revision, Revision(2));
}

#[test]
fn writes_forwarded_to_a_leader_that_dies_happen_once_under_the_next() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    let at = (old + 1) % 3;
    cluster.tick();
    // It reaches the old leader, which tells nobody of it.
    let mut waiting = cluster.nodes[at].propose(put("/a", "1"));
    cluster.copies = Box::new(|letter| usize::from(is_ask(letter)));
    cluster.tick();
    cluster.nodes[old].cut_off = true;
    cluster.copies = Box::new(|_| 1);
    let written = cluster.until("an answer", |_| waiting.poll()).expect("it commits");
    assert_eq!(written.revision, Revision(2));
    cluster.nodes[old].cut_off = false;
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[old].revision(), Revision(2));
}

#[test]
fn a_late_copy_of_a_write_for_an_earlier_leader_does_nothing() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    let at = (old + 1) % 3;
    cluster.tick();
    let mut waiting = cluster.nodes[at].propose(put("/a", "1"));
    cluster.nodes[at].step(cluster.now);
    let late = cluster.nodes[at].member.take_messages();
    assert!(late.iter().any(is_ask));
    // Another leads, then the old one again: the term is another.
    cluster.nodes[old].cut_off = true;
    let new = cluster.leader();
    cluster.nodes[old].cut_off = false;
    cluster.until("an answer", |_| waiting.poll()).expect("it commits");
    let back = Request::Transfer(Some(cluster.nodes[old].id()));
    cluster.ask(new, back).expect("it takes over");
    cluster.leader();
    let before = cluster.nodes[old].revision();
    for letter in late {
        let bytes = crate::transport::encode(CLUSTER, &letter).expect("one for others");
        let to = cluster.nodes.iter().find(|node| node.id() == letter.to).expect("it is there");
        to.shared.receive(&bytes).expect("it can be read");
    }
    cluster.tick();
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[old].revision(), before);
}

#[test]
fn a_member_that_nobody_reaches_says_so_in_time() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.tick();
    let at = (leader + 1) % 3;
    cluster.nodes[at].cut_off = true;
    // It still believes in a leader: the question is under way, and its fate unknown.
    let mut early = cluster.nodes[at].propose(put("/a", "1"));
    cluster.tick();
    let mut late = None;
    let early = cluster.until("an answer", |cluster| {
        if late.is_none() && cluster.nodes[at].shared.leadership.borrow().leader.is_none() {
            late = Some(cluster.nodes[at].propose(put("/a", "2")));
        }
        early.poll()
    });
    assert_eq!(early, Err(ProposeError::Unknown));
    let late = late.as_mut().expect("it knew of no leader").poll();
    assert_eq!(late, Some(Err(ProposeError::NoLeader)));
}

#[test]
fn a_follower_that_forwards_much_at_once_loses_nothing() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.tick();
    let at = (leader + 1) % 3;
    let mut waiting: Vec<_> = (0..500).map(|_| cluster.nodes[at].propose(put("/a", "value"))).collect();
    let mut revisions: Vec<Revision> = waiting
        .iter_mut()
        .map(|waiting| cluster.until("an answer", |_| waiting.poll()).expect("it commits").revision)
        .collect();
    revisions.dedup();
    assert_eq!(revisions.len(), 500);
    cluster.everyone_agrees();
}

#[test]
fn a_copy_that_comes_when_the_leader_is_deposed_is_not_turned_away() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    let (at, other) = ((old + 1) % 3, (old + 2) % 3);
    cluster.tick();
    let mut waiting = cluster.nodes[at].propose(put("/a", "1"));
    cluster.nodes[at].step(cluster.now);
    let asks = cluster.nodes[at].member.take_messages();
    let deliver = |cluster: &mut Cluster| {
        for letter in asks.iter().filter(|letter| is_ask(letter)) {
            let bytes = crate::transport::encode(CLUSTER, letter).expect("one for others");
            cluster.nodes[old].shared.receive(&bytes).expect("it can be read");
        }
    };
    // It is in the old leader's log and reaches the third member, which leads next, and nobody else.
    deliver(&mut cluster);
    cluster.nodes[at].cut_off = true;
    cluster.tick();
    let to_other = Request::Transfer(Some(cluster.nodes[other].id()));
    cluster.ask(old, to_other).expect("it takes over");
    deliver(&mut cluster);
    cluster.tick();
    cluster.nodes[at].cut_off = false;
    cluster.until("an answer", |_| waiting.poll()).expect("it commits");
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[other].revision(), Revision(2), "once");
}
