//! Pulls from a tiny registry on this machine, honest and otherwise.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::blobs::digest_of;
use super::*;

const WASM: &[u8] = b"\0asm\x01\0\0\0";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// Blobs by digest and manifests by tag or digest, under any repository.
#[derive(Default)]
struct Content {
    objects: HashMap<String, Vec<u8>>,
    requests: AtomicUsize,
}

impl Content {
    fn add(&mut self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        self.objects.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// An artifact of one layer under a tag.
    fn artifact(&mut self, tag: &str, config: (&str, &[u8]), layer: (&str, &[u8])) -> String {
        let mut part = |(kind, bytes): (&str, &[u8])| json!({"mediaType": kind, "digest": self.add(bytes), "size": bytes.len()});
        let (config, layer) = (part(config), part(layer));
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                              "config": config, "layers": [layer]});
        self.manifest(tag, &manifest)
    }

    fn manifest(&mut self, tag: &str, manifest: &Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let digest = self.add(&bytes);
        self.objects.insert(tag.to_owned(), bytes);
        digest
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if path == "/v2/" {
            return Response::new(Full::default());
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        match self.objects.get(name) {
            Some(bytes) => Response::new(Full::new(bytes.clone().into())),
            None => {
                let body = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}"#;
                Response::builder().status(StatusCode::NOT_FOUND).body(Full::new(body.into())).unwrap()
            }
        }
    }
}

struct Fixture {
    images: Images,
    content: Arc<Content>,
    address: SocketAddr,
    folder: TempDir,
}

impl Fixture {
    async fn new(content: Content) -> Self {
        let content = Arc::new(content);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, content.clone()));
        let folder = tempfile::tempdir().unwrap();
        let images = open(&folder, address);
        Self { images, content, address, folder }
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/app{rest}", self.address)
    }

    async fn ensure(&self, name: &str, policy: PullPolicy) -> Result<Ready, String> {
        self.images.ensure(name, policy, Credentials::default()).await.map_err(|error| error.to_string())
    }

    fn requests(&self) -> usize {
        self.content.requests.load(Ordering::SeqCst)
    }
}

fn open(folder: &TempDir, api: SocketAddr) -> Images {
    let uri: http::Uri = format!("http://{api}").parse().unwrap();
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = kube::Client::try_from(kube::Config::new(uri)).unwrap();
    Images::open(Config { folder: folder.path().to_owned(), max_bytes: 1000 }, client).unwrap()
}

