//! Compiled code on disk: loading it takes a hundredth of the time of compiling it again.
//!
//! `<cache_dir>/<compatibility>/<digest>.cwasm`, with the code's checksum beside it in `<digest>.sum`. The folder's
//! name stands for the engine's version and settings and for this processor's features. Compiled code is trusted
//! as our own is, so only a folder that belongs to this user alone is used, and only files whose checksum holds.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::digest::{Digest, hex};

/// The folder of this engine's code.
pub(super) struct CodeCache {
    folder: PathBuf,
}

impl CodeCache {
    /// Opens or creates the folder, and removes those of other engines: nothing will read them again.
    pub(super) fn open(cache_dir: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        let folder = cache_dir.join(&name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for dir in [cache_dir, &folder] {
            owned_by_us_alone(dir)?;
        }
        for entry in fs::read_dir(cache_dir)? {
            let entry = entry?;
            let other = entry.file_name();
            let ours =
                other.len() == name.len() && other.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
            if ours && other != name.as_str() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self { folder })
    }

    /// The component compiled earlier, if it is there and sound. What is not sound is removed. Blocks on the disk.
    pub(super) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(digest, "cwasm");
        let sum = fs::read_to_string(self.path(digest, "sum")).ok()?;
        let code = fs::read(&path).ok()?;
        if sum != checksum(&code) {
            tracing::warn!(path = %path.display(), "compiled code is damaged; compiling again");
            self.remove(digest);
            return None;
        }
        drop(code);
        #[allow(
            unsafe_code,
            reason = "loading native code cannot be checked: this file was written by this user's node, in a folder \
                      nobody else can write, from an engine of the same compatibility hash, and is whole"
        )]
        // SAFETY: see the reason above; wasmtime itself checks its version, settings and processor features again.
        let component = unsafe { Component::deserialize_file(engine, &path) };
        match component {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code does not load; compiling again");
                self.remove(digest);
                None
            }
        }
    }

    /// Keeps compiled code. Blocks on the disk.
    pub(super) fn store(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        // The checksum last: without it the code is not looked at.
        self.write(&self.path(digest, "cwasm"), code)?;
        self.write(&self.path(digest, "sum"), checksum(code).as_bytes())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!(".{}", uuid::Uuid::new_v4().simple()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // What is left of it only takes room, and the first error says more than a second.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn remove(&self, digest: &Digest) {
        for suffix in ["sum", "cwasm"] {
            // It may be gone; and if it stays, its checksum is still wrong.
            let _ = fs::remove_file(self.path(digest, suffix));
        }
    }

    fn path(&self, digest: &Digest, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", digest.hex()))
    }
}

fn checksum(code: &[u8]) -> String {
    hex(&Sha256::digest(code))
}

fn owned_by_us_alone(dir: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)?;
    let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if ours {
        return Ok(());
    }
    let text = format!("{} is not a folder that only this user can write", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// `(component)`, the smallest there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn digest() -> Digest {
        Digest::of(EMPTY)
    }

    #[test]
    fn code_is_loaded_as_stored_and_only_while_it_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let engine = Engine::default();
        let cache = CodeCache::open(dir.path(), &engine).unwrap();
        assert!(cache.load(&engine, &digest()).is_none());

        let code = Component::new(&engine, EMPTY).unwrap().serialize().unwrap();
        cache.store(&digest(), &code).unwrap();
        assert!(cache.load(&engine, &digest()).is_some());

        let path = cache.path(&digest(), "cwasm");
        let mut damaged = code.clone();
        damaged[code.len() / 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(cache.load(&engine, &digest()).is_none());
        assert!(!path.exists());
    }

    #[test]
    fn code_of_other_engines_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let old = dir.path().join("0123456789abcdef");
        let foreign = dir.path().join("notes");
        fs::create_dir(&old).unwrap();
        fs::create_dir(&foreign).unwrap();
        CodeCache::open(dir.path(), &Engine::default()).unwrap();
        assert!(!old.exists());
        assert!(foreign.exists());
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let opened = CodeCache::open(dir.path(), &Engine::default());
        assert_eq!(opened.err().map(|error| error.kind()), Some(io::ErrorKind::PermissionDenied));
    }
}
