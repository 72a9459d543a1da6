//! Core modules of WASI preview 1, made into components.
//!
//! The adapter that does it knows only success and failure when a program exits, so a module's `proc_exit` is first
//! led past it, to the function of the same shape that takes the code.

use std::convert::Infallible;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::inspect::Outline;
use super::offer::WASI_VERSION;

/// Wraps a core module: one with `_start` becomes a command, others export what their embedded world says.
/// The error names what the module lacks.
pub(super) fn adapt(module: &[u8], outline: &Outline) -> Result<Vec<u8>, String> {
    let adapter = if outline.exports.iter().any(|export| export == "_start") {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    };
    let exits = outline.imports.iter().any(|import| {
        import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME && import.name.as_deref() == Some(PROC_EXIT)
    });
    let exiting = if exits { Some(with_exit_codes(module)?) } else { None };
    ComponentEncoder::default()
        .validate(true)
        .module(exiting.as_deref().unwrap_or(module))
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}

const PROC_EXIT: &str = "proc_exit";
const EXIT_WITH_CODE: &str = "exit-with-code";

/// The module with `proc_exit` imported from the component interface, and a note of that interface's type.
fn with_exit_codes(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoded = wasm_encoder::Module::new();
    let interface = format!("wasi:cli/exit@{WASI_VERSION}");
    let mut redirect = Redirect { interface: &interface };
    utils::parse_core_module(&mut redirect, &mut encoded, wasmparser::Parser::new(0), module)
        .map_err(|error| error.to_string())?;
    let mut bytes = encoded.finish();

    let wit = format!(
        "package isopod:exit;
        world codes {{ import {interface}; }}
        package wasi:cli@{WASI_VERSION} {{
            @since(version = 0.2.0)
            interface exit {{
                @since(version = 0.2.0)
                exit: func(status: result);
                @since(version = 0.2.12)
                {EXIT_WITH_CODE}: func(status-code: u8);
            }}
        }}"
    );
    let mut resolve = Resolve::default();
    resolve
        .push_str("exit.wit", &wit)
        .and_then(|package| resolve.select_world(&[package], None))
        .and_then(|world| embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8))
        .map_err(|error| format!("{error:#}"))?;
    Ok(bytes)
}

/// Copies a module, but for the one import.
struct Redirect<'a> {
    interface: &'a str,
}

impl Reencode for Redirect<'_> {
    type Error = Infallible;

    fn parse_imports(
        &mut self,
        section: &mut wasm_encoder::ImportSection,
        imports: wasmparser::Imports<'_>,
    ) -> Result<(), Error<Infallible>> {
        for import in imports {
            let (_, mut import) = import?;
            if import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME && import.name == PROC_EXIT {
                import.module = self.interface;
                import.name = EXIT_WITH_CODE;
            }
            let ty = self.entity_type(import.ty)?;
            section.import(import.module, import.name, ty);
        }
        Ok(())
    }
}
