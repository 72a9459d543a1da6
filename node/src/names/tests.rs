//! Tables of the resolver.

use super::*;

/// `web` and the headless `db` (hosts `db-0`, `db-1`) in `shop`, `web` in `blog`, `shop` in `blog`.
struct Cluster;

impl Directory for Cluster {
    type Service = String;

    fn service(&self, namespace: &str, name: &str) -> Option<String> {
        let known = [("shop", "web"), ("shop", "db"), ("blog", "web"), ("blog", "shop")];
        known.contains(&(namespace, name)).then(|| format!("{namespace}/{name}"))
    }

    fn host(&self, service: &String, hostname: &str) -> Option<IpAddr> {
        let last = match (service.as_str(), hostname) {
            ("shop/db", "db-0") => 10,
            ("shop/db", "db-1") => 11,
            ("blog/shop", "web") => 12,
            _ => return None,
        };
        Some(IpAddr::from([127, 42, 0, last]))
    }
}

fn found(name: &str, namespace: &str) -> String {
    match lookup(name, namespace, &Cluster) {
        Lookup::Service(service) => service,
        Lookup::Host(service, addr) => format!("{service} {addr}"),
        Lookup::Pod(addr) => addr.to_string(),
        Lookup::NoSuchName => "no such name".into(),
        Lookup::Foreign => "foreign".into(),
    }
}

#[test]
fn names_resolve_as_under_kubernetes() {
    let table = [
        // Unqualified names are of the caller's namespace.
        ("web", "shop", "shop/web"),
        ("web", "blog", "blog/web"),
        ("WEB", "shop", "shop/web"),
        ("web.", "shop", "no such name"),
        ("cart", "shop", "no such name"),
        // With a namespace, then with more of the domain.
        ("web.shop", "default", "shop/web"),
        ("web.shop.svc", "default", "shop/web"),
        ("web.shop.svc.cluster.local", "default", "shop/web"),
        ("web.shop.svc.cluster.local.", "default", "shop/web"),
        ("cart.shop.svc", "default", "no such name"),
        ("cart.shop.svc.cluster.local", "default", "no such name"),
        // Pods of headless services.
        ("db-0.db", "shop", "shop/db 127.42.0.10"),
        ("db-1.db.shop", "default", "shop/db 127.42.0.11"),
        ("db-1.db.shop.svc.cluster.local", "default", "shop/db 127.42.0.11"),
        ("db-2.db.shop.svc.cluster.local", "default", "no such name"),
        // The first search domain wins: here "web" is a host of the caller's service "shop".
        ("web.shop", "blog", "blog/shop 127.42.0.12"),
        // Addresses spelled as names.
        ("127-42-0-5.shop.pod", "default", "127.42.0.5"),
        ("127-42-0-5.shop.pod.cluster.local", "default", "127.42.0.5"),
        ("127-42-0-500.shop.pod.cluster.local", "default", "no such name"),
        // The world outside.
        ("example.com", "shop", "foreign"),
        ("web.shop.example.com", "shop", "foreign"),
        ("a.b.c.d.e.f.g.h", "shop", "foreign"),
        ("cart.shop", "shop", "foreign"),
        // Not names at all.
        ("", "shop", "foreign"),
        (".", "shop", "foreign"),
        ("web..shop", "shop", "foreign"),
        // Questions for other records than addresses.
        ("_http._tcp.web.shop.svc.cluster.local", "shop", "no such name"),
    ];
    for (name, namespace, expected) in table {
        assert_eq!(found(name, namespace), expected, "{name} from {namespace}");
    }
}
