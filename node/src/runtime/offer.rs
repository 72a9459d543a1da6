//! The interfaces this node offers to components, and the entry points it runs.
//!
//! Kept beside the linker that implements them; a test compares the two.

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup;

use super::guest::{Guest, HasGuest};

/// The version of WASI that is offered. Components made for an older 0.2 run as well.
pub(super) const WASI_VERSION: &str = "0.2.12";

/// What a component may import, without versions.
pub(super) const INTERFACES: &[&str] = &[
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
];

/// The linker behind [`INTERFACES`].
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    environment::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    preopens::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    ip_name_lookup::add_to_linker::<Guest, HasGuest>(&mut linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(linker)
}

/// Whether an import of this name can be satisfied, and if not, what is nearest to it among what is offered.
pub(super) fn find(import: &str) -> Result<(), Option<String>> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let offered = INTERFACES.contains(&interface);
    if offered && compatible(version) {
        return Ok(());
    }
    // Another version of the same, or a like name in the same package (a slip, or an older name).
    let nearest = if offered { Some(interface) } else { like(interface) };
    Err(nearest.map(|interface| format!("{interface}@{WASI_VERSION}")))
}

/// Before 1.0 the second number makes the difference; pre-releases promise nothing.
fn compatible(version: &str) -> bool {
    version.strip_prefix("0.2.").is_some_and(|patch| patch.bytes().all(|byte| byte.is_ascii_digit()))
}

fn like(interface: &str) -> Option<&'static str> {
    let (package, name) = interface.split_once('/')?;
    let of_package =
        INTERFACES.iter().filter(|offered| offered.split_once('/').is_some_and(|(p, _)| p == package));
    of_package.copied().find(|offered| {
        let offered = &offered[package.len() + 1..];
        offered.contains(name) || name.contains(offered)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An item of each interface, in the order of [`INTERFACES`].
    const ITEMS: &[&str] = &[
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
    ];

    #[test]
    fn every_interface_named_is_in_the_linker() {
        let mut linker = linker(&Engine::default()).unwrap();
        let mut define = |interface: &str, item: &str| {
            let mut instance = linker.instance(&format!("{interface}@{WASI_VERSION}")).unwrap();
            instance.func_wrap(item, |_, (): ()| Ok(()))
        };
        assert_eq!(INTERFACES.len(), ITEMS.len());
        for (interface, item) in INTERFACES.iter().zip(ITEMS) {
            assert!(define(interface, item).is_err(), "{interface}.{item} was not defined");
        }
        assert!(define("wasi:nothing/here", "now").is_ok());
    }

    #[test]
    fn imports_are_found_by_name_and_compatible_version() {
        let near = |name: &str| Err(Some(name.to_owned()));
        let cases = [
            ("wasi:http/types@0.2.0", Ok(())),
            ("wasi:http/types@0.2.12", Ok(())),
            ("wasi:http/types@0.2.99", Ok(())),
            ("wasi:http/types@0.3.0", near("wasi:http/types@0.2.12")),
            ("wasi:http/types@0.2.0-rc-2023-12-05", near("wasi:http/types@0.2.12")),
            ("wasi:http/types", near("wasi:http/types@0.2.12")),
            ("wasi:http/handler@0.3.0", near("wasi:http/outgoing-handler@0.2.12")),
            ("wasi:keyvalue/store@0.2.0-draft", Err(None)),
            ("my-host-function", Err(None)),
        ];
        for (import, expected) in cases {
            assert_eq!(find(import), expected, "{import}");
        }
    }
}
