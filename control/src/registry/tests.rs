//! The distribution API as clients use it: push in one request and in chunks, pull, list, delete, refusals.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use isopod_raft_store::{Config, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Asked, Body, Digest, Limits, Nobody, Others, Registry};

struct Fixture {
    registry: Registry,
    _folder: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

async fn fixture(limits: Limits) -> Fixture {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, driver) = Store::open(Config::new(folder.path().join("store"))).await.expect("opens");
    let stop = CancellationToken::new();
    tokio::spawn(driver.run(stop.clone()));
    let registry = Registry::open(folder.path(), store, Arc::new(Nobody), limits).expect("opens");
    Fixture { registry, _folder: folder, _stop: stop.drop_guard() }
}

/// Registries of other members in this process; one that is `None` cannot be reached.
struct Near(Vec<Option<Registry>>);

impl Others for Near {
    fn addresses(&self) -> Vec<String> {
        (0..self.0.len()).map(|place| place.to_string()).collect()
    }

    fn ask(&self, address: String, request: Request<Body>) -> Asked {
        let place: usize = address.parse().expect("one of the addresses");
        let registry = self.0[place].clone();
        async move {
            match registry {
                Some(registry) => {
                    let (head, body) = request.into_parts();
                    let body = Full::new(body.collect().await?.to_bytes());
                    Ok(registry.handle(Request::from_parts(head, body)).await)
                }
                None => Err("it is gone".into()),
            }
        }
        .boxed()
    }
}

impl Fixture {
    /// The member that stores and pulls here, when there are these others.
    fn beside(&self, others: Vec<Option<Registry>>) -> Registry {
        Registry { others: Arc::new(Near(others)), ..self.registry.clone() }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        self.registry.handle(request.body(body).expect("a valid request")).await
    }

