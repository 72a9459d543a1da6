//! Writing, reading back, crashing and damaging a log, on a disk in memory.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::disk::memory::{Faults, MemoryDisk};
use crate::error::OpenError;

const BASE: Position = Position { index: 1, term: 1 };

fn options() -> Options {
    Options { member: MemberId(1), segment_bytes: 4_096, cache_bytes: 1_000 }
}

fn create(disk: &MemoryDisk) -> Log {
    Log::create(Arc::new(disk.clone()), options(), BASE, ConfState::default()).expect("an empty disk")
}

fn reopen(disk: &MemoryDisk, snapshot: Position) -> Result<Log, OpenError> {
    let names = disk.list()?;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let recovered = recover(&disk, options(), &names)?;
    recovered.check_continues(snapshot)?;
    Ok(recovered.repair()?)
}

/// An entry whose data tells its index and term.
fn entry(index: u64, term: u64, length: usize) -> Entry {
    let mut data = format!("{index}.{term}").into_bytes();
    data.resize(length, b'x');
    Entry { index, term, data: data.into(), ..Entry::default() }
}

fn append(log: &mut Log, entries: &[Entry]) {
    log.append(entries, None).expect("the disk is well");
}

fn sync(log: &mut Log) {
    if let Some(unsynced) = log.unsynced() {
        unsynced.sync().expect("the disk is well");
        log.synced(unsynced.sequence);
    }
}

fn all(log: &Log) -> Vec<Entry> {
    let (low, high) = (log.base.index + 1, log.last().index + 1);
    if low == high { Vec::new() } else { log.read_entries(low, high, u64::MAX).expect("they are whole") }
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 1, commit, ..HardState::default() }
}

/// Thirty entries of some hundred bytes, in frames of one to three, over several segments, all synced.
fn filled(disk: &MemoryDisk) -> Vec<Entry> {
    let mut log = create(disk);
    let mut index = BASE.index;
    while index < 31 {
        let entries: Vec<Entry> =
            (1..=1 + index % 3).map(|n| entry(index + n, 2, 200 + 30 * n as usize)).collect();
        index += entries.len() as u64;
        log.append(&entries, Some(&state(2, index - entries.len() as u64))).expect("the disk is well");
        sync(&mut log);
    }
    all(&log)
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    let mut names = disk.list().expect("it can be listed");
    names.retain(|name| segment::sequence_of(name).is_some());
    names
}

#[test]
fn entries_and_hard_state_are_read_back_over_segments() {
    let disk = MemoryDisk::default();
    let entries = filled(&disk);
    assert!(segments(&disk).len() >= 3, "{:?}", segments(&disk));
    let log = reopen(&disk, BASE).expect("it is whole");
    assert_eq!(all(&log), entries);
    assert_eq!((log.hard_state().term, log.hard_state().vote), (2, 1));
    assert_eq!(log.last(), Position { index: 31, term: 2 });
}

#[test]
fn reading_stops_at_the_size_asked_for_but_gives_one_entry_at_least() {
    let disk = MemoryDisk::default();
    let mut log = create(&disk);
    append(&mut log, &(2..8).map(|index| entry(index, 1, 400)).collect::<Vec<_>>());
    let indexes = |low, high, bytes| -> Vec<u64> {
        let entries = log.read_entries(low, high, bytes).expect("they are whole");
        entries.iter().map(|entry| entry.index).collect()
    };
    assert_eq!(indexes(2, 8, 1), [2]);
    assert_eq!(indexes(2, 8, 1_000), [2, 3]);
    assert_eq!(indexes(3, 5, u64::MAX), [3, 4]);
}

#[test]
fn entries_of_a_new_leader_replace_those_of_the_old_one() {
    let disk = MemoryDisk::default();
    let mut log = create(&disk);
    append(&mut log, &[entry(2, 2, 50), entry(3, 2, 50), entry(4, 2, 50)]);
    append(&mut log, &[entry(3, 3, 60)]);
    sync(&mut log);
    let expected = [entry(2, 2, 50), entry(3, 3, 60)];
    assert_eq!(all(&log), expected);
    let log = reopen(&disk, BASE).expect("it is whole");
    assert_eq!(all(&log), expected);
}

