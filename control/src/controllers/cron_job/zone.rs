//! Time zones by name, from the machine's zoneinfo.

use std::collections::HashMap;
use std::path::Path;

use jiff::tz::TimeZone;

/// Where systems keep it.
const FOLDERS: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];
/// No zone's file is nearly as large.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Zones that were asked for, read once.
#[derive(Debug, Default)]
pub(super) struct Zones {
    known: HashMap<String, TimeZone>,
}

impl Zones {
    /// The zone of that name, UTC when there is no name; `None` when the machine does not know it. One that is unknown
    /// is looked for again the next time, since somebody may install it.
    pub(super) fn get(&mut self, name: Option<&str>) -> Option<TimeZone> {
        let Some(name) = name.filter(|name| !matches!(*name, "UTC" | "Etc/UTC")) else {
            return Some(TimeZone::UTC);
        };
        if let Some(zone) = self.known.get(name) {
            return Some(zone.clone());
        }
        let zone = FOLDERS.iter().find_map(|folder| read(Path::new(folder), name))?;
        self.known.insert(name.to_owned(), zone.clone());
        Some(zone)
    }
}

/// A name was checked to stay in the folder when it was stored; it is checked again here, where it becomes a path.
fn read(folder: &Path, name: &str) -> Option<TimeZone> {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !name.split('/').all(is_plain) {
        return None;
    }
    let path = folder.join(name);
    let facts =
        std::fs::metadata(&path).ok().filter(|facts| facts.is_file() && facts.len() <= FILE_BYTES_MAX);
    let bytes = facts.and_then(|_| std::fs::read(&path).ok())?;
    TimeZone::tzif(name, &bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_without_a_file_are_unknown_and_no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "no zone").unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("broken"), "no zone").unwrap();
        for name in ["absent", "broken", "../secret", "/etc/passwd", ".", "a//b", ""] {
            assert!(read(&inner, name).is_none(), "{name:?}");
        }
        assert_eq!(Zones::default().get(None), Some(TimeZone::UTC));
        assert_eq!(Zones::default().get(Some("Etc/UTC")), Some(TimeZone::UTC));
    }
}
