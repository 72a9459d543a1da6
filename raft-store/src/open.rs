//! From the files of a folder to a member that can run. Everything is checked first; only then is a torn tail cut and
//! an old file removed.

use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{ConfState, EntryType};

use crate::command::codec;
use crate::config::Config;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::history::Commit;
use crate::log::frame::Position;
use crate::log::{self, Log};
use crate::machine::Machine;
use crate::member::{JOINING_FILE, change_of};
use crate::member::{Member, Parts};
use crate::membership::{ClusterId, Founding, Members};
use crate::mutant::{self, Mutant};
use crate::shared::Shared;
use crate::snapshot_file::{self, Meta};

/// Before the first entry: an index that needs no entry, so that a member that joins begins with a snapshot and learns
/// from it who the members are.
pub(crate) const GENESIS: Position = Position { index: 1, term: 1 };

/// Where a member begins that joins: before everything, so that it is sent a snapshot.
const NOTHING: Position = Position { index: 0, term: 0 };

/// Newest entries kept in memory. One member reads each back once, right after writing it.
const CACHE_BYTES: usize = 4 << 20;

/// Entries applied at a time while the log is read back.
const REPLAY_BYTES: u64 = 4 << 20;

/// Opens what `disk` holds. `run` is a number that no other run of the member has, nearly.
pub(crate) fn open(
    config: &Config,
    disk: Arc<dyn Disk>,
    run: u64,
) -> Result<(Arc<Shared>, Member), OpenError> {
    assert_ne!(config.member.0, 0, "zero stands for nobody");
    if config.founding == Founding::Reseed {
        set_aside(&*disk)?;
    }
    let names = disk.list()?;
    let (meta, mut machine, mut log) = match newest_snapshot(&names) {
        Some(name) => restore(config, &disk, &names, name)?,
        None => create(config, &disk, &names)?,
    };
    let shared = Arc::new(Shared::new(config, meta.cluster, machine.snapshot()));
    let start = (meta.position, meta.conf_state.clone());
    let (applied, conf_state) = replay(&mut machine, &log, start, &shared, &*disk)?;
    log.commit_to(applied.index, conf_state.clone());
    log.set_newest_snapshot(meta.clone());
    shared.set_sole_voter(is_sole_voter(&conf_state, config));
    shared.members.send_replace(Members::of(&conf_state));
    remove_leftovers(&*disk, meta.position.index, log.cut(meta.position.index))?;
    let is_joining = is_joining(&disk.list()?);
    let parts = Parts { machine, log, meta, applied, conf_state, run, is_joining };
    let member = Member::new(config, shared.clone(), parts)
        .map_err(|error| OpenError::Raft { source: Box::new(error) })?;
    Ok((shared, member))
}

fn is_sole_voter(conf_state: &ConfState, config: &Config) -> bool {
    conf_state.voters == [config.member.0] && conf_state.voters_outgoing.is_empty()
}

fn is_joining(names: &[String]) -> bool {
    names.iter().any(|name| name == JOINING_FILE)
}

/// What a file is called that is kept only to be looked at.
const ASIDE: &str = ".aside";

/// Takes everything out of use that the folder holds, unless the member waits already to be let in. From the first step on,
/// opening the folder waits to be let in too.
fn set_aside(disk: &dyn Disk) -> Result<(), OpenError> {
    let mut names = disk.list()?;
    let Some(newest) = newest_snapshot(&names) else { return Ok(()) };
    if is_joining(&names) && *newest == snapshot_file::name_of(NOTHING.index) {
        return Ok(());
    }
    disk.create(JOINING_FILE)?.sync()?;
    disk.sync_dir()?;
    // Segments come before snapshots, and the newest snapshot last.
    names.sort_unstable();
    let in_use =
        |name: &&String| log::segment::sequence_of(name).is_some() || snapshot_file::index_of(name).is_some();
    for name in names.iter().filter(in_use) {
        disk.rename(name, &format!("{name}{ASIDE}"))?;
    }
    disk.sync_dir()?;
    tracing::warn!("what the folder held is set aside; everything is fetched anew from the other members");
    Ok(())
}

