//! Folders that the commands use when none is named.

use std::path::PathBuf;

/// The data folder of `dev` and `demo`: `$XDG_DATA_HOME/isopod`, else `~/.local/share/isopod`, else `./isopod-data`.
pub(crate) fn data_dir() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .map(|base| base.join("isopod"))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/isopod")))
        .unwrap_or_else(|| PathBuf::from("isopod-data"))
}