    async fn push_blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/app/blobs/uploads/?digest={digest}");
        assert_eq!(self.send("POST", &path, &[], content).await.status(), StatusCode::CREATED);
        digest
    }

    async fn push_app(&self, tag: &str) -> Digest {
        let (config, layer) = (self.push_blob(b"{}").await, self.push_blob(b"\0asm").await);
        let manifest = json!({
            "schemaVersion": 2,
            "config": { "digest": config.to_string() },
            "layers": [{ "digest": layer.to_string() }],
        })
        .to_string();
        let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
        let answer = self.send("PUT", &format!("/v2/app/manifests/{tag}"), &kind, manifest.as_bytes()).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        Digest::of(manifest.as_bytes())
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

async fn code(response: Response<Body>) -> String {
    let answer: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
    answer["errors"][0]["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_tag_and_by_digest() {
    let fixture = fixture(Limits::default()).await;
    let digest = fixture.push_app("v1").await;
    for reference in ["v1", &digest.to_string()] {
        let answer = fixture.send("GET", &format!("/v2/app/manifests/{reference}"), &[], b"").await;
        assert_eq!(answer.headers()["docker-content-digest"], digest.to_string().as_str());
        assert_eq!(answer.headers()["content-type"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(Digest::of(text(answer).await.as_bytes()), digest);
    }
    let layer = Digest::of(b"\0asm");
    let head = fixture.send("HEAD", &format!("/v2/app/blobs/{layer}"), &[], b"").await;
    assert_eq!(head.headers()["content-length"], "4");
    assert_eq!(text(head).await, "");
    assert_eq!(text(fixture.send("GET", &format!("/v2/app/blobs/{layer}"), &[], b"").await).await, "\0asm");
}

#[tokio::test]
async fn a_blob_arrives_in_chunks_and_resumes_where_it_stands() {
    let fixture = fixture(Limits::default()).await;
    let started = fixture.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let location = started.headers()["location"].to_str().expect("text").to_owned();
    fixture.send("PATCH", &location, &[("content-range", "0-2")], b"abc").await;
    let gap = fixture.send("PATCH", &location, &[("content-range", "5-7")], b"fgh").await;
    assert_eq!(gap.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let status = fixture.send("GET", &location, &[], b"").await;
    assert_eq!(status.headers()["range"], "0-2");
    let digest = Digest::of(b"abcdef");
    let finished = fixture.send("PUT", &format!("{location}?digest={digest}"), &[], b"def").await;
    assert_eq!(finished.status(), StatusCode::CREATED);
    assert_eq!(text(fixture.send("GET", &format!("/v2/app/blobs/{digest}"), &[], b"").await).await, "abcdef");
}

#[tokio::test]
async fn content_that_does_not_match_its_digest_is_not_kept() {
    let fixture = fixture(Limits::default()).await;
    let digest = Digest::of(b"right");
    let answer =
        fixture.send("POST", &format!("/v2/app/blobs/uploads/?digest={digest}"), &[], b"wrong").await;
    assert_eq!((answer.status(), code(answer).await.as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    assert_eq!(
        fixture.send("GET", &format!("/v2/app/blobs/{digest}"), &[], b"").await.status(),
        StatusCode::NOT_FOUND
    );
    let by_digest = fixture.send("PUT", &format!("/v2/app/manifests/{digest}"), &[], b"{}").await;
    assert_eq!(code(by_digest).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_manifest_may_only_name_blobs_that_are_here() {
    let fixture = fixture(Limits::default()).await;
    let manifest = json!({ "layers": [{ "digest": Digest::of(b"absent").to_string() }] }).to_string();
    let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let answer = fixture.send("PUT", "/v2/app/manifests/v1", &kind, manifest.as_bytes()).await;
    assert_eq!(code(answer).await, "MANIFEST_BLOB_UNKNOWN");
    let answer = fixture.send("PUT", "/v2/app/manifests/v1", &kind, b"not json").await;
    assert_eq!(code(answer).await, "MANIFEST_INVALID");
}

#[tokio::test]
async fn what_a_manifest_names_is_on_a_majority_of_the_members() {
    let (mut own, near) = (fixture(Limits::default()).await, fixture(Limits::default()).await);
    own.registry = own.beside(vec![None, Some(near.registry.clone())]);
    own.push_app("v1").await;
    let path = format!("/v2/app/blobs/{}", Digest::of(b"\0asm"));
    assert_eq!(text(near.send("GET", &path, &[], b"").await).await, "\0asm");

    // Alone among three it stores nothing that it might lose.
    own.registry = own.beside(vec![None, None]);
    let layer = own.push_blob(b"other").await;
    let manifest = json!({ "layers": [{ "digest": layer.to_string() }] }).to_string();
    let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let answer = own.send("PUT", "/v2/app/manifests/v2", &kind, manifest.as_bytes()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(answer).await.contains("only 1 of 3 members"));
    assert_eq!(own.send("GET", "/v2/app/manifests/v2", &[], b"").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_member_fetches_a_blob_that_it_lacks_and_keeps_it() {
    let (mut own, near) = (fixture(Limits::default()).await, fixture(Limits::default()).await);
    let digest = near.push_blob(b"content").await;
    let path = format!("/v2/app/blobs/{digest}");
    own.registry = own.beside(vec![None, Some(near.registry.clone())]);
    let from_member = own.send("GET", &format!("{path}?from=member"), &[], b"").await;
    assert_eq!(from_member.status(), StatusCode::NOT_FOUND, "members do not ask in circles");
    assert_eq!(text(own.send("GET", &path, &[], b"").await).await, "content");
    own.registry = own.beside(vec![None, None]);
    assert_eq!(text(own.send("GET", &path, &[], b"").await).await, "content");
    let absent = format!("/v2/app/blobs/{}", Digest::of(b"absent"));
    assert_eq!(own.send("GET", &absent, &[], b"").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bounds_are_kept() {
    let fixture = fixture(Limits { blob_bytes_max: 4, uploads_max: 1 }).await;
    let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::of(b"12345"));
    assert_eq!(code(fixture.send("POST", &path, &[], b"12345").await).await, "SIZE_INVALID");
    fixture.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let second = fixture.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn repositories_and_tags_are_listed_in_pages_and_deleted() {
    let fixture = fixture(Limits::default()).await;
    let digest = fixture.push_app("v2").await;
    fixture.push_app("v1").await;
    let tags = text(fixture.send("GET", "/v2/app/tags/list?n=1", &[], b"").await).await;
    assert_eq!(tags, r#"{"name":"app","tags":["v1"]}"#);
    let rest = text(fixture.send("GET", "/v2/app/tags/list?last=v1", &[], b"").await).await;
    assert_eq!(rest, r#"{"name":"app","tags":["v2"]}"#);
    assert_eq!(
        text(fixture.send("GET", "/v2/_catalog", &[], b"").await).await,
        r#"{"repositories":["app"]}"#
    );

    let deleted = fixture.send("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    assert_eq!(code(fixture.send("GET", "/v2/app/manifests/v1", &[], b"").await).await, "MANIFEST_UNKNOWN");
    assert_eq!(code(fixture.send("GET", "/v2/app/tags/list", &[], b"").await).await, "NAME_UNKNOWN");
}
