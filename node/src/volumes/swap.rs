//! Replaces the files of a volume as a whole, in the layout of the kubelet: the files lie in a folder of their own,
//! `..data` points to it, each file's name points into `..data`, and the one rename of `..data` is the change.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use super::content::Files;

const DATA: &str = "..data";

/// Makes `folder` show exactly these files. Does nothing if it does already.
pub(super) fn replace(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if shows(&folder.join(DATA), files) {
        return Ok(());
    }
    let before = fs::read_link(folder.join(DATA)).ok();
    let name = format!("..{}", uuid::Uuid::new_v4().simple());
    for (path, file) in files {
        let path = folder.join(&name).join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let mut target = File::options().write(true).create_new(true).mode(file.mode).open(&path)?;
        target.write_all(&file.content)?;
    }
    fs::create_dir_all(folder.join(&name))?;
    let fresh = folder.join("..data_tmp");
    remove_if_there(&fresh)?;
    symlink(&name, &fresh)?;
    fs::rename(&fresh, folder.join(DATA))?;
    link_names(folder, files)?;
    if let Some(before) = before {
        fs::remove_dir_all(folder.join(before))?;
    }
    Ok(())
}

fn shows(data: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &super::content::FileContent)| {
        fs::read(data.join(path)).is_ok_and(|content| content == file.content)
    };
    files.iter().all(same) && count(data).is_ok_and(|count| count == files.len())
}

fn count(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { self::count(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// The names that containers use: made for what is new, removed for what is gone.
fn link_names(folder: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or(path).to_owned();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !files.keys().any(|path| first(path) == name) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in files.keys().map(|path| first(path)) {
        match symlink(Path::new(DATA).join(&name), folder.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