async fn serve(listener: tokio::net::TcpListener, content: Arc<Content>) {
    while let Ok((stream, _)) = listener.accept().await {
        let content = content.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = content.answer(request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

#[tokio::test]
async fn an_artifact_is_pulled_once_and_kept_over_a_restart() {
    let mut content = Content::default();
    let digest = content.artifact("v1", (WASM_CONFIG, b"{}"), ("application/wasm", WASM));
    let fixture = Fixture::new(content).await;
    let name = fixture.name(":v1");
    let ready = fixture.ensure(&name, PullPolicy::IfNotPresent).await.unwrap();
    assert!(ready.pulled_in.is_some());
    assert_eq!(ready.image.id, format!("{}/app@{digest}", fixture.address));
    assert_eq!(fixture.images.bytes(&ready.image).await.unwrap(), WASM);
    let requests = fixture.requests();
    assert!(fixture.ensure(&name, PullPolicy::IfNotPresent).await.unwrap().pulled_in.is_none());
    let again = open(&fixture.folder, fixture.address);
    assert_eq!(again.present(&name), Some(ready.image));
    assert_eq!(fixture.requests(), requests, "nobody was asked again");
}

#[tokio::test]
async fn the_clusters_registry_is_reached_through_the_api_server() {
    let mut content = Content::default();
    content.artifact("v1", (WASM_CONFIG, b"{}"), ("application/wasm", WASM));
    let fixture = Fixture::new(content).await;
    let ready = fixture.ensure("registry.local/team/app:v1", PullPolicy::IfNotPresent).await.unwrap();
    assert!(ready.image.id.starts_with("registry.local/team/app@sha256:"), "{}", ready.image.id);
    let missing = fixture.ensure("registry.local/app:v2", PullPolicy::IfNotPresent).await.unwrap_err();
    assert_eq!(missing, "registry.local/app:v2: not found");
}

#[tokio::test]
async fn always_asks_again_but_fetches_only_what_is_new() {
    let mut content = Content::default();
    content.artifact("latest", (WASM_CONFIG, b"{}"), ("application/wasm", WASM));
    let fixture = Fixture::new(content).await;
    let name = fixture.name("");
    fixture.ensure(&name, PullPolicy::Always).await.unwrap();
    let before = fixture.requests();
    let ready = fixture.ensure(&name, PullPolicy::Always).await.unwrap();
    assert!(ready.pulled_in.is_some());
    assert!(fixture.requests() > before);
}

#[tokio::test]
async fn never_does_not_ask() {
    let fixture = Fixture::new(Content::default()).await;
    let name = fixture.name(":v1");
    let error = fixture.ensure(&name, PullPolicy::Never).await.unwrap_err();
    assert_eq!(error, format!("Container image \"{name}\" is not present with pull policy of Never"));
    assert_eq!(fixture.requests(), 0);
}

#[tokio::test]
async fn a_registry_that_lies_is_found_out() {
    let mut content = Content::default();
    content.artifact("v1", (WASM_CONFIG, b"{}"), ("application/wasm", WASM));
    content.objects.insert(digest_of(WASM), b"something else".to_vec());
    let wrong = digest_of(b"never stored");
    let other = content.objects["v1"].clone();
    content.objects.insert(wrong.clone(), other);
    let fixture = Fixture::new(content).await;
    let error = fixture.ensure(&fixture.name(":v1"), PullPolicy::IfNotPresent).await.unwrap_err();
    assert!(error.contains("digest"), "{error}");
    let error = fixture.ensure(&format!("registry.local/app@{wrong}"), PullPolicy::Always).await.unwrap_err();
    assert!(error.contains("the manifest does not have the digest"), "{error}");
    assert!(fixture.images.all().is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_not_taken() {
    let mut content = Content::default();
    content.artifact("v1", (WASM_CONFIG, b"{}"), ("application/wasm", &[0; 1001]));
    let fixture = Fixture::new(content).await;
    let error = fixture.ensure("registry.local/app:v1", PullPolicy::IfNotPresent).await.unwrap_err();
    assert!(error.ends_with("is larger than the limit of 1000 bytes"), "{error}");
}

#[tokio::test]
async fn an_image_for_linux_is_refused_with_what_it_is() {
    let mut content = Content::default();
    let config = br#"{"os": "linux", "architecture": "amd64"}"#;
    let kind = "application/vnd.oci.image.config.v1+json";
    content.artifact("v1", (kind, config), ("application/vnd.oci.image.layer.v1.tar", b"x"));
    let fixture = Fixture::new(content).await;
    let error = fixture.ensure("registry.local/app:v1", PullPolicy::IfNotPresent).await.unwrap_err();
    assert!(error.contains("is not a WebAssembly artifact (its platform is linux/amd64)"), "{error}");
}

#[tokio::test]
async fn a_module_in_an_images_file_system_is_found() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(WASM.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "app.wasm", WASM).unwrap();
    let archive = archive.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gzip, &archive).unwrap();
    let mut content = Content::default();
    let config = br#"{"os": "wasip1", "architecture": "wasm", "config": {"Entrypoint": ["/app.wasm"], "Env": ["A=b"]}}"#;
    let kind = "application/vnd.oci.image.config.v1+json";
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let digest = content.artifact("one", (kind, config), (layer, &gzip.finish().unwrap()));
    let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
                       "platform": {"os": "wasip1", "architecture": "wasm"}});
    content.manifest(
        "v1",
        &json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                                   "manifests": [entry]}),
    );
    let mut fixture = Fixture::new(content).await;
    // The tar format's padding needs more room than the module.
    let uri = format!("http://{}", fixture.address).parse().unwrap();
    let client = kube::Client::try_from(kube::Config::new(uri)).unwrap();
    let config = Config { folder: fixture.folder.path().to_owned(), max_bytes: 100_000 };
    fixture.images = Images::open(config, client).unwrap();
    let ready = fixture.ensure("registry.local/app:v1", PullPolicy::IfNotPresent).await.unwrap();
    assert_eq!(fixture.images.bytes(&ready.image).await.unwrap(), WASM);
    assert_eq!(
        (&ready.image.entrypoint[..], &ready.image.env[..]),
        (&["/app.wasm".to_owned()][..], &[("A".to_owned(), "b".to_owned())][..])
    );
}

#[tokio::test]
async fn a_damaged_copy_is_pulled_again() {
    let mut content = Content::default();
    content.artifact("v1", (WASM_CONFIG, b"{}"), ("application/wasm", WASM));
    let fixture = Fixture::new(content).await;
    let name = "registry.local/app:v1";
    let ready = fixture.ensure(name, PullPolicy::IfNotPresent).await.unwrap();
    let file = fixture.folder.path().join("blobs").join(digest_of(WASM).strip_prefix("sha256:").unwrap());
    std::fs::write(file, b"damaged").unwrap();
    assert!(matches!(fixture.images.bytes(&ready.image).await, Err(ImageError::Untrue { .. })));
    let ready = fixture.ensure(name, PullPolicy::IfNotPresent).await.unwrap();
    assert_eq!(fixture.images.bytes(&ready.image).await.unwrap(), WASM);
}
