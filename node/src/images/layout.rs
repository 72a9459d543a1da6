//! Where in an artifact the WebAssembly is: pure functions of manifests and configs.
//!
//! Understood are the OCI Wasm artifact (config `application/vnd.wasm.config.v0+json`, one layer `application/wasm`),
//! the older types for the same, and a container image of platform `wasi/wasm` whose file system holds the module.

use oci_client::manifest::{
    IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE, IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_LAYER_MEDIA_TYPE, OciDescriptor, OciImageIndex, OciImageManifest, WASM_LAYER_MEDIA_TYPE,
};
use serde::Deserialize;

/// Layers that are a component or module as it is.
const WASM_LAYERS: [&str; 4] = [
    "application/wasm",
    WASM_LAYER_MEDIA_TYPE,
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];
/// Platforms' names for WebAssembly, best first.
const WASM_SYSTEMS: [&str; 4] = ["wasip3", "wasip2", "wasip1", "wasi"];

/// Where the bytes are.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// The layer is the component or module.
    Layer { digest: String },
    /// A file in the image's file system.
    File { layers: Vec<Tar>, entrypoint: Vec<String>, cmd: Vec<String>, env: Vec<(String, String)> },
}

/// A layer of a file system.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tar {
    pub digest: String,
    pub compression: Compression,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Compression {
    None,
    Gzip,
}

/// Why there is none.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// For another runtime; says for which.
    NotWasm(String),
    /// WebAssembly, but not in a form that is understood.
    Unclear(String),
}

/// The configuration of a container image, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageConfig {
    architecture: String,
    os: String,
    config: Process,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Process {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
}

/// The layer that is WebAssembly by its type; `None` when the image's configuration must tell.
pub(super) fn wasm_layer(manifest: &OciImageManifest) -> Result<Option<Content>, Problem> {
    let mut layers = manifest.layers.iter().filter(|layer| WASM_LAYERS.contains(&layer.media_type.as_str()));
    match (layers.next(), layers.next()) {
        (Some(layer), None) => Ok(Some(Content::Layer { digest: layer.digest.clone() })),
        (Some(_), Some(_)) => Err(Problem::Unclear("it has more than one WebAssembly layer".to_owned())),
        (None, _) => Ok(None),
    }
}

/// What an image without such a layer holds, by its configuration.
pub(super) fn image_content(manifest: &OciImageManifest, config: ImageConfig) -> Result<Content, Problem> {
    if config.architecture != "wasm" && !WASM_SYSTEMS.contains(&config.os.as_str()) {
        return Err(Problem::NotWasm(match (config.os.as_str(), config.architecture.as_str()) {
            ("", "") => format!("its config is {}", manifest.config.media_type),
            (os, architecture) => format!("its platform is {os}/{architecture}"),
        }));
    }
    let layers = manifest.layers.iter().map(tar).collect::<Result<Vec<_>, _>>()?;
    let process = config.config;
    let env = process.env.unwrap_or_default();
    let env = env
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let (entrypoint, cmd) = (process.entrypoint.unwrap_or_default(), process.cmd.unwrap_or_default());
    Ok(Content::File { layers, entrypoint, cmd, env })
}

fn tar(layer: &OciDescriptor) -> Result<Tar, Problem> {
    let compression = match layer.media_type.as_str() {
        IMAGE_LAYER_MEDIA_TYPE | IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE => Compression::None,
        IMAGE_LAYER_GZIP_MEDIA_TYPE | IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE => Compression::Gzip,
        other => return Err(Problem::Unclear(format!("its layer has the unknown type {other}"))),
    };
    Ok(Tar { digest: layer.digest.clone(), compression })
}

/// The image in an index that is for WebAssembly.
pub(super) fn choose(index: &OciImageIndex) -> Result<String, Problem> {
    if let [only] = index.manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only.digest.clone());
    }
    let mut others = Vec::new();
    let mut found: Option<(usize, &str)> = None;
    for entry in &index.manifests {
        let Some(platform) = &entry.platform else { continue };
        let (os, architecture) = (platform.os.to_string(), platform.architecture.to_string());
        let rank = WASM_SYSTEMS.iter().position(|system| *system == os);
        let rank = rank.or((architecture == "wasm").then_some(WASM_SYSTEMS.len()));
        match rank {
            Some(rank) if found.is_none_or(|(best, _)| rank < best) => found = Some((rank, &entry.digest)),
            Some(_) => {}
            None => others.push(format!("{os}/{architecture}")),
        }
    }
    match found {
        Some((_, digest)) => Ok(digest.to_owned()),
        None => Err(Problem::NotWasm(format!("its platforms are {}", others.join(", ")))),
    }
}

