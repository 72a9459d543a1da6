//! The few file operations that the store needs, behind traits, so that a simulation can own the disk.
//!
//! What the store relies on, and what an implementation must give: a write is on stable media only after `sync` of
//! its file; a created, renamed or removed name only after `sync_dir`; of writes that were not synced, each aligned
//! 512-byte sector survives a crash whole or not at all, in any order. An error of `sync` is final: what was written
//! since the last good one may or may not be there, now or later.

mod local;
#[cfg(test)]
pub(crate) mod memory;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use local::{LocalDisk, file_to_read};

/// What a crash leaves whole or untouched.
pub(crate) const SECTOR_BYTES: usize = 512;

/// What was tried on a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Making the folder.
    MakeFolder,
    /// Taking the lock of the folder.
    Lock,
    /// Listing the folder.
    List,
    /// Opening an existing file.
    Open,
    /// Making an empty file.
    Create,
    /// Giving a file its name.
    Rename,
    /// Removing a file.
    Remove,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file's content or a folder's names durable.
    Sync,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MakeFolder => "make the folder",
            Self::Lock => "lock",
            Self::List => "list",
            Self::Open => "open",
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
        })
    }
}

/// A file operation that the disk refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct DiskError {
    /// What was tried.
    pub action: Action,
    /// On which file or folder.
    pub path: PathBuf,
    /// The refusal.
    pub source: io::Error,
}

impl DiskError {
    /// An error of an operation on `path`.
    pub fn new(action: Action, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }

    /// Whether it is for lack of space, so that trying again later makes sense. Never for a failed sync, whatever its
    /// reason: nobody knows what reached the disk.
    pub fn is_full(&self) -> bool {
        let full = matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        full && self.action != Action::Sync
    }
}

/// One folder with the files of one member, owned by this process alone.
pub trait Disk: Send + Sync {
    /// Names of all files.
    fn list(&self) -> Result<Vec<String>, DiskError>;
    /// Opens an existing file to read and write.
    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Makes an empty file; an old one of the name is emptied.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>, DiskError>;
    /// Gives a file another name, atomically; a file that had it is gone.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<(), DiskError>;
    /// Makes names durable.
    fn sync_dir(&self) -> Result<(), DiskError>;
    /// Where a file is, for people.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Its length.
    fn size_bytes(&self) -> Result<u64, DiskError>;
    /// Fills `into` from `offset`; returns how much there was, less than asked for only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError>;
    /// Writes all of `bytes` at `offset`; a gap before it reads as zeros.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes everything written before durable, with the file's length.
    fn sync(&self) -> Result<(), DiskError>;
}

/// Reads a whole file.
pub(crate) fn read_all(file: &dyn DiskFile) -> Result<Vec<u8>, DiskError> {
    let size = usize::try_from(file.size_bytes()?).expect("files of the store fit in memory");
    let mut bytes = vec![0; size];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
