//! Small requests that mean a lot of work or memory: each is refused in a word, or costs little, and the member goes on.

use std::time::Duration;

use isopod_tests::client::client;
use isopod_tests::control_plane::ControlPlane;
use kube::api::{PostParams, Request};
use kube::client::Body;

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than a member has after all of this, and less than any bomb would take that goes off.
const RESIDENT_MIB_MAX: u64 = 700;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON_PATCH: &str = "application/json-patch+json";

/// A request, and the codes that it may be answered with.
struct Bomb {
    name: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    codes: &'static [u16],
}

fn post(name: &'static str, content_type: &str, body: impl Into<Vec<u8>>, codes: &'static [u16]) -> Bomb {
    let headers = vec![("content-type", content_type.to_owned())];
    Bomb { name, method: "POST", path: CONFIG_MAPS.to_owned(), headers, body: body.into(), codes }
}

fn patch(name: &'static str, body: String, codes: &'static [u16]) -> Bomb {
    let path = format!("{CONFIG_MAPS}/target");
    Bomb { method: "PATCH", path, ..post(name, JSON_PATCH, body, codes) }
}

fn get(name: &'static str, query: &str, codes: &'static [u16]) -> Bomb {
    let path = format!("{CONFIG_MAPS}?{query}");
    Bomb { method: "GET", path, ..post(name, JSON, "", codes) }
}

/// A ConfigMap with this as its data.
fn with_data(data: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"b-"}},"data":{data}}}"#)
}

fn bodies() -> Vec<Bomb> {
    let deep = with_data(&format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)));
    let wide = with_data(&format!("[{}0]", "0,".repeat(1_000_000)));
    let twice = with_data(&format!("{{{}\"a\":\"\"}}", "\"a\":\"\",".repeat(100_000)));
    let digits = with_data(&format!("{{\"a\":{}}}", "9".repeat(2_000_000)));
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let flow = "[".repeat(100_000);
    let documents = "--- {}\n".repeat(100_000);
    let lie = b"k8s\0\x12\xff\xff\xff\xff\x0f".to_vec();
    let groups = [b"k8s\0".to_vec(), vec![0x0b; 100_000]].concat();
    vec![
        post("depth", JSON, deep, &[400]),
        post("width", JSON, wide, &[400]),
        post("one key many times", JSON, twice, &[201, 400]),
        post("a number of 2 MB", JSON, digits, &[400]),
        post("an exponent", JSON, with_data(r#"{"a":1e999999999}"#), &[400]),
        post("aliases of aliases", YAML, laughs, &[400]),
        post("brackets", YAML, flow, &[400]),
        post("documents", YAML, documents, &[400]),
        post("a length that is not there", PROTOBUF, lie, &[400]),
        post("groups in groups", PROTOBUF, groups, &[400]),
        post("more than a body may have", JSON, with_data(&"x".repeat(4 << 20)), &[413]),
        Bomb {
            headers: vec![("content-type", JSON.to_owned()), ("content-encoding", "gzip".to_owned())],
            ..post("a body that says it is zipped", JSON, vec![0x1f, 0x8b, 8, 0, 0, 0], &[400, 415])
        },
    ]
}

fn patches() -> Vec<Bomb> {
    let mut doubling =
        vec![format!(r#"{{"op":"add","path":"/data","value":{{"a":"{}"}}}}"#, "x".repeat(1000))];
    doubling.extend((0..40).map(|n| format!(r#"{{"op":"copy","from":"/data","path":"/data/d{n}"}}"#)));
    let many = vec![r#"{"op":"test","path":"/metadata/name","value":"target"}"#; 20_000];
    vec![
        patch("copies of copies", format!("[{}]", doubling.join(",")), &[413, 422]),
        patch("20,000 operations", format!("[{}]", many.join(",")), &[413, 422]),
    ]
}

fn texts() -> Vec<Bomb> {
    let terms = |count: usize| format!("labelSelector={}", vec!["a!=b"; count].join(","));
    let bearer = |token: String| {
        // The certificate counts first, so that this only has to be borne.
        let headers = vec![("authorization", format!("Bearer {token}"))];
        Bomb { headers, ..get("a token of 40 KB", "limit=1", &[200, 401]) }
    };
    vec![
        get("10,000 terms", &terms(10_000), &[200]),
        get("a form feed", "labelSelector=%0C", &[400]),
        get("a token that is none", "limit=1&continue=bm90IGpzb24", &[400]),
        get("a token of tomorrow", &format!("limit=1&continue={TOMORROW}"), &[503, 504]),
        bearer(format!("a.{}.b", "x".repeat(40_000))),
    ]
}

/// `{"v":"meta.k8s.io/v1","rv":9000000000000000,"start":""}`
const TOMORROW: &str = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTAwMDAwMDAwMDAwMDAwMCwic3RhcnQiOiIifQ";

fn definitions() -> Vec<Bomb> {
    let definition = |property: &str| {
        format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"bs.x.io"}},"spec":{{"group":"x.io","scope":"Cluster","names":{{"plural":"bs","kind":"B"}},"versions":[{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"a":{property}}}}}}}}}]}}}}"#
        )
    };
    let pattern = definition(r#"{"type":"string","pattern":"((a{1000}){1000}){1000}"}"#);
    let brackets = "(".repeat(4000);
    let rule = definition(&format!(
        r#"{{"type":"string","x-kubernetes-validations":[{{"rule":"{brackets}true","message":"m"}}]}}"#
    ));
    [("a pattern of a billion", pattern), ("a rule of brackets", rule)]
        .map(|(name, body)| Bomb { path: DEFINITIONS.to_owned(), ..post(name, JSON, body, &[422]) })
        .into()
}

#[test]
fn each_bomb_is_refused_and_the_member_goes_on() {
    let plane = ControlPlane::start(1);
    let server = &plane.servers[0];
    server.kubectl(&["create", "configmap", "target"]).ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        for bomb in bodies().into_iter().chain(patches()).chain(texts()).chain(definitions()) {
            let mut request = Request::new(CONFIG_MAPS)
                .create(&PostParams::default(), bomb.body)
                .expect("a request can be made");
            *request.method_mut() = bomb.method.parse().expect("a method");
            *request.uri_mut() = bomb.path.parse().expect("a path");
            request.headers_mut().remove("content-type");
            for (name, value) in bomb.headers {
                request.headers_mut().insert(name, value.parse().expect("a header"));
            }
            // Each on a connection of its own: a bomb may cost its connection.
            let client = client(&server.kubeconfig()).await;
            let sent = tokio::time::timeout(DEADLINE, client.send(request.map(Body::from))).await;
            let answer = sent.unwrap_or_else(|_| panic!("{}: no answer", bomb.name));
            let code = answer.unwrap_or_else(|error| panic!("{}: {error}", bomb.name)).status().as_u16();
            assert!(bomb.codes.contains(&code), "{}: {code}", bomb.name);
        }
    });
    server.kubectl(&["get", "configmap", "target"]).ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says");
    let most = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024;
    assert!(most < RESIDENT_MIB_MAX, "it once had {most} MiB");
}
