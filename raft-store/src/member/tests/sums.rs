//! States that differ.

use super::harness::{Cluster, Node};
use super::*;
use crate::membership::MembershipChange;

fn flip(cluster: &mut Cluster, at: usize) {
    cluster.nodes[at].member.machine.flip(b"/a");
}

fn prepared() -> (Cluster, usize) {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.put(leader, "/a", "value").expect("it commits");
    cluster.everyone_agrees();
    (cluster, leader)
}

/// Long enough for a comparison.
fn wait(cluster: &mut Cluster) {
    (0..300).for_each(|_| cluster.tick());
}

#[test]
fn members_that_have_the_same_go_on() {
    let (mut cluster, _) = prepared();
    wait(&mut cluster);
    assert!(cluster.nodes.iter().all(|node| node.ended.is_none()));
}

#[test]
fn a_member_whose_state_differs_stops_and_says_why() {
    for leads in [false, true] {
        let (mut cluster, leader) = prepared();
        let odd = if leads { leader } else { (leader + 1) % 3 };
        // The damage shows when what was damaged is replaced.
        flip(&mut cluster, odd);
        cluster.put(leader, "/a", "next").expect("it commits");
        cluster.until("it is found", |cluster| cluster.nodes[odd].ended.is_some().then_some(()));
        let ended = &cluster.nodes[odd].ended;
        assert!(matches!(ended, Some(DriverError::Diverged { .. })), "{ended:?}");
        wait(&mut cluster);
        let others = cluster.nodes.iter().filter(|node| node.ended.is_none()).count();
        assert_eq!(others, 2, "the others go on");
        let leader = cluster.leader();
        cluster.put(leader, "/a", "last").expect("it commits");
    }
}

#[test]
fn a_learner_that_differs_stops_too() {
    let mut cluster = Cluster::alone();
    cluster.put(0, "/a", "value").expect("it commits");
    cluster.nodes.push(Node::joining(2));
    cluster.change(0, MembershipChange::AddLearner(MemberId(2))).expect("it is added");
    cluster.everyone_agrees();
    flip(&mut cluster, 1);
    cluster.put(0, "/a", "next").expect("it commits");
    cluster.until("it is found", |cluster| cluster.nodes[1].ended.is_some().then_some(()));
    assert!(cluster.nodes[0].ended.is_none());
}

#[test]
fn two_that_differ_stop_neither() {
    let mut cluster = Cluster::alone();
    cluster.grow(2);
    cluster.put(0, "/a", "value").expect("it commits");
    cluster.everyone_agrees();
    flip(&mut cluster, 1);
    cluster.put(0, "/a", "next").expect("it commits");
    wait(&mut cluster);
    assert!(cluster.nodes.iter().all(|node| node.ended.is_none()), "nobody knows which is right");
}

#[test]
fn damage_in_memory_that_nobody_touches_is_found_and_does_not_get_to_the_disk() {
    let (mut cluster, leader) = prepared();
    let odd = (leader + 1) % 3;
    flip(&mut cluster, odd);
    for _ in 0..4 {
        wait(&mut cluster);
        cluster.nodes.iter_mut().for_each(|node| node.step(cluster.now));
    }
    (0..2_500).for_each(|_| cluster.tick());
    let ended = &cluster.nodes[odd].ended;
    assert!(matches!(ended, Some(DriverError::Unsound)), "{ended:?}");
    // What is on the disk is right.
    let disk = cluster.nodes[odd].disk.crashed(1);
    cluster.nodes[odd] = Node::open(cluster.nodes[odd].config.clone(), disk);
    cluster.everyone_agrees();
}