#[test]
fn segments_behind_a_snapshot_go_and_the_rest_is_read_back() {
    let disk = MemoryDisk::default();
    let entries = filled(&disk);
    let mut log = reopen(&disk, BASE).expect("it is whole");
    let names = log.cut(20);
    assert!(!names.is_empty() && names.len() < segments(&disk).len());
    names.iter().for_each(|name| disk.remove(name).expect("it is there"));
    let log = reopen(&disk, Position { index: 20, term: 2 }).expect("it is whole");
    assert!(log.base.index <= 20, "what comes after the snapshot is there");
    assert_eq!(all(&log), entries[(log.base.index - 1) as usize..]);
    let gap = reopen(&disk, BASE).err().expect("entries are missing");
    assert!(matches!(gap, OpenError::Damaged { .. }), "{gap:?}");
}

#[test]
fn a_crash_loses_nothing_that_was_synced_and_invents_nothing() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut disk = MemoryDisk::default();
        drop(create(&disk));
        let mut written: Vec<Entry> = Vec::new();
        for life in 0..4 {
            let mut log =
                reopen(&disk, BASE).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            assert_eq!(all(&log), written, "seed {seed}, life {life}");
            let mut durable = written.len();
            for _ in 0..random.random_range(0..12) {
                let next = BASE.index + 1 + written.len() as u64;
                let more = random.random_range(1..4);
                let entries: Vec<Entry> = (next..next + more)
                    .map(|index| entry(index, 2 + life, random.random_range(20..900)))
                    .collect();
                log.append(&entries, Some(&state(2 + life, 1))).expect("the disk is well");
                written.extend(entries);
                if random.random_bool(0.6) {
                    sync(&mut log);
                    durable = written.len();
                }
            }
            disk = disk.crashed(random.random());
            // What was not synced may be there: as far as it goes, it must be what was written.
            let log = reopen(&disk, BASE).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            let left = all(&log);
            assert!(left.len() >= durable, "seed {seed}: {} of {durable} synced entries", left.len());
            assert_eq!(left, written[..left.len()], "seed {seed}");
            written.truncate(left.len());
        }
    }
}

#[test]
fn a_crash_between_the_frames_of_entries_never_commits_what_they_replace() {
    let (old, new) = (|index| entry(index, 2, 900), |index| entry(index, 3, 900));
    let whole = MemoryDisk::default();
    let mut log = create(&whole);
    log.append(&(2..=7).map(old).collect::<Vec<_>>(), Some(&state(2, 2))).expect("the disk is well");
    sync(&mut log);
    // A new leader replaces all after the second, and has committed most of it already.
    let replacing: Vec<Entry> = (3..=12).map(new).collect();
    for change in 1.. {
        let disk = whole.copied();
        let mut log = reopen(&disk, BASE).expect("it is whole");
        let killed_at = Some(disk.changes() + change);
        disk.set_faults(Faults { killed_at, ..Faults::default() });
        let done = log.append(&replacing, Some(&state(3, 11))).is_ok();
        let log = reopen(&disk.crashed(change), BASE).expect("a crash does no damage");
        let commit = log.hard_state().commit;
        let committed = log.read_entries(2, commit + 1, u64::MAX).expect("they are whole");
        let expected: Vec<Entry> = std::iter::once(old(2)).chain((3..=commit).map(new)).collect();
        assert_eq!(committed, expected, "killed at change {change}");
        if done {
            return;
        }
    }
}

