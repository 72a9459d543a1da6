//! Guests that mean harm, and what they get for it.

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use super::*;

/// A core module whose `_start` grows a table by 1024 elements until it may not, then traps.
fn table_grower() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], []);
    let mut imports = ImportSection::new();
    imports.import("wasi_snapshot_preview1", "proc_exit", EntityType::Function(1));
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut tables = TableSection::new();
    let element_type = RefType::FUNCREF;
    tables.table(TableType { element_type, minimum: 0, maximum: None, table64: false, shared: false });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("_start", ExportKind::Func, 1).export("memory", ExportKind::Memory, 0);
    let mut start = Function::new([]);
    start
        .instructions()
        .loop_(wasm_encoder::BlockType::Empty)
        .ref_null(wasm_encoder::HeapType::FUNC)
        .i32_const(1024)
        .table_grow(0)
        .i32_const(-1)
        .i32_ne()
        .br_if(0)
        .end()
        .unreachable()
        .end();
    let mut code = CodeSection::new();
    code.function(&start);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
    module.section(&exports).section(&code);
    module.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_count_against_the_limit_of_memory() {
    let node = Node::new();
    let bytes = table_grower();
    let digest = digest::Digest::of(&bytes);
    let artifact = node.runtime.prepare(digest.as_str(), bytes.into()).await.unwrap();
    let ends = [(Some(200 << 10), (137, Reason::OomKilled)), (None, (134, Reason::Error))];
    for (memory_limit_bytes, expected) in ends {
        let container = node
            .start("tool", |spec| {
                spec.artifact = artifact.clone();
                spec.memory_limit_bytes = memory_limit_bytes;
            })
            .await;
        let (code, reason, message) = end(&container).await;
        assert_eq!((code, reason), expected, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_requests_is_held_to_the_handles_of_an_instance() {
    let node = Node::new();
    let front = node.start("unruly", |_| ()).await;
    let back = node.start("hello", |_| ()).await;
    node.network.hosts.lock().unwrap().insert("back.ns".into(), back.handler().unwrap());
    assert_eq!(text(get(&front, "/storm?500").await.unwrap()).await, "500 answered\n");
    let Err(CallError::Trap(message)) = get(&front, "/storm?20000").await else { panic!("it is refused") };
    assert!(message.contains("resource table has no free keys"), "{message}");
    assert_eq!(get(&back, "/").await.unwrap().status(), 200);
    assert_eq!(get(&front, "/").await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let mut trailers = ::http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = full_body("12345").with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync();
    let response = ask(&container, request("/trailers", body)).await.unwrap();
    let collected = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(collected.trailers().unwrap()["x-told"], "5 x-sum=7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_streams_through_a_pod_without_staying_in_it() {
    const BYTES: u64 = 1 << 30;
    let node = Node::new();
    let container = node.start("unruly", |_| ()).await;
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let pieces = (0..BYTES / piece.len() as u64).map(move |_| Ok(http_body::Frame::data(piece.clone())));
    let body = http_body_util::StreamBody::new(futures::stream::iter(pieces)).boxed_unsync();
    let before = resident_bytes();
    let mut echoed = ask(&container, request("/echo", body)).await.unwrap().into_body();
    let mut received = 0;
    let mut most = 0;
    while let Some(frame) = tokio::time::timeout(DEADLINE, echoed.frame()).await.expect("a frame comes") {
        received += frame.unwrap().into_data().map_or(0, |data| data.len() as u64);
        if received % (64 << 20) < (16 << 10) {
            most = most.max(resident_bytes());
        }
    }
    assert_eq!(received, BYTES);
    // Other tests of this process run beside it, so this is a tenth of what passed and no less.
    assert!(
        most.saturating_sub(before) < BYTES / 10,
        "{before} bytes resident before, {most} while it passed"
    );
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_made_and_ended_by_the_thousand_leave_nothing() {
    let node = Node::new();
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (mut first, mut last) = (None, 0);
    for _ in 0..10 {
        let mut containers = Vec::new();
        for _ in 0..200 {
            containers.push(node.start("hello", |_| ()).await);
        }
        for container in &containers {
            assert_eq!(get(container, "/").await.unwrap().status(), 200);
        }
        for container in containers {
            container.stop(DEADLINE).await;
        }
        last = resident_bytes();
        first.get_or_insert(last);
    }
    let grown = last.saturating_sub(first.unwrap_or_default());
    assert!(grown < 64 << 20, "{grown} bytes more after 1,800 containers");
    // Other tests of this process open some at the same time.
    assert!(files() < 1000, "{} open files", files());
    let _all = node.runtime.host.instances.acquire_many(node.runtime.live_instances()).await.unwrap();
}
