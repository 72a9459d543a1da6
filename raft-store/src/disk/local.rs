//! A folder of this machine's file system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Action, Disk, DiskError, DiskFile};
use crate::error::OpenError;

/// Held open and locked for as long as the folder is in use; its content means nothing.
const LOCK_FILE: &str = "lock";

/// Secrets of a cluster are in here: for its owner alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

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
        make_folder(dir).map_err(|error| fail(Action::MakeFolder, dir, error))?;
        let path = dir.join(LOCK_FILE);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
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

/// Opens a file that belongs to no store, to be read.
pub(crate) fn file_to_read(path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
    let file = File::open(path).map_err(|error| DiskError::new(Action::Open, path, error))?;
    Ok(Arc::new(LocalFile { file, path: path.to_owned() }))
}

/// Makes the folder and those it is in, and makes their names durable: a folder that vanishes with a crash would take
/// everything acknowledged with it.
fn make_folder(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(dir)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
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
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(&path);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_and_its_files_are_for_their_owner_alone() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let dir = parent.path().join("a/b");
        let disk = LocalDisk::open(&dir).expect("it can be made");
        disk.create("file").expect("it can be made");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&dir), FOLDER_MODE);
        assert_eq!((mode(&dir.join("file")), mode(&dir.join(LOCK_FILE))), (FILE_MODE, FILE_MODE));
    }

    #[test]
    fn files_read_back_what_was_written_and_end_where_they_end() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let disk = LocalDisk::open(dir.path()).expect("it can be made");
        let file = disk.create("a").expect("it can be made");
        file.write_at(4, b"data").expect("there is space");
        file.sync().expect("the disk is well");
        disk.rename("a", "b").expect("it is there");
        disk.sync_dir().expect("the disk is well");
        let mut bytes = [9; 10];
        let file = disk.open("b").expect("it is there");
        assert_eq!(file.read_at(2, &mut bytes).expect("readable"), 6);
        assert_eq!(bytes, *b"\0\0data\x09\x09\x09\x09");
        assert_eq!(file.size_bytes().expect("known"), 8);
        disk.remove("b").expect("it is there");
        assert_eq!(disk.list().expect("listed"), [LOCK_FILE]);
    }
}