#[test]
fn entries_that_are_replaced_where_a_segment_begins_are_gone_when_those_before_are_cut() {
    for old in 3..12 {
        let disk = MemoryDisk::default();
        let mut log = create(&disk);
        let first: Vec<Entry> = (2..=1 + old).map(|index| entry(index, 2, 300)).collect();
        log.append(&first, Some(&state(2, 2))).expect("the disk is well");
        // The new leader's entries begin further back, at times with a new segment.
        let second: Vec<Entry> = (3..=40).map(|index| entry(index, 3, 300)).collect();
        log.append(&second, Some(&state(3, 30))).expect("the disk is well");
        sync(&mut log);
        let snapshot = Position { index: 1 + old, term: 3 };
        for name in log.cut(snapshot.index) {
            disk.remove(&name).expect("it is there");
        }
        let expected = (all(&log), log.last());
        let log = reopen(&disk, snapshot).unwrap_or_else(|error| panic!("{old} old ones: {error}"));
        assert_eq!((all(&log), log.last()), expected, "{old} old ones");
    }
}

#[test]
fn a_flipped_byte_is_an_error_that_names_the_place_or_loses_nothing() {
    let disk = MemoryDisk::default();
    let entries = filled(&disk);
    let mut found = 0;
    for name in segments(&disk) {
        let length = disk.content(&name).len();
        for at in 0..length {
            let damaged = disk.copied();
            damaged.tamper(&name, |bytes| bytes[at] ^= 0x20);
            match reopen(&damaged, BASE) {
                // Padding, and what was never used.
                Ok(log) => assert_eq!(all(&log), entries, "{name} at {at}"),
                Err(OpenError::Damaged { path, offset, .. }) => {
                    found += 1;
                    assert_eq!(path, disk.path(&name), "{name} at {at}");
                    let near = offset <= at as u64 && at as u64 - offset < 1_200;
                    assert!(near || offset == 0, "{name}: flipped at {at}, found at {offset}");
                }
                Err(other) => panic!("{name} at {at}: {other}"),
            }
        }
    }
    let used: usize = entries.iter().map(frame::entry_len).sum();
    assert!(found >= used, "only {found} of {used} bytes are guarded");
}

#[test]
fn a_last_write_that_was_cut_short_is_cut_off() {
    let disk = MemoryDisk::default();
    let entries = filled(&disk);
    let name = segments(&disk).pop().expect("there is one");
    let used = disk.content(&name).iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
    let log = reopen(&disk, BASE).expect("it is whole");
    let last = log.slots.back().expect("it is not empty").offset as usize;
    drop(log);
    for end in last..used {
        for lost in ["cut", "zeroed"] {
            let torn = disk.copied();
            torn.tamper(&name, |bytes| match lost {
                "cut" => bytes.truncate(end),
                _ => bytes[end..].fill(0),
            });
            let mut log = reopen(&torn, BASE).unwrap_or_else(|error| panic!("{lost} at {end}: {error}"));
            let left = all(&log);
            assert!(left.len() < entries.len() && left == entries[..left.len()], "{lost} at {end}");
            // It can be written to, and what is written is read back.
            let next = log.last().index + 1;
            append(&mut log, &[entry(next, 3, 100)]);
            sync(&mut log);
            let log = reopen(&torn, BASE).expect("it is whole");
            assert_eq!(log.last(), Position { index: next, term: 3 }, "{lost} at {end}");
        }
    }
}

#[test]
fn what_is_read_after_a_sync_that_failed_is_brought_to_the_disk() {
    for seed in 0..20 {
        let disk = MemoryDisk::default();
        let mut log = create(&disk);
        append(&mut log, &[entry(2, 2, 900)]);
        sync(&mut log);
        append(&mut log, &[entry(3, 2, 900)]);
        append(&mut log, &[entry(4, 2, 900)]);
        disk.set_faults(Faults { sync_fails_at: Some(disk.syncs() + 1), ..Faults::default() });
        assert!(log.unsynced().expect("there is something").sync().is_err());
        drop(log);
        // The process is started again; the power has not failed, so it sees what never got to the disk.
        let mut log = reopen(&disk, BASE).expect("it is whole");
        let seen = all(&log);
        assert_eq!(seen.len(), 3);
        if seed % 2 == 0 {
            append(&mut log, &[entry(5, 3, 100)]);
            sync(&mut log);
        }
        let log = reopen(&disk.crashed(seed), BASE).expect("it is whole");
        assert_eq!(all(&log)[..3], seen, "seed {seed}");
    }
}

