//! Members that come with an empty folder.

use super::harness::{Cluster, Node, config};
use super::*;
use crate::disk::memory::Faults;
use crate::error::OpenError;
use crate::membership::{Founding, MembershipChange};
use crate::open;
use crate::transport::Body;
use crate::transport::letter::{Note, Reply};

fn lose_disk(cluster: &mut Cluster, at: usize) -> MemberId {
    let id = cluster.nodes[at].id();
    cluster.nodes[at] = Node::joining(id.0);
    id
}

fn promote(cluster: &mut Cluster, at: usize, member: MemberId) {
    cluster.until("it may vote", |cluster| {
        (cluster.change(at, MembershipChange::Promote(member)) == Ok(Reply::Done)).then_some(())
    });
}

#[test]
fn a_member_that_lost_its_disk_comes_back_as_a_learner_and_gets_everything() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    for _ in 0..10 {
        cluster.put(leader, "/a", "value").expect("it commits");
    }
    let lost = (leader + 1) % 3;
    let id = lose_disk(&mut cluster, lost);
    cluster.everyone_agrees();
    let members = cluster.nodes[lost].shared.members.borrow().clone();
    assert_eq!(members.learners, [id]);
    promote(&mut cluster, leader, id);
    cluster.everyone_agrees();
    // Its folder is that of a member: it comes back without asking.
    let disk = cluster.nodes[lost].disk.crashed(1);
    cluster.nodes[lost] = Node::open(Config { founding: Founding::Join, ..config(id.0) }, disk);
    assert!(!cluster.nodes[lost].member.is_mute());
    cluster.put(lost, "/a", "value").expect("it takes part");
}

#[test]
fn an_empty_member_says_nothing_else_before_it_is_let_in() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.put(leader, "/a", "1").expect("it commits");
    let lost = (leader + 1) % 3;
    let id = lose_disk(&mut cluster, lost);
    // The leader's answer is lost for a while.
    let mut admitted = 0;
    cluster.copies = Box::new(move |letter| {
        let admission = matches!(letter.body, Body::Note(Note::Admitted { .. }));
        admitted += usize::from(admission);
        let knocks = matches!(letter.body, Body::Note(Note::Joining { .. }));
        assert!(letter.from != id || knocks || admitted > 3, "{letter:?}");
        usize::from(!admission || admitted > 3)
    });
    cluster.everyone_agrees();
}

#[test]
fn an_empty_member_elects_nobody() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.put(leader, "/a", "1").expect("it commits");
    let [lost, other] = [(leader + 1) % 3, (leader + 2) % 3];
    // What was acknowledged is known to two of three; one forgets it, and the other is gone.
    lose_disk(&mut cluster, lost);
    cluster.nodes[leader].cut_off = true;
    for _ in 0..200 {
        cluster.tick();
    }
    assert!(cluster.nodes.iter().all(|node| !node.leads()), "it would need a vote that means nothing");
    cluster.nodes[leader].cut_off = false;
    cluster.everyone_agrees();
    assert_eq!(cluster.nodes[other].revision(), Revision(2));
}

#[test]
fn two_that_lost_their_disks_are_too_many() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.put(leader, "/a", "1").expect("it commits");
    lose_disk(&mut cluster, (leader + 1) % 3);
    lose_disk(&mut cluster, (leader + 2) % 3);
    for _ in 0..200 {
        cluster.tick();
    }
    let empty = cluster.nodes.iter().filter(|node| node.member.is_mute()).count();
    assert_eq!(empty, 2, "the last one may not decide alone whom it forgets");
}

#[test]
fn what_a_member_said_before_it_was_let_in_does_no_harm_when_it_comes_late() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.put(leader, "/a", "1").expect("it commits");
    let lost = (leader + 1) % 3;
    let id = lose_disk(&mut cluster, lost);
    let run = cluster.nodes[lost].member.run;
    cluster.everyone_agrees();
    promote(&mut cluster, leader, id);
    let late = Letter { to: cluster.nodes[leader].id(), from: id, body: Body::Note(Note::Joining { run }) };
    let bytes = crate::transport::encode(CLUSTER, &late).expect("one for others");
    cluster.nodes[leader].shared.receive(&bytes).expect("it can be read");
    cluster.tick();
    cluster.put(lost, "/a", "1").expect("it commits");
    assert_eq!(cluster.nodes[leader].shared.members.borrow().voters.len(), 3);
}

/// One of three is damaged on the disk.
fn damaged() -> (Cluster, usize, Config) {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    cluster.put(leader, "/a", "1").expect("it commits");
    cluster.everyone_agrees();
    let odd = (leader + 1) % 3;
    let names = crate::disk::Disk::list(&cluster.nodes[odd].disk).expect("listed");
    let segment = names.iter().find(|name| name.ends_with(".seg")).expect("there is a log");
    cluster.nodes[odd].disk.tamper(segment, |bytes| bytes[700] ^= 1);
    let config = cluster.nodes[odd].config.clone();
    (cluster, odd, config)
}

