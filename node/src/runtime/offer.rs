//! The interfaces this node offers to components, and the entry points it runs.
//!
//! Kept beside the linker that implements them; a test compares the two.

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup;
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi_config::WasiConfig;

use super::guest::{Guest, HasGuest};

/// The version of WASI 0.2 that is offered.
pub(super) const WASI_VERSION: &str = "0.2.12";

/// Interfaces of one version. Components made for an older patch of it run as well.
pub(super) struct Offer {
    pub(super) version: &'static str,
    /// Without versions.
    pub(super) interfaces: &'static [&'static str],
}

/// What a component may import.
pub(super) const OFFERS: &[Offer] = &[
    Offer {
        version: WASI_VERSION,
        interfaces: &[
            "wasi:cli/environment",
            "wasi:cli/exit",
            "wasi:cli/stderr",
            "wasi:cli/stdin",
            "wasi:cli/stdout",
            "wasi:cli/terminal-input",
            "wasi:cli/terminal-output",
            "wasi:cli/terminal-stderr",
            "wasi:cli/terminal-stdin",
            "wasi:cli/terminal-stdout",
            "wasi:clocks/monotonic-clock",
            "wasi:clocks/wall-clock",
            "wasi:filesystem/preopens",
            "wasi:filesystem/types",
            "wasi:http/outgoing-handler",
            "wasi:http/types",
            "wasi:io/error",
            "wasi:io/poll",
            "wasi:io/streams",
            "wasi:random/insecure",
            "wasi:random/insecure-seed",
            "wasi:random/random",
            "wasi:sockets/instance-network",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/network",
            "wasi:sockets/tcp",
            "wasi:sockets/tcp-create-socket",
            "wasi:sockets/udp",
            "wasi:sockets/udp-create-socket",
        ],
    },
    Offer {
        version: "0.3.0",
        interfaces: &[
            "wasi:cli/environment",
            "wasi:cli/exit",
            "wasi:cli/stderr",
            "wasi:cli/stdin",
            "wasi:cli/stdout",
            "wasi:cli/terminal-input",
            "wasi:cli/terminal-output",
            "wasi:cli/terminal-stderr",
            "wasi:cli/terminal-stdin",
            "wasi:cli/terminal-stdout",
            "wasi:cli/types",
            "wasi:clocks/monotonic-clock",
            "wasi:clocks/system-clock",
            "wasi:clocks/types",
            "wasi:filesystem/preopens",
            "wasi:filesystem/types",
            "wasi:http/client",
            "wasi:http/types",
            "wasi:random/insecure",
            "wasi:random/insecure-seed",
            "wasi:random/random",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/types",
        ],
    },
    Offer { version: "0.2.0-rc.1", interfaces: &["wasi:config/store"] },
];

/// The linker behind [`OFFERS`].
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |guest: &mut Guest| {
        WasiConfig::new(&guest.grants.config)
    })?;
    linker.allow_shadowing(true);
    environment::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    preopens::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    ip_name_lookup::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    p3::cli::environment::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    p3::filesystem::preopens::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    p3::sockets::ip_name_lookup::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// Whether an import of this name can be satisfied, and if not, what is nearest to it among what is offered.
pub(super) fn find(import: &str) -> Result<(), Option<String>> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let named = |offer: &&Offer| offer.interfaces.contains(&interface);
    if OFFERS.iter().filter(named).any(|offer| compatible(version, offer.version)) {
        return Ok(());
    }
    // Another version of the same, or a like name in the same package (a slip, or an older name).
    let close = |offer: &&Offer| line(offer.version) == line(version);
    let same = OFFERS.iter().filter(named).find(close).or_else(|| OFFERS.iter().find(named));
    let nearest = same.map(|offer| (interface, offer.version)).or_else(|| {
        OFFERS
            .iter()
            .filter(close)
            .chain(OFFERS)
            .find_map(|offer| Some((like(offer, interface)?, offer.version)))
    });
    Err(nearest.map(|(interface, version)| format!("{interface}@{version}")))
}

/// Before 1.0 the second number makes the difference; pre-releases promise nothing.
fn compatible(wanted: &str, offered: &str) -> bool {
    let is_release = |version: &str| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    wanted == offered
        || (is_release(wanted)
            && is_release(offered)
            && line(wanted) == line(offered)
            && wanted.matches('.').count() == 2)
}

