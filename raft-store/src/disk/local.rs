//! A folder of this machine's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Action, Disk, DiskError, DiskFile};
use crate::error::OpenError;

/// Held open and locked for as long as the folder is in use; its content means nothing.
const LOCK_FILE: &str = "lock";

pub(crate) struct LocalDisk {
    dir: PathBuf,
    /// Opened once: what is synced is the folder we locked.
    handle: File,
    /// The lock ends when this is closed, also when the process is killed.
    _lock: File,
}

impl LocalDisk {
    /// Makes the folder when it is missing, and locks it.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let fail =
            |action: Action, path: &Path, source| OpenError::from(DiskError::new(action, path, source));
        fs::create_dir_all(dir).map_err(|error| fail(Action::MakeFolder, dir, error))?;
        let path = dir.join(LOCK_FILE);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| fail(Action::Open, &path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(fail(Action::Lock, &path, error)),
        }
        let handle = File::open(dir).map_err(|error| fail(Action::Open, dir, error))?;
        Ok(Self { dir: dir.to_owned(), handle, _lock: lock })
    }
}

impl Disk for LocalDisk {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        let fail = |error| DiskError::new(Action::List, &self.dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(fail)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry.map_err(fail)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| DiskError::new(Action::Open, &path, error))?;
        Ok(Arc::new(LocalFile { file, path }))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| DiskError::new(Action::Create, &path, error))?;
        Ok(Arc::new(LocalFile { file, path }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let path = self.path(from);
        fs::rename(&path, self.path(to)).map_err(|error| DiskError::new(Action::Rename, &path, error))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| DiskError::new(Action::Remove, &path, error))
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        self.handle.sync_all().map_err(|error| DiskError::new(Action::Sync, &self.dir, error))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

struct LocalFile {
    file: File,
    /// Its name when it was opened; a renamed file keeps the old one here.
    path: PathBuf,
}

impl DiskFile for LocalFile {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        let metadata =
            self.file.metadata().map_err(|error| DiskError::new(Action::Read, &self.path, error))?;
        Ok(metadata.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::new(Action::Read, &self.path, error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| DiskError::new(Action::Write, &self.path, error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| DiskError::new(Action::Sync, &self.path, error))
    }
}
