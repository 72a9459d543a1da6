//! Faults planted in the store, each of which the seeds must find. `docs/simulation.md` has the table; after a change of
//! the simulation, `ISOPOD_MUTANTS=1` with `--nocapture` prints its rows.

use super::run;
use crate::mutant::{Mutant, plant};

/// Runs seeds with the fault until one finds it, which one of the first `within` must.
fn find(mutant: Mutant, within: u64) {
    let _planted = plant(mutant);
    let found = (0..within).find_map(|seed| Some((seed, run(seed, false).err()?)));
    let Some((seed, words)) = found else { panic!("no seed of {within} finds {mutant:?}") };
    if std::env::var_os("ISOPOD_MUTANTS").is_some() {
        println!("ROW | `{mutant:?}` | {} | {within} | {words}", seed + 1);
    }
    let documented = include_str!("../../../docs/simulation.md").contains(&format!("| `{mutant:?}` |"));
    assert!(documented, "docs/simulation.md does not list {mutant:?}");
}

/// One test for each fault, with the number of seeds that must be enough.
macro_rules! found {
    ($($name:ident: $mutant:ident within $seeds:literal;)*) => {
        $(
            #[test]
            fn $name() {
                find(Mutant::$mutant, $seeds);
            }
        )*
    };
}

found! {
    a_write_acknowledged_before_it_is_synced_is_found: AckBeforeSync within 200;
    a_vote_that_a_crash_forgets_is_found: VoteNotPersisted within 600;
    a_segment_name_that_a_crash_forgets_is_found: FolderNotSynced within 200;
    a_snapshot_that_a_crash_tears_is_found: SnapshotNotSynced within 200;
    a_failed_sync_taken_for_a_good_one_is_found: SyncErrorIgnored within 600;
    a_torn_tail_that_stays_is_found: TornTailKept within 600;
    a_commit_index_before_its_entries_is_found: CommitBeforeEntries within 600;
    an_applied_index_apart_from_its_data_is_found: AppliedWithoutData within 200;
    a_revision_given_twice_after_a_restart_is_found: RevisionReused within 200;
    a_snapshot_installed_on_old_entries_is_found: SnapshotWithoutLogCut within 400;
    a_state_that_depends_on_the_member_is_found: ApplyByMember within 200;
    a_lease_that_lasts_too_long_is_found: LeaseTooLong within 600;
    a_lease_that_goes_on_while_another_one_leads_is_found: LeaseInTransfer within 600;
    a_voter_that_forgets_a_lease_is_found: LeaseForgotten within 600;
    a_follower_that_reads_without_asking_is_found: ReadAnywhere within 200;
    a_forwarded_write_that_happens_twice_is_found: ForwardedTwice within 200;
    a_deposed_leader_that_denies_a_write_is_found: DeposedLeaderDenies within 400;
    a_write_proposed_again_too_early_is_found: SupersededTooEarly within 200;
    a_watch_with_a_gap_after_compaction_is_found: WatchGap within 200;
    a_watch_that_repeats_an_event_is_found: WatchRepeats within 200;
    a_watch_whose_progress_is_ahead_of_its_events_is_found: WatchProgressAhead within 200;
    an_empty_member_that_votes_is_found: EmptyMemberSpeaks within 600;
    memory_that_nobody_counts_is_found: MemoryNotCounted within 600;
    a_leader_that_stops_without_handing_over_is_found: NoHandOver within 200;
    revisions_that_go_on_in_a_new_cluster_are_found: RevisionsGoOn within 200;
}
