//! Growing, shrinking, and leadership that moves.

use super::harness::{Cluster, Node};
use super::*;
use crate::membership::MembershipChange;
use crate::shared::NoFate;
use crate::transport::letter::{Reply, Request};

#[test]
fn changes_that_make_no_sense_are_refused_and_repeated_ones_do_nothing() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.tick();
    let change = |cluster: &mut Cluster, change| {
        let on_leader = cluster.change(leader, change);
        assert_eq!(cluster.change((leader + 1) % 3, change), on_leader, "any member says the same");
        on_leader
    };
    assert_eq!(change(&mut cluster, MembershipChange::Promote(MemberId(9))), Ok(Reply::NotAMember));
    assert_eq!(change(&mut cluster, MembershipChange::Remove(MemberId(9))), Ok(Reply::NotAMember));
    assert_eq!(change(&mut cluster, MembershipChange::AddLearner(MemberId(2))), Ok(Reply::IsAVoter));
    assert_eq!(change(&mut cluster, MembershipChange::Promote(MemberId(2))), Ok(Reply::Done));
    assert_eq!(change(&mut cluster, MembershipChange::AddLearner(MemberId(9))), Ok(Reply::Done));
    let mut alone = Cluster::alone();
    assert_eq!(alone.change(0, MembershipChange::Remove(MemberId(1))), Ok(Reply::LastVoter));
    assert_eq!(alone.ask(0, Request::Transfer(None)), Ok(Reply::NoOtherVoter));
}

#[test]
fn a_removal_that_would_leave_no_majority_is_refused() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    cluster.nodes[gone].cut_off = true;
    // Long enough to be noticed.
    (0..30).for_each(|_| cluster.tick());
    let other = cluster.nodes[(leader + 2) % 3].id();
    assert_eq!(cluster.change(leader, MembershipChange::Remove(other)), Ok(Reply::QuorumAtRisk));
    let gone = cluster.nodes[gone].id();
    assert_eq!(cluster.change(leader, MembershipChange::Remove(gone)), Ok(Reply::Done));
}

#[test]
fn a_leader_that_is_removed_hands_over_first() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    let id = cluster.nodes[old].id();
    assert_eq!(cluster.change((old + 1) % 3, MembershipChange::Remove(id)), Ok(Reply::Done));
    let new = cluster.until("another leads", |cluster| {
        cluster.nodes.iter().position(|node| node.id() != id && node.leads())
    });
    cluster.put(new, "/a", "1").expect("it commits");
    cluster.until("it knows", |cluster| cluster.nodes[old].ended.is_some().then_some(()));
}

#[test]
fn leadership_moves_to_whom_it_is_given_without_an_election_timeout() {
    let mut cluster = Cluster::new();
    let mut leader = cluster.leader();
    for _ in 0..6 {
        let to = (leader + 1) % 3;
        let (id, begun) = (cluster.nodes[to].id(), cluster.now);
        // Asked for on the one that is to lead, which has to forward it.
        assert_eq!(cluster.ask(to, Request::Transfer(Some(id))), Ok(Reply::Moving(id)));
        leader = cluster.leader();
        assert_eq!(leader, to);
        assert!(cluster.now - begun <= 3 * TICK, "it took {:?}", cluster.now - begun);
        cluster.put((to + 1) % 3, "/a", "value").expect("writes go on");
    }
}

#[test]
fn leadership_is_not_given_to_one_that_has_no_vote_or_does_not_answer() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, Request::Transfer(Some(MemberId(9)))), Ok(Reply::NotAVoter));
    let gone = (leader + 1) % 3;
    cluster.nodes[gone].cut_off = true;
    let id = cluster.nodes[gone].id();
    assert_eq!(cluster.ask(leader, Request::Transfer(Some(id))), Err(NoFate::TimedOut(id)));
    cluster.put(leader, "/a", "1").expect("it goes on leading");
}

#[test]
fn a_removed_member_that_heard_nothing_is_told_when_it_comes_back() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    cluster.nodes[gone].cut_off = true;
    let id = cluster.nodes[gone].id();
    assert_eq!(cluster.change(leader, MembershipChange::Remove(id)), Ok(Reply::Done));
    (0..30).for_each(|_| cluster.tick());
    let term = cluster.nodes[leader].shared.leadership.borrow().term;
    cluster.nodes[gone].cut_off = false;
    cluster.until("it knows", |cluster| cluster.nodes[gone].ended.is_some().then_some(()));
    assert_eq!(cluster.nodes[leader].shared.leadership.borrow().term, term, "it disturbed nobody");
}

#[test]
fn a_member_that_joins_waits_and_disturbs_nobody() {
    let mut cluster = Cluster::of(vec![Node::joining(9)]);
    cluster.copies = Box::new(|letter| panic!("it sent {letter:?}"));
    (0..100).for_each(|_| cluster.tick());
    assert!(!cluster.nodes[0].shared.is_sole_voter());
    assert_eq!(cluster.nodes[0].shared.leadership.borrow().leader, None);
}
