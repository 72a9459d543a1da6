//! From one member to several and back.

use super::harness::{Cluster, Node};
use super::*;
use crate::membership::{Members, MembershipChange};
use crate::transport::letter::Reply;

fn members(node: &Node) -> (Vec<u64>, Vec<u64>) {
    let Members { voters, learners } = node.shared.members.borrow().clone();
    let numbers = |members: Vec<MemberId>| members.into_iter().map(|member| member.0).collect();
    (numbers(voters), numbers(learners))
}

fn reopen(cluster: &mut Cluster) {
    for (seed, node) in cluster.nodes.iter_mut().enumerate() {
        let disk = node.disk.crashed(seed as u64);
        *node = Node::open(node.config.clone(), disk);
    }
    cluster.now = Duration::ZERO;
}

#[test]
fn one_member_grows_to_three_and_shrinks_back() {
    let mut cluster = Cluster::alone();
    cluster.put(0, "/a", "1").expect("it commits");
    assert!(cluster.nodes[0].shared.is_sole_voter());
    cluster.grow(2);
    assert!(!cluster.nodes[0].shared.is_sole_voter(), "another one can commit now");
    cluster.grow(3);
    assert_eq!(members(&cluster.nodes[0]), (vec![1, 2, 3], vec![]));
    cluster.put(2, "/a", "2").expect("it commits");
    cluster.everyone_agrees();
    for id in [3, 2] {
        assert_eq!(cluster.change(0, MembershipChange::Remove(MemberId(id))), Ok(Reply::Done));
    }
    cluster.until("it is alone", |cluster| cluster.nodes[0].shared.is_sole_voter().then_some(()));
    cluster.put(0, "/a", "3").expect("it commits alone");
    let told: Vec<_> = cluster.nodes[0].shared.progress.load().iter().map(|known| known.member).collect();
    assert_eq!(told, [MemberId(1)], "nothing is told of those that are gone");
    cluster.until("the others know", |cluster| {
        let ended = |node: &Node| matches!(node.ended, Some(DriverError::Removed { .. }));
        cluster.nodes[1..].iter().all(ended).then_some(())
    });
}

#[test]
fn who_the_members_are_survives_a_restart() {
    let mut cluster = Cluster::alone();
    cluster.grow(2);
    cluster.grow(3);
    cluster.nodes.push(Node::joining(4));
    assert_eq!(cluster.change(0, MembershipChange::AddLearner(MemberId(4))), Ok(Reply::Done));
    cluster.everyone_agrees();
    reopen(&mut cluster);
    assert!(!cluster.nodes[0].shared.is_sole_voter());
    cluster.leader();
    cluster.put(1, "/a", "1").expect("it commits");
    cluster.everyone_agrees();
    for node in &cluster.nodes {
        assert_eq!(members(node), (vec![1, 2, 3], vec![4]), "member {}", node.id());
    }
}
