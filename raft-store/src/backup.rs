//! A whole store in one file, and a store from one.
//!
//! The file is a snapshot file as every member writes them. What is restored or recovered is a *new cluster* of one voter:
//! members of the old one cannot talk to it, and join it anew with empty folders. It goes on at a much later revision,
//! so that whoever knew the old one (a watch that resumes, a list that pages on) is told to read again instead of missing
//! what happened.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use raft::eraftpb::ConfState;

use crate::config::Config;
use crate::disk::{Disk, LocalDisk, file_to_read};
use crate::error::{BackupError, ReadError};
use crate::machine::Machine;
use crate::membership::{ClusterId, MemberId};
use crate::open;
use crate::snapshot_file::{self, Meta};
use crate::state::Revision;
use crate::store::Store;

/// More than a cluster writes between a backup and its loss.
const REVISIONS_SKIPPED: u64 = 1_000_000_000;

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// The cluster it is of.
    pub cluster: ClusterId,
    /// The revision it is the state of.
    pub revision: Revision,
    /// How many keys there are.
    pub keys: usize,
    /// Bytes of all keys and values.
    pub data_bytes: u64,
    /// Tells its entries from others: equal for equal ones.
    pub sum: u64,
}

impl Saved {
    fn of(meta: &Meta, machine: &Machine) -> Self {
        Self {
            cluster: meta.cluster,
            revision: machine.revision(),
            keys: machine.entries().len(),
            data_bytes: machine.data_bytes(),
            sum: machine.sum(),
        }
    }
}

impl Store {
    /// Writes down a state that has every write acknowledged before the call, on any member. What it is written to must
    /// be made durable by the caller.
    pub async fn save(&self, into: impl Write + Send + 'static) -> Result<Saved, BackupError> {
        self.linearizable().await?;
        let copy = self.copy().ok_or(ReadError::Closed)?;
        let (meta, machine) = copy.await.map_err(|_| ReadError::Closed)?;
        let writing = tokio::task::spawn_blocking(move || write(into, &meta, &machine));
        writing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn write(mut into: impl Write, meta: &Meta, machine: &Machine) -> Result<Saved, BackupError> {
    if !machine.is_sound() {
        return Err(BackupError::Unsound);
    }
    let written: io::Result<u64> = snapshot_file::write_to(meta, machine, |bytes| into.write_all(bytes));
    written.and_then(|_| into.flush()).map_err(BackupError::Write)?;
    Ok(Saved::of(meta, machine))
}

/// Reads and checks a whole file that [`Store::save`] wrote. Blocks.
pub fn inspect(file: &Path) -> Result<Saved, BackupError> {
    let (meta, machine) = snapshot_file::read_file(file_to_read(file)?, file.to_owned())?;
    Ok(Saved::of(&meta, &machine))
}

/// Makes a folder from a file that [`Store::save`] wrote: a new cluster of this one member, which has the same entries.
/// Returns what is in the folder then. Blocks.
pub fn restore(dir: &Path, file: &Path, member: MemberId) -> Result<Saved, BackupError> {
    let (_, machine) = snapshot_file::read_file(file_to_read(file)?, file.to_owned())?;
    let disk = LocalDisk::open(dir)?;
    if open::holds_a_store(&disk.list()?) {
        return Err(BackupError::NotEmpty { dir: dir.to_owned() });
    }
    found(&disk, machine, new_cluster(), member)
}

/// Begins a cluster of one member, with these entries.
pub(crate) fn found(
    disk: &dyn Disk,
    machine: Machine,
    cluster: ClusterId,
    member: MemberId,
) -> Result<Saved, BackupError> {
    let machine = machine.moved_on(REVISIONS_SKIPPED);
    let meta = Meta { cluster, position: open::GENESIS, conf_state: only_voter(member) };
    snapshot_file::write(disk, &meta, &machine)?;
    Ok(Saved::of(&meta, &machine))
}

/// Makes the member of this folder the only one of a new cluster, when most others are lost for good. It keeps what is in
/// its log: every write that it acknowledged or was told of, and perhaps some that were under way; what only the lost ones
/// had is gone. The driver must not run. Returns what is in the folder then. Blocks.
pub fn recover(config: &Config) -> Result<Saved, BackupError> {
    recover_on(config, Arc::new(LocalDisk::open(&config.dir)?), new_cluster())
}

/// As [`recover`], on a disk of the caller's making and under a number of its own.
pub(crate) fn recover_on(
    config: &Config,
    disk: Arc<dyn Disk>,
    cluster: ClusterId,
) -> Result<Saved, BackupError> {
    let nothing = || BackupError::Nothing { dir: config.dir.clone() };
    let (position, machine) = open::read_all_of_it(config, &disk)?.ok_or_else(nothing)?;
    let machine = machine.moved_on(REVISIONS_SKIPPED);
    let meta = Meta { cluster, position, conf_state: only_voter(config.member) };
    snapshot_file::write(&*disk, &meta, &machine)?;
    Ok(Saved::of(&meta, &machine))
}

fn new_cluster() -> ClusterId {
    ClusterId(rand::random())
}

fn only_voter(member: MemberId) -> ConfState {
    ConfState { voters: vec![member.0], ..ConfState::default() }
}

#[cfg(test)]
mod tests;
