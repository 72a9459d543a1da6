//! Three members in one thread.

mod forwarding;
mod growth;
mod harness;
mod joining;
mod leases;
mod members;
mod snapshots;
mod sums;

use super::*;
use crate::command::Compare;
use crate::disk::memory::MemoryDisk;
use crate::snapshot_file;
use crate::state::Revision;
use harness::{CLUSTER, Cluster, Node, config, put};

#[test]
fn three_members_apply_the_same_writes_at_the_same_revisions() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for number in 0..20 {
        let response = cluster.put(leader, ["/a", "/b", "/c"][number % 3], "value").expect("it commits");
        assert_eq!(response.revision, Revision(2 + number as u64));
    }
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[(leader + 1) % 3].revision(), Revision(21));
}

#[test]
fn one_member_alone_leads_and_serves_reads_at_once() {
    let mut node = Node::open(config(1), MemoryDisk::default());
    assert!(node.shared.is_sole_voter(), "reads need no leader");
    node.step(Duration::ZERO);
    assert!(node.shared.leadership.borrow().is_leader);
}

#[test]
fn a_read_on_any_member_sees_every_acknowledged_write() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for at in 0..3 {
        let written = cluster.put(leader, "/a", "value").expect("it commits").revision;
        // Several at once share a question.
        let mut reads = [cluster.nodes[at].confirm_read(), cluster.nodes[at].confirm_read()];
        for read in &mut reads {
            cluster.until("a confirmation", |_| read.poll()).expect("there is a leader");
        }
        assert!(cluster.nodes[at].revision() >= written, "member {}", at + 1);
    }
}

#[test]
fn a_read_without_a_leader_is_refused_in_time() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.nodes.iter_mut().for_each(|node| node.cut_off = true);
    let mut read = cluster.nodes[leader].confirm_read();
    let answer = cluster.until("an answer", |_| read.poll());
    assert_eq!(answer, Err(ReadError::NoLeader), "a leader that nobody follows must not confirm");
    let mut write = cluster.nodes[leader].propose(put("/late", "value"));
    let answer = cluster.until("an answer", |_| write.poll());
    assert_eq!(answer, Err(ProposeError::NoLeader));
}

#[test]
fn a_deposed_leaders_write_happens_once_under_the_next_leader() {
    let mut cluster = Cluster::new();
    let old = cluster.leader();
    cluster.put(old, "/a", "1").expect("it commits");
    let old_term = cluster.nodes[old].shared.leadership.borrow().term;
    cluster.nodes[old].cut_off = true;
    let mut lost = cluster.nodes[old].propose(put("/a", "lost"));
    cluster.nodes[old].step(cluster.now);
    let new = cluster.leader();
    assert_ne!(new, old);
    cluster.put(new, "/a", "2").expect("two of three commit");
    assert!(lost.poll().is_none(), "it may still come to be");
    cluster.nodes[old].cut_off = false;
    let answer = cluster.until("an answer", |_| lost.poll()).expect("it happens after all");
    assert_eq!(answer.revision, Revision(4));
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[old].revision(), Revision(4), "once");
    // And what was decided in the old term cannot land in the new one.
    let mut late = put("/a", "late");
    late.compares.push(Compare::Term(old_term));
    let leader = cluster.leader();
    let mut waiting = cluster.nodes[leader].propose(late);
    let answer = cluster.until("an answer", |_| waiting.poll()).expect("it is applied");
    assert_eq!(answer.failed, Some(0));
    assert_eq!(cluster.nodes[leader].content()[0].1.value, "lost");
}

#[test]
fn members_that_crash_all_at_once_come_back_with_what_was_acknowledged() {
    for seed in 0..30 {
        let mut cluster = Cluster::new();
        let mut acknowledged = Revision::FIRST;
        for round in 0..3 {
            let leader = cluster.leader();
            for number in 0..5 + round {
                let key = ["/a", "/b", "/c"][number % 3];
                acknowledged = cluster.put(leader, key, "value").expect("it commits").revision;
            }
            // Something under way that nobody has acknowledged.
            drop(cluster.nodes[leader].propose(put("/under-way", "value")));
            cluster.nodes[leader].step(cluster.now);
            for (at, node) in cluster.nodes.iter_mut().enumerate() {
                let disk = node.disk.crashed(seed * 100 + at as u64);
                *node = Node::open(node.config.clone(), disk);
            }
            cluster.now = Duration::ZERO;
            let leader = cluster.leader();
            assert!(cluster.nodes[leader].revision() >= acknowledged, "seed {seed}, round {round}");
            cluster.everyone_agrees();
        }
    }
}

#[test]
fn the_same_log_gives_the_same_snapshot_bytes_on_every_member() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for number in 0..30 {
        cluster.put(leader, ["/a", "/b", "/c"][number % 3], "value").expect("it commits");
    }
    cluster.everyone_agrees();
    let mut files = Vec::new();
    for node in &cluster.nodes {
        let Member { applied, conf_state, machine, .. } = &node.member;
        let meta = Meta { cluster: CLUSTER, position: *applied, conf_state: conf_state.clone() };
        snapshot_file::write(&node.disk, &meta, machine).expect("the disk is well");
        files.push(node.disk.content(&snapshot_file::name_of(applied.index)));
    }
    assert!(files[0] == files[1] && files[1] == files[2]);
}

#[test]
fn two_that_want_to_lead_at_the_same_moment_do_not_stop_each_other() {
    for _ in 0..20 {
        let mut cluster = Cluster::new();
        let old = cluster.leader();
        cluster.everyone_agrees();
        cluster.nodes[old].cut_off = true;
        // Both have waited exactly as long.
        for node in &mut cluster.nodes {
            node.member.node.raft.set_randomized_election_timeout(CAMPAIGN_TICKS.start);
        }
        let begun = cluster.now;
        cluster.leader();
        let ticks = (cluster.now - begun).as_millis() / TICK.as_millis();
        assert!(ticks <= CAMPAIGN_TICKS.start as u128 + 2, "it took {ticks} ticks");
    }
}
