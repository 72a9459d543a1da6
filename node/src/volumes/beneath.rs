//! A folder inside a volume, held open from the moment it was found.
//!
//! What lies in a volume belongs to containers, which may put a symbolic link in the place of a folder at any moment.
//! So each part of the way is opened from the one before, links are never followed, and whoever uses the folder later
//! goes through the descriptor and not through its path again.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

/// A folder that is held open. Cloning costs a pointer.
#[derive(Clone, Debug)]
pub struct Held(Arc<OwnedFd>);

impl Held {
    /// A path that leads to this very folder in this process, whatever has become of its name.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Held {}

/// Opens `sub_path` inside `volume`; what is missing is made if `create` says so.
pub(super) fn folder(volume: &Path, sub_path: &str, create: Missing) -> Result<Held, String> {
    let told = |error: Errno| match error {
        Errno::LOOP | Errno::NOTDIR => {
            format!("subPath {sub_path:?} is not a folder, as a WebAssembly container needs it")
        }
        error => format!("subPath {sub_path:?}: {}", io::Error::from(error)),
    };
    let mut folder = openat(CWD, volume, FOLDER, Mode::empty()).map_err(told)?;
    for part in Path::new(sub_path).components() {
        let part = match part {
            Component::Normal(part) => part,
            Component::CurDir => continue,
            _ => return Err(format!("subPath {sub_path:?} must be a relative path without \"..\"")),
        };
        let flags = FOLDER | OFlags::NOFOLLOW;
        let next = match openat(&folder, part, flags, Mode::empty()) {
            Err(Errno::NOENT) if create == Missing::Made => {
                match mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => openat(&folder, part, flags, Mode::empty()),
                    Err(error) => Err(error),
                }
            }
            next => next,
        };
        folder = next.map_err(told)?;
    }
    Ok(Held(Arc::new(folder)))
}

/// What happens to parts of the way that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are made.
    Made,
    /// They are an error.
    Told,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::PATH).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;

    use super::*;

    fn names(folder: &Held) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_sub_path_stays_in_its_volume() {
        let volume = TempDir::new().unwrap();
        let volume = volume.path();
        let made = folder(volume, "a/./b", Missing::Made).unwrap();
        fs::write(volume.join("a/b/inside"), "").unwrap();
        assert_eq!(names(&made), ["inside"]);
        symlink("/", volume.join("out")).unwrap();
        fs::write(volume.join("file"), "").unwrap();
        for path in ["..", "a/../..", "/etc", "out", "out/etc", "file", "file/x"] {
            assert!(folder(volume, path, Missing::Made).is_err(), "{path}");
        }
        assert!(folder(volume, "absent", Missing::Told).is_err());
    }

    #[test]
    fn a_link_put_in_the_place_of_a_folder_later_changes_nothing() {
        let volume = TempDir::new().unwrap();
        let (volume, outside) = (volume.path(), TempDir::new().unwrap());
        fs::write(outside.path().join("secret"), "").unwrap();
        let held = folder(volume, "a", Missing::Made).unwrap();
        fs::write(volume.join("a/inside"), "").unwrap();
        fs::rename(volume.join("a"), volume.join("b")).unwrap();
        symlink(outside.path(), volume.join("a")).unwrap();
        assert_eq!(names(&held), ["inside"]);
    }

    /// One thread exchanges a folder and a link out of the volume without pause; whatever is found meanwhile is inside.
    #[test]
    fn a_race_of_links_never_leads_out() {
        let (volume, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let volume = volume.path().to_owned();
        fs::create_dir_all(outside.path().join("deep/secret")).unwrap();
        fs::create_dir_all(volume.join("way/deep/inside")).unwrap();
        symlink(outside.path(), volume.join("link")).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let (way, link) = (volume.join("way"), volume.join("link"));
                while !is_over.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &way, CWD, &link, rustix::fs::RenameFlags::EXCHANGE)
                        .unwrap();
                }
            });
            let mut found = 0;
            for _ in 0..200_000 {
                if let Ok(held) = folder(&volume, "way/deep", Missing::Told) {
                    found += 1;
                    assert_eq!(names(&held), ["inside"]);
                }
            }
            is_over.store(true, Ordering::Relaxed);
            assert!(found > 0, "the folder is there half of the time");
        });
    }
}
