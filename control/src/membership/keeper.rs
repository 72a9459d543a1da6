//! The leader's part: Raft's configuration follows the members' records, one step at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use isopod_raft_store::{
    Compare, MemberId, Members, MembershipChange, MembershipError, Progress, Store, WatchEnd,
};
use tokio_util::sync::CancellationToken;

use super::record::{Record, Roll, Standing};

/// A learner that lacks no more than this many entries has caught up: they arrive within a round trip or two.
const CAUGHT_UP: u64 = 256;
/// How often a learner's progress is looked at, and a step that failed is tried again.
const PERIOD: Duration = Duration::from_millis(100);

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take part in what is decided.
    Change(MembershipChange),
    /// Let another one lead, which then takes this member out.
    HandOver,
    /// It is out: remove its record.
    Forget(MemberId),
}

/// The next step from what is to what the records say; `None` when they agree or nothing can be done now.
pub(crate) fn plan(
    own: MemberId,
    records: &BTreeMap<MemberId, Record>,
    members: &Members,
    progress: &[Progress],
) -> Option<Step> {
    let caught_up = |member: MemberId| {
        let known = progress.iter().find(|progress| progress.member == member);
        known.is_some_and(|p| p.is_active && !p.is_receiving_snapshot && p.behind <= CAUGHT_UP)
    };
    let step = |(&member, record): (&MemberId, &Record)| match record.standing {
        Standing::Leaves if !members.contains(member) => Some(Step::Forget(member)),
        Standing::Leaves if members.voters == [member] => None,
        Standing::Leaves if member == own => Some(Step::HandOver),
        Standing::Leaves => Some(Step::Change(MembershipChange::Remove(member))),
        Standing::Stays if !members.contains(member) => {
            Some(Step::Change(MembershipChange::AddLearner(member)))
        }
        Standing::Stays if members.learners.contains(&member) && caught_up(member) => {
            Some(Step::Change(MembershipChange::Promote(member)))
        }
        Standing::Stays => None,
    };
    records.iter().find_map(step)
}

/// Works until `shutdown`, or until this member no longer leads in `term`: then its steps do nothing.
pub(crate) async fn run(own: MemberId, term: u64, store: Store, shutdown: CancellationToken) {
    let roll = Roll::of(&store);
    let mut members = store.members();
    loop {
        let state = store.snapshot();
        let mut changes = match store.watch(roll.range(), state.revision()) {
            Ok(changes) => changes,
            Err(WatchEnd::Closed) => return shutdown.cancelled().await,
            // The state moved on between the two.
            Err(_) => continue,
        };
        let records = roll.all(&state);
        let now = members.borrow_and_update().clone();
        let step = plan(own, &records, &now, &store.progress());
        if let Some(step) = step {
            tracing::info!(?step, "changing the members");
            match carry_out(step, term, &store).await {
                Ok(()) => continue,
                Err(error) => tracing::warn!(?step, error, "the members were not changed; it is tried again"),
            }
        }
        let is_settled = step.is_none() && now.learners.is_empty();
        let pause = async {
            if is_settled { std::future::pending().await } else { tokio::time::sleep(PERIOD).await }
        };
        // Cancel-safe: everything is looked at anew.
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = changes.next() => {}
            _ = members.changed() => {}
            () = pause => {}
        }
    }
}

async fn carry_out(
    step: Step,
    term: u64,
    store: &Store,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match step {
        Step::Change(change) => match store.change_membership(change).await {
            // Somebody was faster.
            Ok(()) | Err(MembershipError::NotAMember { .. } | MembershipError::IsAVoter { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Step::HandOver => match store.transfer_leadership(None).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        },
        Step::Forget(member) => {
            let roll = Roll::of(store);
            if let Some((_, at)) = roll.get(&store.snapshot(), member) {
                let mut txn = roll.forget(member, at);
                txn.compares.push(Compare::Term(term));
                store.propose(txn).await?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MemberId = MemberId(1);

    fn records(standings: &[(u64, Standing)]) -> BTreeMap<MemberId, Record> {
        let record = |standing| Record {
            name: String::new(),
            peer_address: String::new(),
            api_address: String::new(),
            standing,
            asked_by: None,
        };
        standings.iter().map(|(member, standing)| (MemberId(*member), record(*standing))).collect()
    }

    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let ids = |numbers: &[u64]| numbers.iter().copied().map(MemberId).collect();
        Members { voters: ids(voters), learners: ids(learners) }
    }

    fn progress(behind: u64) -> Progress {
        Progress {
            member: MemberId(2),
            is_voter: false,
            matched: 0,
            behind,
            is_active: true,
            is_receiving_snapshot: false,
        }
    }

    #[test]
    fn a_member_that_joins_becomes_a_learner_and_then_a_voter() {
        let both = records(&[(1, Standing::Stays), (2, Standing::Stays)]);
        let add = Step::Change(MembershipChange::AddLearner(MemberId(2)));
        assert_eq!(plan(OWN, &both, &members(&[1], &[]), &[]), Some(add));
        let (learning, promote) = (members(&[1], &[2]), Step::Change(MembershipChange::Promote(MemberId(2))));
        assert_eq!(plan(OWN, &both, &learning, &[progress(CAUGHT_UP)]), Some(promote));
        assert_eq!(plan(OWN, &both, &members(&[1, 2], &[]), &[progress(0)]), None);
    }

    #[test]
    fn a_learner_waits_until_it_answers_and_has_everything() {
        let both = records(&[(1, Standing::Stays), (2, Standing::Stays)]);
        let learning = members(&[1], &[2]);
        for lagging in [
            progress(CAUGHT_UP + 1),
            Progress { is_active: false, ..progress(0) },
            Progress { is_receiving_snapshot: true, ..progress(0) },
            Progress { member: MemberId(3), ..progress(0) },
        ] {
            assert_eq!(plan(OWN, &both, &learning, &[lagging]), None, "{lagging:?}");
        }
    }

    #[test]
    fn a_member_that_leaves_is_taken_out_and_then_forgotten() {
        let leaving = records(&[(1, Standing::Stays), (2, Standing::Leaves)]);
        let remove = Step::Change(MembershipChange::Remove(MemberId(2)));
        assert_eq!(plan(OWN, &leaving, &members(&[1, 2, 3], &[]), &[]), Some(remove));
        assert_eq!(plan(OWN, &leaving, &members(&[1, 3], &[2]), &[]), Some(remove));
        assert_eq!(plan(OWN, &leaving, &members(&[1, 3], &[]), &[]), Some(Step::Forget(MemberId(2))));
    }

    #[test]
    fn a_leader_that_leaves_hands_over_first_and_the_only_voter_stays() {
        let leaving = records(&[(1, Standing::Leaves), (2, Standing::Stays)]);
        assert_eq!(plan(OWN, &leaving, &members(&[1, 2], &[]), &[]), Some(Step::HandOver));
        let remove = Step::Change(MembershipChange::Remove(OWN));
        assert_eq!(plan(MemberId(2), &leaving, &members(&[1, 2], &[]), &[]), Some(remove));
        assert_eq!(plan(OWN, &leaving, &members(&[1], &[2]), &[]), None);
    }
}
