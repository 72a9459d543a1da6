//! What a drill does to the cluster, one fault after the other: each is done, users are waited for until they are well again,
//! then what was done is put right.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use isopod_control::membership::protocol::{Done, HandOver, LEADER, MEMBERS};

use super::fleet::Fleet;
use super::load::Seen;
use super::report::Effect;
use super::show::Show;
use super::{LOOK_AGAIN, RECOVERY_TIMEOUT, STEADY, pods};
use crate::{demo, member};

/// How long a member that leads is paused.
const PAUSE: Duration = Duration::from_secs(3);
/// How many members join or leave in a fault, so that odd numbers stay odd.
const STEP: usize = 2;

/// What people call a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Word {
    /// SIGKILL of the member that leads
    KillLeader,
    /// SIGKILL of one that does not
    KillFollower,
    /// Leadership is handed over
    HandOver,
    /// SIGSTOP of the member that leads, for three seconds
    PauseLeader,
    /// SIGKILL of each node in turn, until its pods are replaced elsewhere
    KillNodes,
    /// Two more members join
    Grow,
    /// Two members are removed, the one that leads first
    Shrink,
}

impl Word {
    /// What a drill does when nothing else is asked for.
    pub(super) const DEFAULT: [Word; 7] = [
        Word::KillLeader,
        Word::KillFollower,
        Word::HandOver,
        Word::PauseLeader,
        Word::KillNodes,
        Word::Grow,
        Word::Shrink,
    ];
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = clap::ValueEnum::to_possible_value(self);
        f.write_str(word.as_ref().map_or("", |word| word.get_name()))
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    KillLeader,
    KillFollower,
    HandOver,
    PauseLeader,
    KillNode(usize),
    Grow,
    Shrink,
}

/// Whether a cluster that begins with so many members stands all of it.
pub(super) fn check(faults: &[Word], members: u8) -> anyhow::Result<()> {
    let mut members = usize::from(members);
    for fault in faults {
        match fault {
            Word::KillNodes => {}
            Word::Grow => members += STEP,
            Word::Shrink => {
                ensure!(members > STEP, "of {members} members, two cannot leave: put grow before shrink");
                members -= STEP;
            }
            fault => ensure!(
                members > 2,
                "{fault}: {members} members do not go on without one: use --members 3, or put grow before it"
            ),
        }
    }
    Ok(())
}

/// One round; mixed when there is a seed. What grows and shrinks stays in its place among the others.
pub(super) fn order(words: &[Word], nodes: usize, seed: Option<u64>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for word in words {
        match word {
            Word::KillLeader => faults.push(Fault::KillLeader),
            Word::KillFollower => faults.push(Fault::KillFollower),
            Word::HandOver => faults.push(Fault::HandOver),
            Word::PauseLeader => faults.push(Fault::PauseLeader),
            Word::KillNodes => faults.extend((0..nodes).map(Fault::KillNode)),
            Word::Grow => faults.push(Fault::Grow),
            Word::Shrink => faults.push(Fault::Shrink),
        }
    }
    let Some(mut state) = seed else { return faults };
    let is_fixed = |fault: &Fault| matches!(fault, Fault::Grow | Fault::Shrink);
    // Fisher and Yates, with the numbers of splitmix64.
    for part in faults.split_mut(is_fixed) {
        for last in (1..part.len()).rev() {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut drawn = state;
            drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let place = (drawn ^ (drawn >> 31)) % (last as u64 + 1);
            part.swap(last, usize::try_from(place).unwrap_or(0));
        }
    }
    faults
}

/// Does it, and returns what users noticed when all is well again.
pub(super) async fn carry_out(
    fault: Fault,
    fleet: &mut Fleet,
    seen: &Seen,
    show: Show,
) -> anyhow::Result<Effect> {
    let leader = fleet.leader().await?;
    let follower = (leader + 1) % fleet.members.len();
    let what = describe(fault, fleet, leader, follower);
    show.line(&what)?;
    let at = Instant::now();
    act(fault, fleet, leader, follower).await?;
    let mut replaced = None;
    if let Fault::KillNode(node) = fault {
        let name = fleet.nodes[node].name.clone();
        pods::ready_elsewhere(&fleet.client(), &name, pods::wanted(fleet.nodes.len())).await?;
        replaced = Some(at.elapsed());
    }
    recovered(&what, at, seen, show).await?;
    tokio::time::sleep(STEADY).await;
    let restarted = Instant::now();
    put_right(fault, fleet, leader, follower).await?;
    let well_after = restarted.elapsed();
    tokio::time::sleep(STEADY).await;
    let mut effect = recovered(&what, at, seen, show).await?;
    effect.replaced = replaced;
    effect.lines().iter().try_for_each(|line| show.detail(line))?;
    if matches!(fault, Fault::KillLeader | Fault::KillFollower | Fault::KillNode(_)) {
        show.detail(&format!("started again, all well after {:.0} ms", well_after.as_secs_f64() * 1000.0))?;
    }
    Ok(effect)
}

