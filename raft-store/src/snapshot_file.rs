//! Snapshot files: the whole state at one index of the log, so that the log before it can go.
//!
//! ```text
//! magic | format u32 | block …        block: length u32 | crc32c u32 | bytes
//! ```
//!
//! The first block is the [`Meta`], the others hold deletions and entries in key order, none split between two. Each
//! checksum goes on from the one before, and the first from that of the head, so that blocks cannot change places. A file is written under another name,
//! synced, renamed, and the folder synced: one that has its name is complete. The same state gives the same bytes.

mod blocks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use raft::eraftpb::{ConfState, SnapshotMetadata};

use crate::disk::{Disk, DiskError, DiskFile};
use crate::error::OpenError;
use crate::log::frame::Position;
use crate::machine::Machine;
use crate::membership::ClusterId;
use crate::mutant::{self, Mutant};
use crate::state::{Entry, Map, Revision};
use crate::wire::{Reader, put_bytes};
use blocks::{BlockReader, BlockWriter};

const MAGIC: &[u8; 8] = b"ISOPDSNP";

/// Of the layout. A greater one is from a later release and is left alone. All have blocks with the same heads, and in
/// all but the first the chain of checksums begins with what comes before the blocks.
const FORMAT: u32 = 2;

/// The name while it is written.
pub(crate) const UNFINISHED_FILE: &str = "snapshot.tmp";

/// The name of one that comes from another member, until it takes the place of the state.
pub(crate) const RECEIVED_FILE: &str = "snapshot-received.tmp";

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meta {
    pub(crate) cluster: ClusterId,
    /// The last entry it includes.
    pub(crate) position: Position,
    /// Who the members were then.
    pub(crate) conf_state: ConfState,
}

/// The name of a snapshot file; in the order of names, snapshots are in the order of the log.
pub(crate) fn name_of(index: u64) -> String {
    format!("snapshot-{index:016x}.snap")
}

/// The index that a snapshot's name tells; `None` for other files.
pub(crate) fn index_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("snapshot-")?.strip_suffix(".snap")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Writes a snapshot; when it returns it is on the disk. Returns its length.
pub(crate) fn write(disk: &dyn Disk, meta: &Meta, machine: &Machine) -> Result<u64, DiskError> {
    let written = write_unfinished(disk, meta, machine);
    if written.is_err() {
        // It takes space that may be missing; if removing fails too, opening the folder removes it.
        drop(disk.remove(UNFINISHED_FILE));
    }
    let length = written?;
    disk.rename(UNFINISHED_FILE, &name_of(meta.position.index))?;
    disk.sync_dir()?;
    Ok(length)
}

fn write_unfinished(disk: &dyn Disk, meta: &Meta, machine: &Machine) -> Result<u64, DiskError> {
    let file = disk.create(UNFINISHED_FILE)?;
    let mut offset = 0;
    let written = write_to(meta, machine, |bytes| {
        file.write_at(offset, bytes)?;
        offset += bytes.len() as u64;
        Ok(())
    })?;
    if !mutant::planted(Mutant::SnapshotNotSynced) {
        file.sync()?;
    }
    Ok(written)
}

/// Hands out the bytes of a snapshot file, in order; returns how many.
pub(crate) fn write_to<E>(
    meta: &Meta,
    machine: &Machine,
    mut put: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut head = MAGIC.to_vec();
    head.put_u32_le(FORMAT);
    put(&head)?;
    let chain = crc32c::crc32c(&head);
    let mut blocks = BlockWriter { put, bytes: head.len() as u64, block: Vec::new(), chain };
    blocks.begin();
    put_meta(&mut blocks.block, meta, machine);
    blocks.end()?;
    for (revision, key) in machine.deletes() {
        blocks.block.put_u64_le(revision.0);
        put_bytes(&mut blocks.block, key);
        blocks.end_if_full()?;
    }
    for (key, entry) in machine.entries() {
        put_bytes(&mut blocks.block, key);
        put_bytes(&mut blocks.block, &entry.value);
        blocks.block.put_u64_le(entry.created.0);
        blocks.block.put_u64_le(entry.modified.0);
        blocks.end_if_full()?;
    }
    blocks.end()?;
    Ok(blocks.bytes)
}

/// What Raft has to know of a snapshot.
pub(crate) fn for_raft(meta: &Meta) -> raft::eraftpb::Snapshot {
    let metadata = SnapshotMetadata {
        index: meta.position.index,
        term: meta.position.term,
        conf_state: Some(meta.conf_state.clone()).into(),
        ..SnapshotMetadata::default()
    };
    raft::eraftpb::Snapshot { metadata: Some(metadata).into(), ..raft::eraftpb::Snapshot::default() }
}

/// Gives a received file the name that it has as this member's own.
pub(crate) fn take_received(disk: &dyn Disk, index: u64) -> Result<(), DiskError> {
    disk.rename(RECEIVED_FILE, &name_of(index))?;
    disk.sync_dir()
}

/// Reads and checks a whole snapshot file.
pub(crate) fn read(disk: &dyn Disk, name: &str) -> Result<(Meta, Machine), OpenError> {
    let (meta, machine) = read_unnamed(disk, name)?;
    if index_of(name) != Some(meta.position.index) {
        let (path, reason) = (disk.path(name), "its name and its content disagree");
        return Err(OpenError::Damaged { path, offset: 0, reason });
    }
    Ok((meta, machine))
}

/// The same, whatever the file is called.
pub(crate) fn read_unnamed(disk: &dyn Disk, name: &str) -> Result<(Meta, Machine), OpenError> {
    read_file(disk.open(name)?, disk.path(name))
}