/// The file to run, of all in the image: the entrypoint's, or else the only WebAssembly file there is.
pub(super) fn file_of<'a>(
    files: &'a [String],
    entrypoint: &[String],
    cmd: &[String],
) -> Result<&'a str, Problem> {
    let bare = |path: &str| path.trim_start_matches("./").trim_start_matches('/').to_owned();
    if let Some(program) = entrypoint.first().or(cmd.first()) {
        let found = files.iter().find(|file| bare(file) == bare(program));
        if let Some(file) = found {
            return Ok(file);
        }
    }
    let mut modules = files.iter().filter(|file| file.ends_with(".wasm"));
    match (modules.next(), modules.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Problem::Unclear("it holds no .wasm file".to_owned())),
        (Some(_), Some(_)) => Err(Problem::Unclear(
            "it holds several .wasm files, and its entrypoint names none of them".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(config: &str, layers: &[&str]) -> OciImageManifest {
        let layers: Vec<_> = layers
            .iter()
            .enumerate()
            .map(|(n, kind)| json!({"mediaType": kind, "digest": format!("sha256:{n}"), "size": 1}))
            .collect();
        let config = json!({"mediaType": config, "digest": "sha256:c", "size": 1});
        serde_json::from_value(json!({"schemaVersion": 2, "config": config, "layers": layers})).unwrap()
    }

    fn config(os: &str, architecture: &str) -> ImageConfig {
        let process = json!({"Entrypoint": ["/app.wasm"], "Cmd": ["x"], "Env": ["A=b=c"]});
        serde_json::from_value(json!({"os": os, "architecture": architecture, "config": process})).unwrap()
    }

    #[test]
    fn a_wasm_layer_is_found_whatever_the_config() {
        for (config, layer) in [
            ("application/vnd.wasm.config.v0+json", "application/wasm"),
            ("application/vnd.wasm.config.v1+json", "application/vnd.wasm.content.layer.v1+wasm"),
            ("application/vnd.oci.empty.v1+json", "application/wasm"),
            (
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
            ),
        ] {
            let found = wasm_layer(&manifest(config, &[layer])).unwrap();
            assert_eq!(found, Some(Content::Layer { digest: "sha256:0".into() }), "{config} {layer}");
        }
    }

    #[test]
    fn two_wasm_layers_are_unclear() {
        let two = manifest("application/vnd.wasm.config.v0+json", &["application/wasm", "application/wasm"]);
        assert!(matches!(wasm_layer(&two), Err(Problem::Unclear(_))));
    }

    #[test]
    fn an_image_of_a_wasm_platform_gives_its_file_system() {
        let image = manifest("application/vnd.oci.image.config.v1+json", &[IMAGE_LAYER_GZIP_MEDIA_TYPE]);
        assert_eq!(wasm_layer(&image).unwrap(), None);
        let layers = vec![Tar { digest: "sha256:0".into(), compression: Compression::Gzip }];
        let want = Content::File {
            layers,
            entrypoint: vec!["/app.wasm".into()],
            cmd: vec!["x".into()],
            env: vec![("A".into(), "b=c".into())],
        };
        for (os, architecture) in [("wasi", "wasm"), ("wasip1", "wasm"), ("linux", "wasm")] {
            assert_eq!(image_content(&image, config(os, architecture)).unwrap(), want);
        }
        let linux = image_content(&image, config("linux", "amd64"));
        assert_eq!(linux, Err(Problem::NotWasm("its platform is linux/amd64".into())));
    }

    #[test]
    fn an_index_gives_its_wasm_image() {
        let entry = |os: &str, architecture: &str| {
            json!({"mediaType": "m", "digest": format!("sha256:{os}"), "size": 1,
                   "platform": {"os": os, "architecture": architecture}})
        };
        let index = |entries: Vec<serde_json::Value>| -> OciImageIndex {
            serde_json::from_value(json!({"schemaVersion": 2, "manifests": entries})).unwrap()
        };
        let mixed = index(vec![entry("linux", "amd64"), entry("wasip1", "wasm"), entry("wasip2", "wasm")]);
        assert_eq!(choose(&mixed).unwrap(), "sha256:wasip2");
        let linux = index(vec![entry("linux", "amd64"), entry("linux", "arm64")]);
        assert_eq!(
            choose(&linux),
            Err(Problem::NotWasm("its platforms are linux/amd64, linux/arm64".into()))
        );
    }

    #[test]
    fn the_entrypoint_chooses_the_file() {
        let files = ["lib.wasm".to_owned(), "./bin/app.wasm".to_owned()];
        assert_eq!(file_of(&files, &["/bin/app.wasm".to_owned()], &[]).unwrap(), "./bin/app.wasm");
        assert_eq!(file_of(&files[..1], &[], &[]).unwrap(), "lib.wasm");
        assert!(matches!(file_of(&files, &[], &[]), Err(Problem::Unclear(_))));
        assert!(matches!(file_of(&[], &[], &[]), Err(Problem::Unclear(_))));
    }
}