fn newest_snapshot(names: &[String]) -> Option<&String> {
    names.iter().filter(|name| snapshot_file::index_of(name).is_some()).max()
}

fn log_options(config: &Config) -> log::Options {
    // What is proposed at a time, half a segment and one transaction, must fit in a fresh one.
    let least = 2 * config.txn_bytes_max as u64 + (64 << 10);
    let segment_bytes = config.segment_bytes.clamp(least.min(MAX_SEGMENT_BYTES), MAX_SEGMENT_BYTES);
    log::Options { member: config.member, segment_bytes, cache_bytes: CACHE_BYTES }
}

/// Offsets in a segment are kept as u32.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

fn restore(
    config: &Config,
    disk: &Arc<dyn Disk>,
    names: &[String],
    newest: &str,
) -> Result<(Meta, Machine, Log), OpenError> {
    let (mut meta, mut machine) = snapshot_file::read(&**disk, newest)?;
    let no_log = names.iter().all(|name| log::segment::sequence_of(name).is_none());
    let log = if no_log && [NOTHING, GENESIS].contains(&meta.position) {
        // The process ended between making the first snapshot and the log.
        Log::create(disk.clone(), log_options(config), meta.position, meta.conf_state.clone())?
    } else {
        let recovered = log::recover(disk, log_options(config), names)?;
        let received = names.iter().any(|name| name == snapshot_file::RECEIVED_FILE);
        if received && recovered.base().index > meta.position.index {
            // The process ended between the new beginning of the log and the renaming.
            (meta, machine) = snapshot_file::read_unnamed(&**disk, snapshot_file::RECEIVED_FILE)?;
            recovered.check_continues(meta.position)?;
            snapshot_file::take_received(&**disk, meta.position.index)?;
        }
        recovered.check_continues(meta.position)?;
        recovered.repair()?
    };
    Ok((meta, machine, log))
}

fn create(
    config: &Config,
    disk: &Arc<dyn Disk>,
    names: &[String],
) -> Result<(Meta, Machine, Log), OpenError> {
    if let Some(name) = names.iter().find(|name| log::segment::sequence_of(name).is_some()) {
        let (path, reason) =
            (disk.path(name), "there is a log, but the snapshot that it continues is missing");
        return Err(OpenError::Damaged { path, offset: 0, reason });
    }
    // A member that was to join and was interrupted goes on with that.
    let joins = config.founding != Founding::Alone || is_joining(names);
    let meta = if joins {
        // Before there is anything that could be taken for a member's.
        disk.create(JOINING_FILE)?.sync()?;
        disk.sync_dir()?;
        let known = || names.iter().rev().find_map(|name| snapshot_file::cluster_of(&**disk, name));
        let cluster = config.cluster.or_else(known).ok_or(OpenError::NoCluster)?;
        Meta { cluster, position: NOTHING, conf_state: ConfState::default() }
    } else {
        let cluster = config.cluster.unwrap_or_else(|| ClusterId(rand::random()));
        let conf_state = ConfState { voters: vec![config.member.0], ..ConfState::default() };
        Meta { cluster, position: GENESIS, conf_state }
    };
    let machine = Machine::new();
    snapshot_file::write(&**disk, &meta, &machine)?;
    let log = Log::create(disk.clone(), log_options(config), meta.position, meta.conf_state.clone())?;
    Ok((meta, machine, log))
}

