//! `isopod push FILE.wasm REF`: a WebAssembly file into the cluster's registry, in the layout that the CNCF
//! describes for Wasm artifacts (one `application/wasm` layer, config `application/vnd.wasm.config.v0+json`).

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use http::{Method, Request, StatusCode};
use isopod_node::runtime::inspect::{Form, inspect};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::client::Connection;

/// Media types of the artifact.
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const LAYER_TYPE: &str = "application/wasm";
/// Largest file: more is a mistake, and the node would refuse to compile it.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Arguments of `push`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A component or a core module, in the binary format
    file: PathBuf,
    /// Where to store it, as registry.local/<name>:<tag>
    reference: String,
    #[command(flatten)]
    connection: Connection,
}

/// What was stored.
pub(crate) struct Pushed {
    /// Digest of the manifest.
    pub(crate) digest: String,
    /// Size of the WebAssembly file, in bytes.
    pub(crate) bytes: usize,
}

/// Pushes the file and prints reference and digest.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let reference = Reference::parse(&args.reference)?;
    let length =
        std::fs::metadata(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?.len();
    if length > FILE_BYTES_MAX {
        bail!("{} has {length} bytes; at most {FILE_BYTES_MAX} can be pushed", args.file.display());
    }
    let wasm = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let client = args.connection.client().await?;
    let pushed = push(&client, wasm, &reference)
        .await
        .with_context(|| format!("cannot push {}", args.file.display()))?;
    println!("pushed {} ({} bytes)\n{}", args.reference, pushed.bytes, pushed.digest);
    Ok(())
}

/// A name and tag in the cluster's own registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// Accepts `registry.local/<name>[:<tag>]`; the tag defaults to `latest`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Reference> {
        let Some(rest) = text.strip_prefix("registry.local/") else {
            bail!("{text:?} is not in the cluster's registry: write registry.local/<name>:<tag>");
        };
        if rest.contains('@') {
            bail!("{text:?} names a digest; push to a tag, as registry.local/<name>:<tag>");
        }
        let (name, tag) = rest.rsplit_once(':').unwrap_or((rest, "latest"));
        if name.is_empty() || tag.is_empty() {
            bail!("{text:?} has no name or an empty tag: write registry.local/<name>:<tag>");
        }
        Ok(Reference { name: name.into(), tag: tag.into() })
    }
}

/// Uploads blobs that are not there yet, then the manifest under the tag.
pub(crate) async fn push(client: &Client, wasm: Vec<u8>, reference: &Reference) -> anyhow::Result<Pushed> {
    let config = config(&wasm)?;
    let bytes = wasm.len();
    let layer = Blob::new(LAYER_TYPE, wasm);
    let config = Blob::new(CONFIG_TYPE, config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    })
    .to_string();
    let digest = digest(manifest.as_bytes());
    for blob in [config, layer] {
        upload(client, &reference.name, blob).await?;
    }
    let path = format!("/v2/{}/manifests/{}", reference.name, reference.tag);
    let request = Request::put(path).header("Content-Type", MANIFEST_TYPE).body(manifest.into_bytes())?;
    expect(client, request, StatusCode::CREATED).await?;
    Ok(Pushed { digest, bytes })
}

/// The artifact's config, from what the binary itself says it is.
fn config(wasm: &[u8]) -> anyhow::Result<serde_json::Value> {
    let outline = inspect(wasm)?;
    let os = match outline.form {
        Form::Component => "wasip2",
        Form::CoreModule => "wasip1",
    };
    let mut config = json!({
        "created": jiff::Timestamp::now().to_string(),
        "architecture": "wasm",
        "os": os,
        "layerDigests": [digest(wasm)],
    });
    if outline.form == Form::Component {
        let imports: Vec<&str> = outline.imports.iter().map(|import| import.module.as_str()).collect();
        config["component"] = json!({ "exports": outline.exports, "imports": imports });
    }
    Ok(config)
}

struct Blob {
    media_type: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Blob {
        Blob { media_type, digest: digest(&content), content }
    }

    fn descriptor(&self) -> serde_json::Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.content.len() })
    }
}

async fn upload(client: &Client, name: &str, blob: Blob) -> anyhow::Result<()> {
    let there = Request::head(format!("/v2/{name}/blobs/{}", blob.digest)).body(Vec::new())?;
    if send(client, there).await?.0 == StatusCode::OK {
        return Ok(());
    }
    let path = format!("/v2/{name}/blobs/uploads/?digest={}", blob.digest);
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header("Content-Type", "application/octet-stream").body(blob.content)?;
    expect(client, request, StatusCode::CREATED).await
}

async fn expect(client: &Client, request: Request<Vec<u8>>, status: StatusCode) -> anyhow::Result<()> {
    let path = request.uri().path().to_owned();
    let (found, body) = send(client, request).await?;
    if found != status {
        bail!("the registry answered {found} to {path}: {}", body.trim());
    }
    Ok(())
}

async fn send(client: &Client, request: Request<Vec<u8>>) -> anyhow::Result<(StatusCode, String)> {
    let response = client.send(request.map(Body::from)).await.context("cannot reach the cluster")?;
    let status = response.status();
    let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn digest(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(content) {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_the_clusters_registry() {
        let parsed = Reference::parse("registry.local/team/app:v1").expect("valid");
        assert_eq!(parsed, Reference { name: "team/app".into(), tag: "v1".into() });
        assert_eq!(Reference::parse("registry.local/app").expect("valid").tag, "latest");
        for bad in [
            "app:v1",
            "ghcr.io/app:v1",
            "registry.local/",
            "registry.local/app:",
            "registry.local/app@sha256:0",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_that_is_not_wasm_is_refused_before_anything_is_sent() {
        let error = config(b"hello").expect_err("refused");
        assert!(error.to_string().contains("not a WebAssembly binary"), "{error}");
    }
}
