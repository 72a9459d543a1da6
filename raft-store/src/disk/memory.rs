//! A disk in memory that can be crashed, filled and broken, for the tests.
//!
//! Each file has what the process sees and what is durable. A crash keeps, of what was written and not synced, each
//! sector or not, and of the names that were changed and not synced, the first few changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Action, Disk, DiskError, DiskFile, SECTOR_BYTES};

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the folder was synced.
    renamings: Vec<BTreeMap<String, u64>>,
    files: HashMap<u64, FileState>,
    next_file: u64,
    faults: Faults,
    /// Operations that change something, so far.
    changes: u64,
    syncs: u64,
}

/// What goes wrong, and when.
#[derive(Default, Clone)]
pub(crate) struct Faults {
    /// This change and every later operation fails: the process is as good as killed.
    pub(crate) killed_at: Option<u64>,
    /// This sync, and only this one, fails, and what it was to bring to the disk never gets there.
    pub(crate) sync_fails_at: Option<u64>,
    /// Bytes that all files may have together.
    pub(crate) capacity_bytes: Option<usize>,
    /// Also overwriting needs space, as on a file system that copies on write, and there is none.
    pub(crate) full_for_overwrites: bool,
}

#[derive(Default, Clone)]
struct FileState {
    content: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

struct MemoryFile {
    disk: MemoryDisk,
    id: u64,
    path: PathBuf,
}

impl MemoryDisk {
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub(crate) fn changes(&self) -> u64 {
        self.lock().changes
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// What is left after the power failed: another disk, without faults.
    pub(crate) fn crashed(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let state = self.lock();
        let mut timeline = vec![&state.durable_names];
        timeline.extend(&state.renamings);
        let names = timeline[random.random_range(0..timeline.len())].clone();
        let mut ids: Vec<u64> = names.values().copied().collect();
        ids.sort_unstable();
        let files = ids.into_iter().map(|id| (id, state.files[&id].crashed(&mut random)));
        Self::of(names.clone(), files.collect())
    }

    /// The same files on another disk, without faults.
    pub(crate) fn copied(&self) -> Self {
        let state = self.lock();
        Self::of(state.names.clone(), state.files.clone())
    }

    fn of(names: BTreeMap<String, u64>, files: HashMap<u64, FileState>) -> Self {
        let next_file = files.keys().max().map_or(0, |id| id + 1);
        let state = State { durable_names: names.clone(), names, files, next_file, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// Bytes of all files together.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lock().used_bytes()
    }

    /// The bytes of a file, to look at.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        state.files[&state.names[name]].content.clone()
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let id = state.names[name];
        let file = state.files.get_mut(&id).expect("it is listed");
        change(&mut file.content);
        file.durable = file.content.clone();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics under the lock")
    }

    /// Runs a change, unless the process is killed before it.
    fn change<T>(
        &self,
        action: Action,
        name: &str,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let mut state = self.lock();
        state.changes += 1;
        let result = state.alive().and_then(|()| change(&mut state));
        drop(state);
        result.map_err(|error| DiskError::new(action, &self.path(name), error))
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        match self.faults.killed_at {
            Some(at) if self.changes >= at => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }

    fn note_names(&mut self) {
        self.renamings.push(self.names.clone());
    }

    fn used_bytes(&self) -> usize {
        self.names.values().map(|id| self.files[id].content.len()).sum()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.faults.sync_fails_at == Some(self.syncs) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }
}

impl FileState {
    fn sync(&mut self) {
        self.durable.resize(self.content.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(self.content.len());
            self.durable[range.clone()].copy_from_slice(&self.content[range]);
        }
    }

    fn crashed(&self, random: &mut StdRng) -> Self {
        let mut after = self.clone();
        // All, none, or each sector by itself.
        let odds = [0.0, 0.5, 1.0][random.random_range(0..3)];
        after.dirty.retain(|_| random.random_bool(odds));
        if after.dirty.is_empty() && random.random_bool(0.5) {
            after.content.truncate(after.durable.len());
        }
        after.sync();
        after.content = after.durable.clone();
        after
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let missing = || DiskError::new(Action::Open, &self.path(name), io::ErrorKind::NotFound.into());
        let id = *self.lock().names.get(name).ok_or_else(missing)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), id, path: self.path(name) }))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let id = self.change(Action::Create, name, |state| {
            let id = state.next_file;
            state.next_file += 1;
            state.files.insert(id, FileState::default());
            state.names.insert(name.to_owned(), id);
            state.note_names();
            Ok(id)
        })?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), id, path: self.path(name) }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.change(Action::Rename, from, |state| {
            let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), id);
            state.note_names();
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.change(Action::Remove, name, |state| {
            state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            state.note_names();
            Ok(())
        })
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        self.change(Action::Sync, "", |state| {
            state.sync()?;
            state.durable_names = state.names.clone();
            state.renamings.clear();
            Ok(())
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/memory").join(name)
    }
}

impl MemoryFile {
    fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("it was made from a name")
    }
}

impl DiskFile for MemoryFile {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        Ok(self.disk.lock().files[&self.id].content.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.disk.lock();
        let content = &state.files[&self.id].content;
        let from = (offset as usize).min(content.len());
        let length = into.len().min(content.len() - from);
        into[..length].copy_from_slice(&content[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.change(Action::Write, self.name(), |state| {
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            let length = state.files[&self.id].content.len();
            let grown = state.used_bytes() + to.saturating_sub(length);
            let full = state.faults.capacity_bytes.is_some_and(|capacity| grown > capacity && to > length);
            if full || state.faults.full_for_overwrites {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = state.files.get_mut(&self.id).expect("an open file is kept");
            file.content.resize(length.max(to), 0);
            file.content[from..to].copy_from_slice(bytes);
            file.dirty.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.disk.change(Action::Sync, self.name(), |state| {
            let result = state.sync();
            let file = state.files.get_mut(&self.id).expect("an open file is kept");
            match result {
                Ok(()) => file.sync(),
                // As Linux does: the process goes on seeing what it wrote, and no later sync brings it to the disk.
                Err(_) => file.dirty.clear(),
            }
            result
        })
    }
}
