//! What a data folder says of its member: `<data>/member.json`, written once it is decided who the member is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use isopod_raft_store::{BackupError, ClusterId, Founding, MemberId, Saved};
use serde::{Deserialize, Serialize};

use crate::security::ca;

/// The file.
const FILE: &str = "member.json";
/// The format that is written, and the newest that is read.
const VERSION: u32 = 1;

/// Who lives in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its number.
    pub member: MemberId,
    /// Its name.
    pub name: String,
    /// The cluster; `None` in folders that were made before this file was.
    pub cluster: Option<ClusterId>,
    /// How its store began.
    pub founding: Founding,
    /// The range of Service addresses, when it is known.
    pub service_cidr: Option<String>,
    /// Where the others were when it joined.
    pub introduced: BTreeMap<MemberId, String>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a member in the folder already.
    #[error("{} has a member already: name an empty folder", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The file or the folder cannot be used.
    #[error(transparent)]
    Store(#[from] BackupError),
    /// What the folder says cannot be read or written.
    #[error(transparent)]
    Folder(#[from] Error),
}

/// Makes a data folder from a snapshot: the first member of a new cluster, with the same objects. Certificates that the
/// folder has are kept. Blocks.
pub fn restore(data_dir: &Path, file: &Path) -> Result<Saved, RestoreError> {
    if Folder::read(data_dir)?.is_some() {
        return Err(RestoreError::NotEmpty { dir: data_dir.to_owned() });
    }
    // A file that is none leaves no folder behind.
    isopod_raft_store::inspect(file)?;
    let member = MemberId(1);
    let restored = isopod_raft_store::restore(&data_dir.join("store"), file, member)?;
    let folder = Folder { cluster: Some(restored.cluster), ..Folder::unnamed() };
    folder.write(data_dir)?;
    Ok(restored)
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot access {path}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged: put it back from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A later release wrote it.
    #[error("{path} has format {found}, this release knows formats up to {VERSION}")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] ca::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    version: u32,
    member: u64,
    name: String,
    cluster: Option<u64>,
    joined: bool,
    service_cidr: Option<String>,
    introduced: BTreeMap<u64, String>,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Folder {
    /// The first member of a new cluster.
    pub(crate) fn founder(name: Option<String>, service_cidr: String) -> Folder {
        Folder {
            member: MemberId(1),
            name: name.unwrap_or_else(|| default_name(1)),
            cluster: Some(ClusterId(rand::random())),
            founding: Founding::Alone,
            service_cidr: Some(service_cidr),
            introduced: BTreeMap::new(),
        }
    }

    /// Who lives in `data_dir`; `None` when nobody does.
    pub fn read(data_dir: &Path) -> Result<Option<Folder>, Error> {
        let path = data_dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(data_dir.join("store").exists().then(Folder::unnamed));
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let damaged = |source| Error::Damaged { path: path.clone(), source };
        let Versioned { version: found } = serde_json::from_slice(&text).map_err(damaged)?;
        if found > VERSION {
            return Err(Error::TooNew { path, found });
        }
        let stored: Stored = serde_json::from_slice(&text).map_err(damaged)?;
        Ok(Some(Folder {
            member: MemberId(stored.member),
            name: stored.name,
            cluster: stored.cluster.map(ClusterId),
            founding: if stored.joined { Founding::Join } else { Founding::Alone },
            service_cidr: stored.service_cidr,
            introduced: stored.introduced.into_iter().map(|(id, address)| (MemberId(id), address)).collect(),
        }))
    }

    /// A folder of a release that had one member only.
    fn unnamed() -> Folder {
        Folder {
            member: MemberId(1),
            name: default_name(1),
            cluster: None,
            founding: Founding::Alone,
            service_cidr: None,
            introduced: BTreeMap::new(),
        }
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(data_dir).map_err(|source| Error::Io { path: data_dir.to_owned(), source })?;
        let stored = Stored {
            version: VERSION,
            member: self.member.0,
            name: self.name.clone(),
            cluster: self.cluster.map(|cluster| cluster.0),
            joined: self.founding != Founding::Alone,
            service_cidr: self.service_cidr.clone(),
            introduced: self.introduced.iter().map(|(id, address)| (id.0, address.clone())).collect(),
        };
        let text = serde_json::to_vec_pretty(&stored).expect("it has only strings and numbers");
        Ok(ca::write_private(&data_dir.join(FILE), &text)?)
    }
}

/// The name of a member that was not given one.
pub(crate) fn default_name(member: u64) -> String {
    format!("member-{member}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_remembers_who_lives_in_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Folder::read(dir.path()).unwrap(), None);
        let mut folder = Folder::founder(Some("a".into()), "10.43.0.0/16".into());
        folder.cluster = Some(ClusterId(u64::MAX));
        folder.introduced.insert(MemberId(2), "127.0.0.1:7".into());
        folder.write(dir.path()).unwrap();
        assert_eq!(Folder::read(dir.path()).unwrap(), Some(folder));
    }

    #[test]
    fn a_folder_of_one_member_without_the_file_is_member_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let folder = Folder::read(dir.path()).unwrap().unwrap();
        assert_eq!((folder.member, folder.cluster), (MemberId(1), None));
    }

    #[test]
    fn a_file_that_is_damaged_or_too_new_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [("{", "is damaged"), (r#"{"version":2,"shape":"other"}"#, "has format 2")] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = Folder::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("member.json") && error.contains(expected), "{error}");
        }
    }
}