fn describe(fault: Fault, fleet: &Fleet, leader: usize, follower: usize) -> String {
    let name = |place: usize| &fleet.members[place].process.name;
    match fault {
        Fault::KillLeader => format!("kill -9 {}, which leads", name(leader)),
        Fault::KillFollower => format!("kill -9 {}, which follows", name(follower)),
        Fault::PauseLeader => {
            format!("pause {}, which leads, for {} s (SIGSTOP)", name(leader), PAUSE.as_secs())
        }
        Fault::HandOver => format!("let {} hand over to {}", name(leader), name(follower)),
        Fault::KillNode(node) => format!("kill -9 {}", fleet.nodes[node].name),
        Fault::Grow => format!("let {STEP} more members join, to {}", fleet.members.len() + STEP),
        Fault::Shrink => format!(
            "remove {STEP} members, {}, which leads, first; {} are left",
            name(leader),
            fleet.members.len() - STEP
        ),
    }
}

async fn act(fault: Fault, fleet: &mut Fleet, leader: usize, follower: usize) -> anyhow::Result<()> {
    match fault {
        Fault::KillLeader => fleet.members[leader].process.kill().await,
        Fault::KillFollower => fleet.members[follower].process.kill().await,
        Fault::PauseLeader => {
            fleet.members[leader].process.pause()?;
            tokio::time::sleep(PAUSE).await;
            fleet.members[leader].process.resume()
        }
        Fault::HandOver => {
            let to = Some(fleet.members[follower].process.name.clone());
            let body = serde_json::to_vec(&HandOver { to })?;
            let asked = &fleet.members[leader].client;
            member::ask::<Done>(asked, http::Method::POST, LEADER, body).await.map(drop)
        }
        Fault::KillNode(node) => fleet.nodes[node].kill().await,
        Fault::Grow => {
            for _ in 0..STEP {
                fleet.grow().await?;
            }
            Ok(())
        }
        Fault::Shrink => {
            for _ in 0..STEP {
                shrink(fleet).await?;
            }
            Ok(())
        }
    }
}

/// Removes the member that leads, by asking another one as it goes on after.
async fn shrink(fleet: &mut Fleet) -> anyhow::Result<()> {
    let leader = fleet.leader().await?;
    let asked = (leader + 1) % fleet.members.len();
    let path = format!("{MEMBERS}/{}", fleet.members[leader].number);
    let _: Done = member::ask(&fleet.members[asked].client, http::Method::DELETE, &path, Vec::new()).await?;
    fleet.forget(leader).await?;
    fleet.all_well().await
}

/// Starts again what was killed, and waits until the cluster is as before.
async fn put_right(fault: Fault, fleet: &mut Fleet, leader: usize, follower: usize) -> anyhow::Result<()> {
    let dir = fleet.dir().to_owned();
    let again = match fault {
        Fault::KillLeader => Some(&mut fleet.members[leader].process),
        Fault::KillFollower => Some(&mut fleet.members[follower].process),
        Fault::KillNode(node) => Some(&mut fleet.nodes[node]),
        Fault::PauseLeader | Fault::HandOver | Fault::Grow | Fault::Shrink => None,
    };
    if let Some(process) = again {
        process.start(&dir).await?;
    }
    fleet.all_well().await?;
    if let Fault::KillNode(_) = fault {
        let client = fleet.client();
        pods::nodes_ready(&client, fleet.nodes.len()).await?;
        // All pods are on the other nodes: new ones are spread again.
        pods::restart(&client).await?;
        demo::ready(&client).await?;
        pods::spread(&client, fleet.nodes.len()).await?;
    }
    Ok(())
}

/// Waits until a write and a request went well that were begun after the fault.
async fn recovered(what: &str, at: Instant, seen: &Seen, show: Show) -> anyhow::Result<Effect> {
    loop {
        match Effect::of(what, show.started, at, seen) {
            Some(effect) => return Ok(effect),
            None if at.elapsed() > RECOVERY_TIMEOUT => {
                bail!("{what}: writes or requests did not go on within {} s", RECOVERY_TIMEOUT.as_secs())
            }
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_mixes_the_faults_and_leaves_growth_in_its_place() {
        let plain = order(&Word::DEFAULT, 2, None);
        assert_eq!(plain.len(), 8);
        assert_eq!(order(&Word::DEFAULT, 2, Some(7)), order(&Word::DEFAULT, 2, Some(7)));
        let mixed: Vec<_> = (0..8).map(|seed| order(&Word::DEFAULT, 2, Some(seed))).collect();
        assert!(mixed.iter().any(|faults| *faults != plain));
        for faults in mixed {
            assert_eq!(faults[6..], [Fault::Grow, Fault::Shrink]);
            assert!(plain.iter().all(|fault| faults.contains(fault)));
        }
    }

    #[test]
    fn what_a_cluster_does_not_stand_is_refused_before_it_begins() {
        assert!(check(&Word::DEFAULT, 3).is_ok());
        assert!(check(&[Word::Grow, Word::Grow, Word::Shrink, Word::Shrink], 1).is_ok());
        let error = |faults: &[Word], members| check(faults, members).unwrap_err().to_string();
        assert!(error(&[Word::KillLeader], 1).contains("--members 3"));
        assert!(error(&[Word::Shrink], 1).contains("put grow before"));
    }
}
