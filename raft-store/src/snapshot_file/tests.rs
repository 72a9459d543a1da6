//! Writing, reading back and damaging snapshot files, on a disk in memory.

use super::*;
use crate::command::{Op, Txn};
use crate::disk::memory::MemoryDisk;

fn meta() -> Meta {
    let conf_state = ConfState { voters: vec![1, 2], learners: vec![3], ..ConfState::default() };
    Meta { cluster: ClusterId(9), position: Position { index: 77, term: 4 }, conf_state }
}

/// Enough for several blocks, with values larger than a block and some deletions.
fn machine() -> Machine {
    let mut machine = Machine::new();
    for number in 0..400_u32 {
        let length = if number % 100 == 7 { 300 << 10 } else { 500 };
        let value = vec![number as u8; length];
        machine.apply(Txn::of(vec![Op::Put(format!("/key/{}", number % 300).into(), value.into())]), 1);
    }
    for number in 0..20 {
        machine.apply(Txn::of(vec![Op::Delete(format!("/key/{}", number * 3).into())]), 1);
    }
    machine
}

fn write_to(disk: &MemoryDisk, machine: &Machine) -> String {
    let bytes = write(disk, &meta(), machine).expect("the disk is well");
    let name = name_of(77);
    assert_eq!(disk.content(&name).len() as u64, bytes);
    name
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let (disk, machine) = (MemoryDisk::default(), machine());
    let name = write_to(&disk, &machine);
    let (found, mut restored) = read(&disk, &name).expect("it is whole");
    assert_eq!(found, meta());
    assert_eq!(restored.revision(), machine.revision());
    assert_eq!(restored.data_bytes(), machine.data_bytes());
    assert!(restored.entries().eq(machine.entries()));
    assert!(restored.deletes().eq(machine.deletes()));
    // Also what comes next is the same.
    let mut machine = machine;
    let next = || Txn::of(vec![Op::Put(Bytes::from_static(b"/key/1"), Bytes::from_static(b"next"))]);
    assert_eq!(restored.apply(next(), 5).response, machine.apply(next(), 5).response);
}

#[test]
fn the_same_state_gives_the_same_bytes_also_after_a_restart() {
    let (first, second) = (MemoryDisk::default(), MemoryDisk::default());
    let name = write_to(&first, &machine());
    let (_, restored) = read(&first, &name).expect("it is whole");
    write_to(&second, &restored);
    assert!(first.content(&name) == second.content(&name));
}

#[test]
fn an_empty_state_is_a_snapshot_too() {
    let disk = MemoryDisk::default();
    let name = write_to(&disk, &Machine::new());
    let (_, machine) = read(&disk, &name).expect("it is whole");
    assert_eq!((machine.revision(), machine.entries().len()), (Revision::FIRST, 0));
}

#[test]
fn a_flipped_byte_is_found_and_its_block_named() {
    let disk = MemoryDisk::default();
    let name = write_to(&disk, &machine());
    let length = disk.content(&name).len();
    let places = (0..200).chain((200..length).step_by(1_009)).chain(length - 20..length);
    for at in places {
        disk.tamper(&name, |bytes| bytes[at] ^= 0x04);
        match read(&disk, &name).err() {
            Some(OpenError::Damaged { path, offset, .. }) => {
                assert_eq!(path, disk.path(&name), "byte {at}");
                assert!(offset <= at as u64 && at as u64 - offset < 600 << 10, "{at} found at {offset}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        disk.tamper(&name, |bytes| bytes[at] ^= 0x04);
    }
}

#[test]
fn a_later_format_is_told_from_damage_and_the_first_is_still_read() {
    let disk = MemoryDisk::default();
    let name = write_to(&disk, &machine());
    let whole = disk.content(&name);
    let in_format = |format: u32, chain_of: fn(&[u8]) -> u32| {
        let mut bytes = [&MAGIC[..], &format.to_le_bytes()].concat();
        let (mut chain, mut at) = (chain_of(&bytes), bytes.len());
        while at < whole.len() {
            let length = u32::from_le_bytes(whole[at..at + 4].try_into().expect("four")) as usize;
            let content = &whole[at + 8..at + 8 + length];
            chain = crc32c::crc32c_append(chain, content);
            bytes.extend_from_slice(&whole[at..at + 4]);
            bytes.put_u32_le(chain);
            bytes.extend_from_slice(content);
            at += 8 + length;
        }
        bytes
    };
    disk.tamper(&name, |bytes| *bytes = in_format(FORMAT + 1, crc32c::crc32c));
    let error = read(&disk, &name).err().expect("it is too new");
    assert!(matches!(error, OpenError::TooNew { found: 3, supported: FORMAT, .. }), "{error:?}");
    disk.tamper(&name, |bytes| *bytes = in_format(1, |_| 0));
    let (found, restored) = read(&disk, &name).expect("it is whole");
    assert_eq!(found, meta());
    assert!(restored.entries().eq(machine().entries()));
}

#[test]
fn a_file_cut_short_anywhere_is_found() {
    let disk = MemoryDisk::default();
    let name = write_to(&disk, &machine());
    let whole = disk.content(&name);
    for length in (0..200).chain((200..whole.len()).step_by(2_003)) {
        disk.tamper(&name, |bytes| *bytes = whole[..length].to_vec());
        let error = read(&disk, &name).err().unwrap_or_else(|| panic!("cut to {length} unnoticed"));
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn a_snapshot_that_does_not_fit_on_the_disk_leaves_nothing_behind() {
    let disk = MemoryDisk::default();
    disk.set_faults(crate::disk::memory::Faults { capacity_bytes: Some(1 << 20), ..Default::default() });
    let error = write(&disk, &meta(), &machine()).expect_err("it is larger");
    assert!(error.is_full());
    assert_eq!(disk.list().expect("it can be listed"), Vec::<String>::new());
}