#[test]
fn a_segment_that_was_written_to_after_a_kill_keeps_its_name() {
    for change in 1..12 {
        let disk = MemoryDisk::default();
        let mut log = create(&disk);
        append(&mut log, &[entry(2, 2, 1_500), entry(3, 2, 1_500)]);
        sync(&mut log);
        // Somewhere on the way to the next segment.
        disk.set_faults(Faults { killed_at: Some(disk.changes() + change), ..Faults::default() });
        drop(log.append(&[entry(4, 2, 1_500)], None));
        drop(log);
        disk.set_faults(Faults::default());
        let mut log = reopen(&disk, BASE).expect("it is whole");
        let next = log.last().index + 1;
        append(&mut log, &[entry(next, 3, 100)]);
        sync(&mut log);
        let written = all(&log);
        for seed in 0..10 {
            let log = reopen(&disk.crashed(seed), BASE).expect("it is whole");
            assert_eq!(all(&log), written, "killed at change {change}, seed {seed}");
        }
    }
}

#[test]
fn a_write_that_is_missing_before_later_ones_is_damage() {
    let disk = MemoryDisk::default();
    filled(&disk);
    let name = segments(&disk).pop().expect("there is one");
    let log = reopen(&disk, BASE).expect("it is whole");
    let mut starts: Vec<u32> = log
        .slots
        .iter()
        .filter(|slot| slot.segment == segment::sequence_of(&name).expect("ours"))
        .map(|slot| slot.offset)
        .collect();
    starts.dedup();
    assert!(starts.len() >= 2, "the last segment has several frames");
    let (victim, next) = (starts[starts.len() - 2] as usize, starts[starts.len() - 1] as usize);
    disk.tamper(&name, |bytes| bytes[victim..next].fill(0));
    let error = reopen(&disk, BASE).err().expect("a later frame proves that it was there");
    let expected = format!("/memory/{name} is damaged at offset {victim}: ");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn a_missing_segment_is_damage() {
    let disk = MemoryDisk::default();
    filled(&disk);
    let names = segments(&disk);
    for (missing, name) in names.iter().enumerate() {
        let damaged = disk.copied();
        damaged.remove(name).expect("it is there");
        let error = reopen(&damaged, BASE).err();
        if missing + 1 < names.len() {
            let error = error.unwrap_or_else(|| panic!("{name} is missing unnoticed"));
            assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        }
    }
    // Even the last one, when a snapshot or a commit index tells that it was there.
    let damaged = disk.copied();
    damaged.remove(names.last().expect("there is one")).expect("it is there");
    let error = reopen(&damaged, Position { index: 31, term: 2 }).err().expect("the snapshot goes further");
    assert!(error.to_string().contains("committed entries after it are missing"), "{error}");
}

#[test]
fn a_log_that_began_anew_behind_a_snapshot_comes_back_as_that() {
    for killed in [false, true] {
        let disk = MemoryDisk::default();
        filled(&disk);
        let mut log = reopen(&disk, BASE).expect("it is whole");
        let base = Position { index: 20, term: 7 };
        log.restart(base, Some(&state(8, 20))).expect("the disk is well");
        append(&mut log, &[entry(21, 8, 100)]);
        sync(&mut log);
        let disk = if killed { disk.crashed(3) } else { disk };
        let mut log = reopen(&disk, base).expect("it is whole");
        assert_eq!((log.base, all(&log)), (base, vec![entry(21, 8, 100)]));
        assert_eq!(*log.hard_state(), state(8, 20));
        let old = log.cut(20);
        assert!(old.len() > 1 && log.segments.len() == 1, "what came before can go: {old:?}");
        append(&mut log, &[entry(22, 8, 100)]);
        sync(&mut log);
        assert_eq!(all(&log).len(), 2);
    }
}
