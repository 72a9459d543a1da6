//! What is left of a cluster: one member that is made the only one of a new cluster because most others are lost, or a
//! backup that a new one is made from. Nothing that was acknowledged to be there may be missing, nobody who knew the old
//! cluster may take the new one for it, and it grows to any size.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;

use super::Micros;
use super::clients::{Histories, Request};
use super::operator::Operator;
use super::oracle::{Check, Oracle, violation};
use super::world::World;
use crate::backup::{self, Saved};
use crate::disk::memory::MemoryDisk;
use crate::machine::Machine;
use crate::membership::{ClusterId, Founding, MemberId};
use crate::open;
use crate::snapshot_file;
use crate::state::{Entry, KeyRange, Snapshot};

const SECOND_CLUSTER: ClusterId = ClusterId(6);

/// The new cluster has all its members within this time.
const GROWN_WITHIN: Micros = 20_000_000;

/// A file outside of all folders.
const BACKUP_FILE: &str = "backup";

impl World {
    /// In the middle of it all most members are lost for good, and one that is left is made the only one.
    pub(super) fn recover(&mut self) -> Check {
        self.calm_down()?;
        let knows = |at: &usize| {
            let running = self.nodes[*at].trusted();
            let is_founder = self.nodes[*at].config.founding == Founding::Alone;
            running.is_some_and(|running| is_founder && running.member.view().applied.index > 1)
        };
        let left: Vec<usize> = (0..self.nodes.len()).filter(knows).collect();
        if left.is_empty() {
            return self.heal();
        }
        let at = left[self.random.random_range(0..left.len())];
        let running = self.nodes[at].running.as_ref().expect("it was asked what it knows");
        let (before, last) = (running.store.snapshot(), running.member.log().last().index);
        let later = last - running.member.view().applied.index;
        let power = self.random.random_bool(0.5).then(|| self.random.random());
        self.nodes[at].crash(power);
        let (config, disk) = (&self.nodes[at].config, Arc::new(self.nodes[at].disk.clone()));
        let recovered = backup::recover_on(config, disk, SECOND_CLUSTER);
        self.trace
            .note(self.now, &[16, at as u64], || format!("recovered from member {}: {recovered:?}", at + 1));
        let saved = match recovered {
            Ok(saved) => saved,
            Err(error) => violation!("nothing is recovered from member {}: {error}", at + 1),
        };
        // Of what was not synced, the power may have taken some.
        let names = self.nodes[at].disk.names();
        let base = names.iter().filter_map(|name| snapshot_file::index_of(name)).max();
        self.begin_second_life(at, base.unwrap_or(last), &saved)?;
        self.check_kept(at, &before, later)?;
        self.grow(at)
    }

    /// A new cluster is made from a backup.
    pub(super) fn restore(&mut self) -> Check {
        let Some((meta, machine)) = self.saved.take() else { return Ok(()) };
        let at = self.random.random_range(0..self.nodes.len());
        let machine = match written_and_read(&meta, &machine) {
            Ok(read) if read.sum() == machine.sum() => read,
            Ok(_) => violation!("a backup of revision {} reads back as another state", machine.revision()),
            Err(error) => violation!("a backup of revision {} is not readable: {error}", machine.revision()),
        };
        let before = machine.snapshot();
        let disk = MemoryDisk::default();
        let restored = backup::found(&disk, machine, SECOND_CLUSTER, MemberId(self.nodes[at].id));
        let saved = match restored {
            Ok(saved) => saved,
            Err(error) => violation!("a backup is not restored: {error}"),
        };
        self.nodes[at].crash(None);
        self.nodes[at].disk = disk;
        self.begin_second_life(at, open::GENESIS.index, &saved)?;
        self.check_kept(at, &before, 0)?;
        self.grow(at)
    }

    /// The others are gone, and what they sent is still under way.
    fn begin_second_life(&mut self, at: usize, base: u64, saved: &Saved) -> Check {
        self.statistics.second_lives += 1;
        let newest = self.oracle.events.keys().last().copied().unwrap_or_default();
        if saved.revision <= newest {
            violation!("the new cluster begins at revision {}, the old one came to {newest}", saved.revision);
        }
        for other in 0..self.nodes.len() {
            self.disconnect(other);
            self.nodes[other].crash(None);
            self.nodes[other].config.cluster = Some(SECOND_CLUSTER);
            if other == at {
                self.nodes[other].config.founding = Founding::Alone;
            } else {
                self.nodes[other].empty();
            }
            self.nodes[other].joined = other == at;
            (self.nodes[other].removed, self.nodes[other].returning) = (false, false);
        }
        (self.lost, self.histories, self.oracle) = (None, Histories::default(), Oracle::after(base));
        self.operator = Operator::default();
        self.start(at)?;
        let Some(running) = &self.nodes[at].running else { violation!("member {} does not start", at + 1) };
        for watcher in &self.watchers {
            if watcher.goes_on(&running.store) {
                violation!("a watch of the old cluster goes on in the new one, and misses what lies between");
            }
        }
        self.insist(at, self.now + GROWN_WITHIN, |_, _| Request::Read)
    }

    /// Everything that the member had is there, or what the `later` entries of its log have made of it.
    fn check_kept(&self, at: usize, before: &Snapshot, later: u64) -> Check {
        let Some(running) = &self.nodes[at].running else { violation!("member {} ended", at + 1) };
        let (revision, before, after) =
            (before.revision(), entries(before), entries(&running.store.snapshot()));
        if later == 0 && before != after {
            violation!("the new cluster has {after:?}, where the old one had {before:?}");
        }
        for (key, entry) in after.iter().filter(|(_, entry)| entry.modified <= revision) {
            if before.get(key) != Some(entry) {
                violation!("{key:?} has {entry:?}, which it did not have at revision {revision}");
            }
        }
        Ok(())
    }

    fn grow(&mut self, first: usize) -> Check {
        let deadline = self.now + GROWN_WITHIN;
        let size = self.random.random_range(1..=self.nodes.len());
        for at in (0..self.nodes.len()).filter(|at| *at != first).take(size - 1) {
            let id = MemberId(self.nodes[at].id);
            let takes_part = |world: &Self| world.members().contains(id);
            while !takes_part(self) && self.now < deadline {
                self.add(first, id);
                self.run_until(self.now + 100_000, takes_part)?;
            }
            self.run_until(deadline, Self::is_whole)?;
            if !takes_part(self) || !self.is_whole() {
                violation!("the new cluster does not grow: {:?}", self.members());
            }
        }
        self.agree_again()?;
        for at in self.live() {
            let write = |histories: &mut Histories, world: &Self| Request::put(&world.keys[0], histories);
            self.insist(at, deadline, write)?;
            self.insist(at, deadline, |_, _| Request::Read)?;
        }
        self.agree_again()
    }
}

fn entries(state: &Snapshot) -> BTreeMap<Bytes, Entry> {
    let all = state.range(&KeyRange::all());
    all.map(|(key, entry)| (key.clone(), Entry::clone(entry))).collect()
}

fn written_and_read(
    meta: &snapshot_file::Meta,
    machine: &Machine,
) -> Result<Machine, Box<dyn std::error::Error>> {
    let disk = MemoryDisk::default();
    let file = crate::disk::Disk::create(&disk, BACKUP_FILE)?;
    let mut offset = 0;
    snapshot_file::write_to(meta, machine, |bytes| {
        let written = file.write_at(offset, bytes);
        offset += bytes.len() as u64;
        written
    })?;
    Ok(snapshot_file::read_unnamed(&disk, BACKUP_FILE)?.1)
}
