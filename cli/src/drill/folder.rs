//! The folder of a drill's processes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Where the processes keep their data.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    temporary: bool,
}

impl Folder {
    pub(super) fn open(given: Option<&Path>) -> anyhow::Result<Folder> {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("isopod-drill-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut entries =
            std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} is not empty: a drill begins with a new cluster",
            path.display()
        );
        Ok(Folder { path, temporary: given.is_none() })
    }

    pub(super) fn keep_for_reading(&self) -> String {
        if self.temporary {
            "the drill failed; with --data-dir its logs are kept".to_owned()
        } else {
            format!("the drill failed; what its processes logged is in {}", self.path.display())
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("note: {} could not be removed: {error}", self.path.display());
        }
    }
}