/// The same, for a file that may be anywhere.
pub(crate) fn read_file(file: Arc<dyn DiskFile>, path: PathBuf) -> Result<(Meta, Machine), OpenError> {
    let mut blocks = begin(file, &path)?;
    let loaded = load(&mut blocks)?;
    loaded.map_err(|reason| OpenError::Damaged { path, offset: blocks.begin, reason })
}

/// The cluster that a file is of, when its beginning is whole.
pub(crate) fn cluster_of(disk: &dyn Disk, name: &str) -> Option<ClusterId> {
    let mut blocks = begin(disk.open(name).ok()?, &disk.path(name)).ok()?;
    let first = blocks.next().ok()?.ok()??;
    head(&first).map(|head| head.meta.cluster)
}

/// Checks what comes before the blocks.
fn begin(file: Arc<dyn DiskFile>, path: &Path) -> Result<BlockReader, OpenError> {
    let mut head = [0; MAGIC.len() + 4];
    let read = file.read_at(0, &mut head)?;
    let damaged = |reason| OpenError::Damaged { path: path.to_owned(), offset: 0, reason };
    let mut reader = Reader::new(head[..read].strip_prefix(MAGIC).ok_or(damaged("it is not a snapshot"))?);
    let found = reader.u32().filter(|found| *found > 0).ok_or(damaged("its format is impossible"))?;
    let file_bytes = file.size_bytes()?;
    let chain = if found == 1 { 0 } else { crc32c::crc32c(&head) };
    let mut blocks = BlockReader { file, file_bytes, offset: head.len() as u64, begin: 0, chain };
    if found > FORMAT {
        return Err(match blocks.next()? {
            Ok(Some(_)) => OpenError::TooNew { path: path.to_owned(), found, supported: FORMAT },
            _ => damaged("its format is one of a later release, or its first checksum does not fit"),
        });
    }
    Ok(blocks)
}

/// Reads all blocks. The outer error is the disk's, the inner one says what is wrong with the block last begun.
fn load(blocks: &mut BlockReader) -> Result<Result<(Meta, Machine), &'static str>, DiskError> {
    const CONTENT: &str = "a block holds what no release wrote";
    let first = match blocks.next()? {
        Ok(Some(block)) => block,
        Ok(None) => return Ok(Err("it is cut short")),
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(Head { meta, revision, keys, mut deletes_left }) = head(&first) else { return Ok(Err(CONTENT)) };
    let (mut map, mut deletes) = (Map::new(), imbl::Vector::new());
    loop {
        let block = match blocks.next()? {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut reader = Reader::new(&block);
        while !reader.is_empty() {
            let taken = if deletes_left > 0 {
                deletes_left -= 1;
                delete(&mut reader).map(|delete| deletes.push_back(delete))
            } else {
                entry(&mut reader).map(|(key, entry)| drop(map.insert(key, Arc::new(entry))))
            };
            if taken.is_none() {
                return Ok(Err(CONTENT));
            }
        }
    }
    if deletes_left > 0 || map.len() as u64 != keys {
        return Ok(Err("it is cut short"));
    }
    Ok(Ok((meta, Machine::restore(map, revision, deletes))))
}

/// What the first block says.
struct Head {
    meta: Meta,
    revision: Revision,
    keys: u64,
    deletes_left: u64,
}

fn put_meta(into: &mut Vec<u8>, meta: &Meta, machine: &Machine) {
    into.put_u64_le(meta.cluster.0);
    into.put_u64_le(meta.position.index);
    into.put_u64_le(meta.position.term);
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, .. } = &meta.conf_state;
    for members in [voters, learners, voters_outgoing, learners_next] {
        into.put_u32_le(u32::try_from(members.len()).expect("a cluster has few members"));
        members.iter().for_each(|member| into.put_u64_le(*member));
    }
    into.put_u8(u8::from(*auto_leave));
    into.put_u64_le(machine.revision().0);
    into.put_u64_le(machine.entries().len() as u64);
    into.put_u64_le(machine.deletes().len() as u64);
}

fn head(block: &[u8]) -> Option<Head> {
    let reader = &mut Reader::new(block);
    let cluster = ClusterId(reader.u64()?);
    let position = Position { index: reader.u64()?, term: reader.u64()? };
    let (voters, learners) = (members(reader)?, members(reader)?);
    let (voters_outgoing, learners_next) = (members(reader)?, members(reader)?);
    let auto_leave = reader.bool()?;
    let conf_state =
        ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..ConfState::default() };
    let (revision, keys, deletes_left) = (Revision(reader.u64()?), reader.u64()?, reader.u64()?);
    let meta = Meta { cluster, position, conf_state };
    reader.is_empty().then_some(Head { meta, revision, keys, deletes_left })
}

fn members(reader: &mut Reader<'_>) -> Option<Vec<u64>> {
    let count = reader.u32()?;
    (0..count).map(|_| reader.u64()).collect()
}

fn delete(reader: &mut Reader<'_>) -> Option<(Revision, Bytes)> {
    Some((Revision(reader.u64()?), Bytes::copy_from_slice(reader.bytes()?)))
}

fn entry(reader: &mut Reader<'_>) -> Option<(Bytes, Entry)> {
    let key = Bytes::copy_from_slice(reader.bytes()?);
    let value = Bytes::copy_from_slice(reader.bytes()?);
    let (created, modified) = (Revision(reader.u64()?), Revision(reader.u64()?));
    Some((key, Entry { value, created, modified }))
}

#[cfg(test)]
mod tests;
