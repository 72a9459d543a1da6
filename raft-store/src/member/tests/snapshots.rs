//! Members that are sent the whole state.

use bytes::Bytes;

use super::harness::{Cluster, Node, Waiting, config};
use super::*;
use crate::command::{Op, Txn};
use crate::disk::memory::{Faults, MemoryDisk};
use crate::history::Read;
use crate::membership::{Founding, MembershipChange};
use crate::state::KeyRange;
use crate::transport::Body;
use crate::transport::letter::{Note, Reply};
use crate::watch::WatchEnd;

/// Snapshots are written, and the log cut, all the time.
fn small(id: u64) -> Config {
    Config { snapshot_after_bytes: 20 << 10, ..config(id) }
}

fn small_cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for node in &mut cluster.nodes {
        let small = small(node.id().0);
        *node = Node::open(small, node.disk.clone());
    }
    cluster
}

/// Many writes of so many keys, all at once.
fn fill(cluster: &mut Cluster, at: usize, keys: usize, writes: usize) {
    let value = Bytes::from(vec![b'x'; 1_500]);
    let txn =
        |number: usize| Txn::of(vec![Op::Put(Bytes::from(format!("/{}", number % keys)), value.clone())]);
    let mut waiting: Vec<Waiting<_>> =
        (0..writes).map(|number| cluster.nodes[at].propose(txn(number))).collect();
    for waiting in &mut waiting {
        cluster.until("an answer", |_| waiting.poll()).expect("it commits");
    }
}

fn is_chunk_traffic(letter: &Letter) -> bool {
    matches!(letter.body, Body::Note(Note::Offer { .. } | Note::Want { .. } | Note::Chunk { .. }))
}

#[test]
fn a_member_that_lags_behind_the_log_is_sent_the_state_and_goes_on() {
    let mut cluster = small_cluster();
    let leader = cluster.leader();
    let late = (leader + 1) % 3;
    cluster.nodes[late].cut_off = true;
    fill(&mut cluster, leader, 100, 400);
    let first = raft::Storage::first_index(cluster.nodes[leader].member.node.store()).expect("known");
    assert!(first > 10, "the log was cut");
    cluster.nodes[late].cut_off = false;
    cluster.everyone_agrees();
    assert!(cluster.nodes[late].member.upkeep.snapshot_index() > 1);
    cluster.put(late, "/a", "1").expect("it takes part");
    // And it has it on its disk.
    let disk = cluster.nodes[late].disk.crashed(1);
    let config = cluster.nodes[late].config.clone();
    cluster.nodes[late] = Node::open(config, disk);
    cluster.everyone_agrees();
}

#[test]
fn chunks_that_are_lost_or_doubled_are_asked_for_again() {
    let mut cluster = small_cluster();
    let leader = cluster.leader();
    let late = (leader + 1) % 3;
    cluster.nodes[late].cut_off = true;
    // More than two chunks.
    fill(&mut cluster, leader, 400, 400);
    cluster.nodes[late].cut_off = false;
    let mut number = 0;
    cluster.copies = Box::new(move |letter| {
        number += usize::from(is_chunk_traffic(letter));
        if is_chunk_traffic(letter) { [0, 2, 1, 0][number % 4] } else { 1 }
    });
    cluster.everyone_agrees();
}

#[test]
fn a_receiver_that_hears_nothing_holds_up_nobody() {
    let mut cluster = small_cluster();
    let leader = cluster.leader();
    let late = (leader + 1) % 3;
    cluster.nodes[late].cut_off = true;
    fill(&mut cluster, leader, 100, 400);
    cluster.nodes[late].cut_off = false;
    cluster.copies = Box::new(|letter| usize::from(!is_chunk_traffic(letter)));
    let begun = cluster.now;
    for _ in 0..20 {
        cluster.put(leader, "/a", "1").expect("it commits");
    }
    assert!(cluster.now - begun < 50 * TICK, "it took {:?}", cluster.now - begun);
    fill(&mut cluster, leader, 100, 400);
    cluster.copies = Box::new(|_| 1);
    cluster.everyone_agrees();
}

#[test]
fn watchers_of_a_member_that_jumped_are_told_that_they_missed_something() {
    let mut cluster = small_cluster();
    let leader = cluster.leader();
    let late = (leader + 1) % 3;
    cluster.put(leader, "/a", "1").expect("it commits");
    cluster.everyone_agrees();
    let shared = cluster.nodes[late].shared.clone();
    let seen = cluster.nodes[late].revision();
    let mut missed = shared.history.subscribe(KeyRange::prefix("/none"), seen).expect("it is kept");
    let mut ahead = shared.history.subscribe(KeyRange::prefix("/b"), Revision(100_000)).expect("it is kept");
    cluster.nodes[late].cut_off = true;
    fill(&mut cluster, leader, 100, 400);
    cluster.nodes[late].cut_off = false;
    cluster.everyone_agrees();
    let floor = shared.history.sizes().floor;
    assert!(floor > seen);
    let Read::End(end) = shared.history.read(&mut missed) else { panic!("it missed something") };
    assert_eq!(end, WatchEnd::Compacted { from: seen, oldest: floor });
    assert!(matches!(shared.history.read(&mut ahead), Read::Nothing), "it missed nothing");
}

/// A leader with much state, and a new member on this disk.
fn joining(disk: &MemoryDisk) -> Cluster {
    let mut cluster = Cluster::of(vec![Node::open(small(1), MemoryDisk::default())]);
    cluster.leader();
    fill(&mut cluster, 0, 30, 60);
    cluster.nodes.push(Node::open(Config { founding: Founding::Join, ..small(2) }, disk.clone()));
    let added = cluster.change(0, MembershipChange::AddLearner(MemberId(2)));
    assert_eq!(added, Ok(Reply::Done));
    cluster
}

#[test]
fn a_member_that_is_killed_anywhere_while_it_receives_comes_back_and_gets_it() {
    let disk = MemoryDisk::default();
    let opened = {
        let disk = MemoryDisk::default();
        drop(Node::open(Config { founding: Founding::Join, ..small(2) }, disk.clone()));
        disk.changes()
    };
    joining(&disk).everyone_agrees();
    let changes = disk.changes();
    assert!(changes > opened + 10, "too few places to be killed at: {opened} to {changes}");
    for killed_at in opened + 1..=changes {
        let disk = MemoryDisk::default();
        disk.set_faults(Faults { killed_at: Some(killed_at), ..Faults::default() });
        let mut cluster = joining(&disk);
        cluster.until("it is killed or has everything", |cluster| {
            let [leader, receiver] = &cluster.nodes[..] else { unreachable!("there are two") };
            (receiver.ended.is_some() || leader.revision() == receiver.revision()).then_some(())
        });
        let config = cluster.nodes[1].config.clone();
        cluster.nodes[1] = Node::open(config, disk.crashed(killed_at));
        cluster.everyone_agrees();
    }
}
