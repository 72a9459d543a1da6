//! What an intermediary does to headers (RFC 9110 §7.6).

use std::net::IpAddr;

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Uri, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes what concerns one connection only. `te: trailers` stays: it is the one such word that gRPC needs
/// end to end.
pub(crate) fn strip_connection(headers: &mut HeaderMap) {
    // Most messages have none of these; looking at the names once is cheaper than removing each.
    if !headers.keys().any(of_connection) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != TE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        headers.remove(TE);
    }
}

fn of_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TE
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
}

/// Whether the client asks to leave HTTP. An offer of HTTP/2 (`upgrade: h2c`), which some clients add to
/// every first request, may be passed over and is not meant.
pub(crate) fn asks_to_leave_http<B>(request: &Request<B>) -> bool {
    if request.method() == Method::CONNECT {
        return true;
    }
    request.headers().get(UPGRADE).is_some_and(|offer| {
        !offer.to_str().is_ok_and(|offers| {
            offers.split(',').all(|offer| {
                let offer = offer.trim();
                offer.eq_ignore_ascii_case("h2c") || offer.to_ascii_lowercase().starts_with("http/")
            })
        })
    })
}

/// Says at the edge of the cluster who asked for what.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, client: IpAddr, host: Option<&str>) {
    let earlier = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut chain = String::new();
    for value in earlier {
        chain.push_str(value);
        chain.push_str(", ");
    }
    chain.push_str(&client.to_string());
    if let Ok(chain) = HeaderValue::try_from(chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// Makes a request fit for an HTTP/1.1 connection to a server: a path alone, and a `host`.
pub(crate) fn to_origin_form<B>(request: &mut Request<B>) {
    if !request.headers().contains_key(HOST)
        && let Some(host) = request.uri().authority().and_then(|all| HeaderValue::from_str(all.as_str()).ok())
    {
        request.headers_mut().insert(HOST, host);
    }
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    }
    *request.version_mut() = Version::HTTP_11;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn headers_of_the_connection_are_removed_with_those_it_names() {
        let mut all = headers(&[
            ("connection", "close, X-Hop"),
            ("connection", "te"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("host", "web"),
            ("x-end", "1"),
        ]);
        strip_connection(&mut all);
        assert_eq!(all, headers(&[("te", "trailers"), ("host", "web"), ("x-end", "1")]));
        let mut gzip = headers(&[("te", "gzip")]);
        strip_connection(&mut gzip);
        assert!(gzip.is_empty());
    }

    #[test]
    fn only_an_offer_of_http_may_be_passed_over() {
        let table = [
            ("GET", None, false),
            ("CONNECT", None, true),
            ("GET", Some("websocket"), true),
            ("GET", Some("h2c"), false),
            ("GET", Some("h2c, HTTP/2.0"), false),
            ("GET", Some("h2c, websocket"), true),
        ];
        for (method, upgrade, expected) in table {
            let mut request = Request::builder().method(method).uri("web:80");
            if let Some(upgrade) = upgrade {
                request = request.header("upgrade", upgrade);
            }
            assert_eq!(asks_to_leave_http(&request.body(()).unwrap()), expected, "{method} {upgrade:?}");
        }
    }

    #[test]
    fn client_is_added_to_the_chain() {
        let mut all = headers(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")]);
        add_forwarded(&mut all, [127, 0, 0, 1].into(), Some("web.shop.localhost:8080"));
        assert_eq!(
            all,
            headers(&[
                ("x-forwarded-for", "10.0.0.1, 10.0.0.2, 127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "web.shop.localhost:8080"),
            ])
        );
    }

    #[test]
    fn origin_form_keeps_path_and_host() {
        let table = [
            ("http://web.shop/a?b=c", None, "/a?b=c", Some("web.shop")),
            ("http://web.shop", Some("other"), "/", Some("other")),
            ("/a", Some("web"), "/a", Some("web")),
            ("/a", None, "/a", None),
        ];
        for (uri, host, path, expected) in table {
            let mut request = Request::builder().uri(uri).version(Version::HTTP_2);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let mut request = request.body(()).unwrap();
            to_origin_form(&mut request);
            assert_eq!(request.uri().to_string(), path);
            assert_eq!(request.version(), Version::HTTP_11);
            assert_eq!(request.headers().get("host").map(|host| host.to_str().unwrap()), expected);
        }
    }
}
