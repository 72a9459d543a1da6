//! What only the API decodes, under mutated input: paths, queries, headers, continue tokens, bearer tokens. The loop
//! and its mutations are those of the decoders in `spec` (CONTRIBUTING.md).

#[path = "../../../spec/tests/fuzz/fuzz.rs"]
mod rounds;

#[path = "../../../spec/tests/fuzz/memory.rs"]
mod memory;

#[path = "../../../spec/tests/fuzz/mutate.rs"]
mod mutate;

use std::hint::black_box;

use self::rounds::{Bound, run};
use super::page::Token;
use super::query::Query;
use super::{load, negotiate, options, route};
use crate::security::SigningKey;
use crate::security::tokens::{Bound as BoundTo, Claims, ISSUER, Reference, Tokens};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const SMALL: Bound = Bound { factor: 64, free: 1 << 20 };

fn owned(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.as_bytes().to_vec()).collect()
}

/// A target whose input is text, as all of a request's head is.
fn texts(target: &str, corpus: &[&str], decode: impl Fn(&str)) {
    run(target, &owned(corpus), SMALL, |input| {
        if let Ok(text) = std::str::from_utf8(input) {
            decode(text);
        }
    });
}

#[test]
fn paths_are_read() {
    let corpus = [
        "/api/v1/namespaces/default/pods/web-1/log",
        "/apis/apps/v1/namespaces/a/deployments/b%2Fc/scale/x/y",
        "/openapi/v3/apis/apps/v1",
        "/readyz/poststarthook%00",
        "//a/../b/%ff",
    ];
    texts("paths", &corpus, |text| drop(black_box(route::parse(text))));
}

#[test]
fn queries_are_read() {
    let corpus = [
        "labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=500&watch=1&timeout=1m30s",
        "resourceVersion=12&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=t",
        "pretty&dryRun=All&dryRun=All&fieldManager=a&timeoutSeconds=-1&continue=abc",
        "timeout=99999999999999999999h1ms",
    ];
    texts("queries", &corpus, |text| {
        let query = Query::parse(Some(text));
        drop(black_box(options::list(&query)));
        drop(black_box(options::watch(&query)));
        black_box((load::time_allowed(&query), query.flag("pretty"), query.integer("limit").is_ok()));
    });
}

#[test]
fn media_types_are_negotiated() {
    let corpus = [
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.9, */*;q=0.1",
        "application/vnd.kubernetes.protobuf;stream=watch, application/json;charset=utf-8",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1;profile=\"a,b\"",
    ];
    texts("media-types", &corpus, |text| {
        black_box((negotiate::object_form(Some(text)), negotiate::discovery_form(Some(text))));
        black_box((negotiate::media_type(Some(text)), negotiate::takes_plain_json(Some(text))));
    });
}

#[test]
fn continue_tokens_are_read() {
    let corpus = [
        "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIsInN0YXJ0IjoiZGVmYXVsdC93ZWIifQ",
        "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiIn0=",
        "e30",
    ];
    texts("continue-tokens", &corpus, |text| {
        if let Ok(token) = Token::decode(text) {
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
    });
}

#[test]
fn bearer_tokens_are_read() {
    let account = Reference { name: "robot".to_owned(), uid: "u".to_owned() };
    let claims = Claims {
        aud: vec![ISSUER.to_owned()],
        exp: 2000,
        iat: 1000,
        iss: ISSUER.to_owned(),
        jti: "id".to_owned(),
        bound: BoundTo { namespace: "shop".to_owned(), serviceaccount: account, ..BoundTo::default() },
        nbf: 1000,
        sub: "system:serviceaccount:shop:robot".to_owned(),
    };
    let tokens = Tokens::new(SigningKey::generate().expect("a fresh key"));
    let good = tokens.sign(&claims);
    let corpus = [good.as_str(), "a.b.c", "e30.e30.e30", "..", "eyJhbGciOiJub25lIn0.e30."];
    texts("bearer-tokens", &corpus, |text| {
        let accepted = tokens.verified(text).is_ok();
        assert!(!accepted || text == good, "{text} is accepted and was not signed");
    });
}