/// Applies the committed entries after the snapshot; returns the position of the last, and who the members are then.
/// They also fill the history, so that watchers can go on over a restart.
fn replay(
    machine: &mut Machine,
    log: &Log,
    (snapshot, mut conf_state): (Position, ConfState),
    shared: &Shared,
    disk: &dyn Disk,
) -> Result<(Position, ConfState), OpenError> {
    let mut applied = snapshot;
    loop {
        // What is in the log of the only voter is committed: its own disk is the quorum. As soon as it is not the only one
        // any more, that holds no longer.
        let alone = conf_state.voters == [shared.id.0];
        let end = if alone { log.last().index } else { log.hard_state().commit } + 1;
        if applied.index + 1 >= end {
            return Ok((applied, conf_state));
        }
        let mut commits = Vec::new();
        for entry in log.read_entries(applied.index + 1, end, REPLAY_BYTES)? {
            let unknown = || unreadable(disk, log, entry.index);
            applied = Position { index: entry.index, term: entry.term };
            if entry.entry_type == EntryType::EntryConfChangeV2 {
                change_of(&entry).ok_or_else(unknown)?.apply_to(&mut conf_state);
                break;
            }
            if entry.entry_type != EntryType::EntryNormal {
                return Err(unknown());
            }
            let skips = mutant::planted(Mutant::AppliedWithoutData) && entry.index + 1 == end;
            if entry.data.is_empty() || skips {
                continue;
            }
            for txn in codec::decode(&entry.data).ok_or_else(unknown)? {
                let done = machine.apply(txn, entry.term);
                commits.extend(Commit::of(done));
            }
        }
        shared.publish(commits, machine.snapshot(), Vec::new(), Duration::ZERO);
    }
}

/// Whether the files are those of a store.
pub(crate) fn holds_a_store(names: &[String]) -> bool {
    newest_snapshot(names).is_some() || names.iter().any(|name| log::segment::sequence_of(name).is_some())
}

/// The state after everything that is in the log, known to be committed or not; `None` when there is no state.
pub(crate) fn read_all_of_it(
    config: &Config,
    disk: &Arc<dyn Disk>,
) -> Result<Option<(Position, Machine)>, OpenError> {
    let names = disk.list()?;
    let Some(newest) = newest_snapshot(&names).filter(|_| !is_joining(&names)) else { return Ok(None) };
    let (meta, mut machine, log) = restore(config, disk, &names, newest)?;
    if meta.position == NOTHING {
        return Ok(None);
    }
    let (mut applied, last) = (meta.position, log.last().index);
    while applied.index < last {
        for entry in log.read_entries(applied.index + 1, last + 1, REPLAY_BYTES)? {
            applied = Position { index: entry.index, term: entry.term };
            if entry.entry_type == EntryType::EntryNormal && !entry.data.is_empty() {
                let txns =
                    codec::decode(&entry.data).ok_or_else(|| unreadable(&**disk, &log, entry.index))?;
                txns.into_iter().for_each(|txn| drop(machine.apply(txn, entry.term)));
            }
        }
    }
    Ok(Some((applied, machine)))
}

fn unreadable(disk: &dyn Disk, log: &Log, index: u64) -> OpenError {
    OpenError::Damaged {
        path: disk.path(&log.segment_of(index)),
        offset: log.offset_of(index),
        reason: "an entry cannot be applied by this release",
    }
}

/// Removes unfinished files, snapshots older than the one in use, and segments of which it holds everything.
fn remove_leftovers(disk: &dyn Disk, snapshot: u64, segments: Vec<String>) -> Result<(), OpenError> {
    let old = |name: &String| snapshot_file::index_of(name).is_some_and(|index| index < snapshot);
    let unfinished = |name: &String| {
        [snapshot_file::UNFINISHED_FILE, snapshot_file::RECEIVED_FILE].contains(&name.as_str())
            || log::UNFINISHED_FILES.contains(&name.as_str())
    };
    let mut leftovers = disk.list()?;
    leftovers.retain(|name| old(name) || unfinished(name));
    leftovers.extend(segments);
    leftovers.iter().try_for_each(|name| disk.remove(name))?;
    if !leftovers.is_empty() {
        disk.sync_dir()?;
    }
    Ok(())
}