/// The first two numbers of a version.
fn line(version: &str) -> &str {
    match version.match_indices('.').nth(1) {
        Some((end, _)) => &version[..end],
        None => version,
    }
}

fn like(offer: &Offer, interface: &str) -> Option<&'static str> {
    let (package, name) = interface.split_once('/')?;
    let mut names = offer.interfaces.iter().filter_map(|offered| Some((*offered, offered.split_once('/')?)));
    let found =
        names.find(|(_, (p, offered))| *p == package && (offered.contains(name) || name.contains(offered)));
    found.map(|(interface, _)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An item of each interface that has more than types, in the order of [`OFFERS`].
    const ITEMS: &[&[&str]] = &[
        &[
            "get-environment",
            "exit",
            "get-stderr",
            "get-stdin",
            "get-stdout",
            "terminal-input",
            "terminal-output",
            "get-terminal-stderr",
            "get-terminal-stdin",
            "get-terminal-stdout",
            "now",
            "now",
            "get-directories",
            "descriptor",
            "handle",
            "fields",
            "error",
            "poll",
            "input-stream",
            "get-insecure-random-bytes",
            "insecure-seed",
            "get-random-bytes",
            "instance-network",
            "resolve-addresses",
            "network",
            "tcp-socket",
            "create-tcp-socket",
            "udp-socket",
            "create-udp-socket",
        ],
        &[
            "get-environment",
            "exit",
            "write-via-stream",
            "read-via-stream",
            "write-via-stream",
            "terminal-input",
            "terminal-output",
            "get-terminal-stderr",
            "get-terminal-stdin",
            "get-terminal-stdout",
            "",
            "now",
            "now",
            "",
            "get-directories",
            "descriptor",
            "send",
            "fields",
            "get-insecure-random-bytes",
            "get-insecure-seed",
            "get-random-bytes",
            "resolve-addresses",
            "tcp-socket",
        ],
        &["get"],
    ];

    #[test]
    fn every_interface_named_is_in_the_linker() {
        let mut linker = linker(&Engine::default()).unwrap();
        let mut define = |interface: &str, version: &str, item: &str| {
            let mut instance = linker.instance(&format!("{interface}@{version}")).unwrap();
            instance.func_wrap(item, |_, (): ()| Ok(()))
        };
        for (offer, items) in OFFERS.iter().zip(ITEMS) {
            assert_eq!(offer.interfaces.len(), items.len());
            for (interface, item) in offer.interfaces.iter().zip(*items).filter(|(_, item)| !item.is_empty())
            {
                let defined = define(interface, offer.version, item);
                assert!(defined.is_err(), "{interface}@{}.{item} was not defined", offer.version);
            }
        }
        assert!(define("wasi:nothing/here", "0.2.0", "now").is_ok());
    }

    #[test]
    fn imports_are_found_by_name_and_compatible_version() {
        let near = |name: &str| Err(Some(name.to_owned()));
        let cases = [
            ("wasi:http/types@0.2.0", Ok(())),
            ("wasi:http/types@0.2.12", Ok(())),
            ("wasi:http/types@0.2.99", Ok(())),
            ("wasi:http/types@0.3.0", Ok(())),
            ("wasi:http/types@0.3.1", Ok(())),
            ("wasi:http/types@0.4.0", near("wasi:http/types@0.2.12")),
            ("wasi:http/types@0.3.0-rc-2025-09-16", near("wasi:http/types@0.3.0")),
            ("wasi:http/types@0.2.0-rc-2023-12-05", near("wasi:http/types@0.2.12")),
            ("wasi:http/types", near("wasi:http/types@0.2.12")),
            ("wasi:http/handler@0.3.0", near("wasi:http/outgoing-handler@0.2.12")),
            ("wasi:clocks/wall-clock@0.3.0", near("wasi:clocks/wall-clock@0.2.12")),
            ("wasi:config/store@0.2.0-rc.1", Ok(())),
            ("wasi:config/runtime@0.2.0-draft", Err(None)),
            ("wasi:config/store@0.2.0-draft", near("wasi:config/store@0.2.0-rc.1")),
            ("wasi:keyvalue/store@0.2.0-draft", Err(None)),
            ("my-host-function", Err(None)),
        ];
        for (import, expected) in cases {
            assert_eq!(find(import), expected, "{import}");
        }
    }
}
