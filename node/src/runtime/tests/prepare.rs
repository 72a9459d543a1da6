//! What becomes of bytes.

use super::*;

async fn refused(runtime: &Runtime, bytes: &[u8]) -> String {
    let digest = digest::Digest::of(bytes);
    let result = runtime.prepare(digest.as_str(), Bytes::copy_from_slice(bytes)).await;
    result.expect_err("it cannot run").to_string()
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let node = Node::with(|config| config.compile_bytes = 512 * 1024);
    let hello = wasm("hello");
    let mut damaged = hello.to_vec();
    damaged[hello.len() / 2..].fill(0);
    let cases: &[(&[u8], &str)] = &[
        (b"", "not a WebAssembly binary"),
        (b"FROM scratch\n", "not a WebAssembly binary"),
        (
            &hello[..hello.len() / 2],
            "invalid WebAssembly: corrupt WebAssembly binary: unexpected end-of-file",
        ),
        (&damaged, "invalid WebAssembly: "),
        (
            &wasm("stranger"),
            "the component imports what this node does not offer: elsewhere:things/store@1.2.0",
        ),
        // `(component)`
        (
            b"\0asm\x0d\0\x01\0",
            "the component exports no entry point (wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, wasi:cli/run of either), but nothing",
        ),
        // `(module)`: no command, and no world of its own
        (
            b"\0asm\x01\0\0\0",
            "the component exports no entry point (wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, wasi:cli/run of either), but nothing",
        ),
        (&[0; 1 << 20], "the artifact has 1048576 bytes; the limit is 524288"),
    ];
    for (bytes, expected) in cases {
        let message = refused(&node.runtime, bytes).await;
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn bytes_must_be_those_of_the_digest() {
    let node = Node::new();
    let expected = digest::Digest::of(b"other");
    let result = node.runtime.prepare(expected.as_str(), wasm("hello")).await;
    assert!(matches!(result, Err(PrepareError::DigestMismatch { .. })), "{result:?}");
    let result = node.runtime.prepare("sha256:../../etc", wasm("hello")).await;
    assert!(matches!(result, Err(PrepareError::BadDigest(_))), "{result:?}");
}

#[tokio::test]
async fn an_artifact_is_made_once_and_shared() {
    let node = Node::new();
    let (a, b) = tokio::join!(node.artifact("hello"), node.artifact("hello"));
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(a.world(), World::Http);
    assert!(Arc::ptr_eq(&node.runtime.cached(a.digest()).unwrap(), &a));
    assert!(node.runtime.cached("sha256:none").is_none());
}

#[tokio::test]
async fn a_runtime_started_again_finds_the_compiled_code() {
    let node = Node::new();
    let artifact = node.artifact("hello").await;
    let again =
        Runtime::new(Config { live_instances: 64, ..Config::new(node.dir.path().join("code")) }).unwrap();
    // The bytes are not even looked at.
    let loaded = again.prepare(artifact.digest(), Bytes::new()).await.unwrap();
    assert_eq!(loaded.world(), World::Http);
    let spec = ContainerSpec {
        pod: pod(),
        name: "c".into(),
        artifact: loaded,
        args: vec![],
        env: vec![],
        mounts: vec![],
        memory_limit_bytes: None,
        cpu_limit_millis: None,
        config: vec![],
        instances: Instances::Fresh,
        logs: node.logs.open(&pod_ref(), "c", 0),
    };
    let container = again.start(spec, node.network.clone()).unwrap();
    assert_eq!(get(&container, "/").await.unwrap().status(), 200);
}
