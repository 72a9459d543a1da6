//! Images as `docker load` takes them: a tar of a manifest, a config and layers.

use std::io::{self, Read, Write};

use serde_json::json;

use crate::images::digest_of;

/// An image of one layer that holds one program.
pub(super) fn of_program(name: &str, architecture: &str, file: &str, program: &[u8]) -> io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    add(&mut layer, file, 0o755, program.len() as u64, program)?;
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [format!("/{file}")]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]},
    })
    .to_string();
    let mut archive = tar::Builder::new(Vec::new());
    write_head(&mut archive, name, config.as_bytes(), &["layer.tar".to_owned()])?;
    add(&mut archive, "layer.tar", 0o644, layer.len() as u64, layer.as_slice())?;
    archive.into_inner()
}

/// Writes what comes before the layers, which follow under the names given.
pub(crate) fn write_head<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    config: &[u8],
    layers: &[String],
) -> io::Result<()> {
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": layers}]).to_string();
    add(archive, "manifest.json", 0o644, manifest.len() as u64, manifest.as_bytes())?;
    add(archive, "config.json", 0o644, config.len() as u64, config)
}

/// Writes one file.
pub(crate) fn add<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}
