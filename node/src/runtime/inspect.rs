//! What a WebAssembly binary is, told from its outline, before anything is compiled: component or core module, its
//! imports and exports, and whether it keeps within the limits of compilation.

use wasmparser::{ComponentTypeRef, Parser, Payload, TypeBounds};

/// One function's body at most. Register allocation takes more than linear time and memory; the largest functions
/// of interpreters compiled to WebAssembly have a few hundred kilobytes.
const FUNCTION_BYTES: usize = 2 << 20;
/// Functions of all modules of a component at most; a Python interpreter has about 20,000.
const FUNCTIONS: usize = 250_000;
/// Modules and components inside each other at most.
const DEPTH: usize = 32;

/// The outline of a binary.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Component or core module.
    pub form: Form,
    /// Imports of the outermost level. Of a core module: `module.name`.
    pub imports: Vec<Import>,
    /// Names of the exports of the outermost level.
    pub exports: Vec<String>,
}

/// The two binary forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A component.
    #[default]
    Component,
    /// A core module.
    CoreModule,
}

/// One import. Components import by one name, core modules by two.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// The name, or of a core module's import the module.
    pub module: String,
    /// The second name of a core module's import.
    pub name: Option<String>,
}

/// Why a binary has no outline.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InspectError {
    /// It does not begin as one.
    #[error("not a WebAssembly binary")]
    NotWasm,
    /// It begins as one, and breaks off or goes wrong.
    #[error("corrupt WebAssembly binary: {0}")]
    Corrupt(String),
    /// Compiling it could take too much.
    #[error("{what} {found}; the limit is {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
}

/// Reads the outline. Linear in the size of the binary; nothing is validated that is not needed here.
pub fn inspect(bytes: &[u8]) -> Result<Outline, InspectError> {
    let form = if Parser::is_component(bytes) {
        Form::Component
    } else if Parser::is_core_wasm(bytes) {
        Form::CoreModule
    } else {
        return Err(InspectError::NotWasm);
    };
    let mut outline = Outline { form, ..Outline::default() };
    let mut depth = 0;
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| corrupt(&error))?;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                within("components are nested to a depth of", depth, DEPTH)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions += *count as usize;
                within("number of functions is", functions, FUNCTIONS)?;
            }
            Payload::CodeSectionEntry(body) => {
                within("bytes of one function are", body.range().len(), FUNCTION_BYTES)?;
            }
            _ if depth == 0 => outline.read(payload).map_err(|error| corrupt(&error))?,
            _ => {}
        }
    }
    Ok(outline)
}

impl Outline {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), wasmparser::BinaryReaderError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    // A type that only equals another needs nothing from us.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        self.imports.push(Import { module: import.name.name.to_owned(), name: None });
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    let name = Some(import.name.to_owned());
                    self.imports.push(Import { module: import.module.to_owned(), name });
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn corrupt(error: &wasmparser::BinaryReaderError) -> InspectError {
    InspectError::Corrupt(error.to_string())
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), InspectError> {
    if found > limit { Err(InspectError::Limit { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = include_bytes!("../../../samples/hello/hello.wasm");

    #[test]
    fn outline_of_a_component_is_its_outermost_level() {
        let outline = inspect(HELLO).unwrap();
        assert_eq!(outline.form, Form::Component);
        assert_eq!(outline.exports, ["wasi:http/incoming-handler@0.2.12"]);
        assert!(outline.imports.iter().any(|import| import.module == "wasi:http/types@0.2.12"));
        assert!(outline.imports.iter().all(|import| import.name.is_none()));
    }

    #[test]
    fn outline_of_a_core_module_has_both_names_of_imports() {
        // (module (import "env" "f" (func)) (func) (export "_start" (func 1)))
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01f\0\0\x03\x02\x01\0\
                       \x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b";
        let outline = inspect(module).unwrap();
        assert_eq!(outline.form, Form::CoreModule);
        assert_eq!(outline.exports, ["_start"]);
        assert_eq!(outline.imports, [Import { module: "env".into(), name: Some("f".into()) }]);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        assert_eq!(inspect(b""), Err(InspectError::NotWasm));
        assert_eq!(inspect(b"#!/bin/sh\n"), Err(InspectError::NotWasm));
        assert_eq!(inspect(b"\0asm"), Err(InspectError::NotWasm));
        for cut in [9, 100, HELLO.len() / 2, HELLO.len() - 1] {
            let result = inspect(&HELLO[..cut]);
            assert!(matches!(result, Err(InspectError::Corrupt(_))), "cut at {cut}: {result:?}");
        }
    }
}