#[test]
fn a_damaged_member_is_refused_and_fetches_everything_anew_on_request() {
    let (mut cluster, odd, config) = damaged();
    let disk = cluster.nodes[odd].disk.clone();
    let error = open::open(&config, Arc::new(disk.clone()), 1).err();
    assert!(matches!(error, Some(OpenError::Damaged { .. })), "{error:?}");
    // The cluster is known from what there is.
    let config = Config { founding: Founding::Reseed, cluster: None, ..config };
    cluster.nodes[odd] = Node::open(config.clone(), disk.clone());
    cluster.everyone_agrees();
    let names = crate::disk::Disk::list(&disk).expect("listed");
    assert!(names.iter().any(|name| name.ends_with(".aside")), "{names:?}");
    let leader = cluster.leader();
    promote(&mut cluster, leader, config.member);
    cluster.put(odd, "/a", "2").expect("it takes part");
}

#[test]
fn a_member_that_is_killed_while_its_data_is_set_aside_comes_back_as_one_that_joins() {
    let first = {
        let (cluster, odd, _) = damaged();
        cluster.nodes[odd].disk.changes()
    };
    for killed_at in first + 1..first + 20 {
        let (mut cluster, odd, config) = damaged();
        let disk = cluster.nodes[odd].disk.copied();
        let before = disk.changes();
        disk.set_faults(Faults { killed_at: Some(before + killed_at - first), ..Faults::default() });
        let reseed = Config { founding: Founding::Reseed, ..config };
        drop(open::open(&reseed, Arc::new(disk.clone()), 1));
        cluster.nodes[odd] = Node::open(reseed, disk.crashed(killed_at));
        assert!(cluster.nodes[odd].member.is_mute(), "killed at {killed_at}");
        cluster.everyone_agrees();
    }
}

#[test]
fn a_member_whose_folder_was_put_back_from_an_older_copy_stops_and_says_so() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let odd = (leader + 1) % 3;
    cluster.put(leader, "/a", "1").expect("it commits");
    cluster.everyone_agrees();
    let old = cluster.nodes[odd].disk.copied();
    for _ in 0..5 {
        cluster.put(leader, "/a", "2").expect("it commits");
    }
    cluster.everyone_agrees();
    let config = cluster.nodes[odd].config.clone();
    cluster.nodes[odd] = Node::open(config.clone(), old.clone());
    cluster.until("it is found", |cluster| cluster.nodes[odd].ended.is_some().then_some(()));
    let ended = &cluster.nodes[odd].ended;
    assert!(matches!(ended, Some(DriverError::Forgot { .. })), "{ended:?}");
    cluster.nodes[odd] = Node::open(Config { founding: Founding::Reseed, ..config }, old);
    cluster.everyone_agrees();
}

#[test]
fn what_the_leader_said_before_an_empty_member_was_let_in_does_no_harm_when_it_comes_late() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let lost = (leader + 1) % 3;
    for _ in 0..5 {
        cluster.put(leader, "/a", "1").expect("it commits");
    }
    cluster.everyone_agrees();
    let id = lose_disk(&mut cluster, lost);
    // Heartbeats for what it had.
    let kept = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = kept.clone();
    cluster.copies = Box::new(move |letter| {
        if letter.to == id && matches!(letter.body, Body::Raft(_)) {
            seen.borrow_mut().push(letter.clone());
        }
        1
    });
    (0..3).for_each(|_| cluster.tick());
    for letter in kept.take() {
        let bytes = crate::transport::encode(CLUSTER, &letter).expect("one for others");
        cluster.nodes[lost].shared.receive(&bytes).expect("it can be read");
        cluster.tick();
    }
    assert!(cluster.nodes[lost].ended.is_none());
    cluster.everyone_agrees();
}

#[test]
fn an_acknowledgement_from_before_the_loss_that_comes_late_is_found_out() {
    let mut cluster = Cluster::new();
    let leader = cluster.leader();
    let lost = (leader + 1) % 3;
    let id = cluster.nodes[lost].id();
    let kept = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = kept.clone();
    cluster.copies = Box::new(move |letter| {
        if letter.from == id && matches!(letter.body, Body::Raft(_)) {
            seen.borrow_mut().push(letter.clone());
        }
        1
    });
    for _ in 0..5 {
        cluster.put(leader, "/a", "1").expect("it commits");
    }
    cluster.everyone_agrees();
    cluster.copies = Box::new(|_| 1);
    lose_disk(&mut cluster, lost);
    cluster.until("it is let in", |cluster| (!cluster.nodes[lost].member.is_mute()).then_some(()));
    for letter in kept.take() {
        let bytes = crate::transport::encode(CLUSTER, &letter).expect("one for others");
        cluster.nodes[leader].shared.receive(&bytes).expect("it can be read");
    }
    cluster.put(leader, "/a", "2").expect("it commits");
    cluster.everyone_agrees();
    assert!(cluster.nodes[lost].ended.is_none(), "{:?}", cluster.nodes[lost].ended);
}
