//! Which entry point a component has, and whether this node can run it.

use super::inspect::{Form, Import, Outline};
use super::offer;

/// The module that core modules of WASI preview 1 import.
const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What a container is, by what its component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `wasi:http/incoming-handler` or `wasi:http/handler`: answers requests.
    Http,
    /// `wasi:cli/run`: a process with arguments and an exit code.
    Command,
}

/// An import that this node does not offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingImport {
    /// As the component spells it; of a core module `module.name`.
    pub name: String,
    /// What comes nearest to it among what is offered.
    pub nearest: Option<String>,
}

impl std::fmt::Display for MissingImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "{} (offered: {nearest})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The version of WASI of an entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preview {
    /// 0.2
    P2,
    /// 0.3
    P3,
}

/// The entry point among these exports; with several, it serves rather than runs, and by the older version.
pub(super) fn of_exports<'a>(exports: impl Iterator<Item = &'a str>) -> Option<(World, Preview)> {
    let entry = |export: &str| {
        let (interface, version) = export.split_once('@')?;
        let preview = match version {
            _ if version.starts_with("0.2.") => Preview::P2,
            _ if version.starts_with("0.3.") && !version.contains('-') => Preview::P3,
            _ => return None,
        };
        match (interface, preview) {
            ("wasi:http/incoming-handler", Preview::P2) | ("wasi:http/handler", Preview::P3) => {
                Some((World::Http, preview))
            }
            ("wasi:cli/run", _) => Some((World::Command, preview)),
            _ => None,
        }
    };
    exports
        .filter_map(entry)
        .min_by_key(|(world, preview)| (*world == World::Command, *preview == Preview::P3))
}

/// The imports that nothing here satisfies, in the component's order.
pub(super) fn missing_imports(outline: &Outline) -> Vec<MissingImport> {
    outline.imports.iter().filter_map(|import| missing(outline.form, import)).collect()
}

fn missing(form: Form, import: &Import) -> Option<MissingImport> {
    match (form, &import.name) {
        (Form::CoreModule, Some(name)) => {
            // Modules that tools made for componentizing import by the names of component interfaces.
            let known = import.module == PREVIEW1
                || import.module.contains(':')
                || import.module.starts_with(['$', '[']);
            let nearest = import.module.starts_with("wasi_").then(|| PREVIEW1.to_owned());
            (!known).then(|| MissingImport { name: format!("{}.{name}", import.module), nearest })
        }
        _ => {
            let nearest = offer::find(&import.module).err()?;
            Some(MissingImport { name: import.module.clone(), nearest })
        }
    }
}

/// Names joined for a message, the first few and how many more.
pub(super) fn listed(names: impl ExactSizeIterator<Item = impl std::fmt::Display>) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let mut text = String::new();
    for (i, name) in names.take(SHOWN).enumerate() {
        text.push_str(if i == 0 { "" } else { ", " });
        text.push_str(&name.to_string());
    }
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_point_is_found_among_exports() {
        let http = |preview| Some((World::Http, preview));
        let command = |preview| Some((World::Command, preview));
        type Case<'a> = (&'a [&'a str], Option<(World, Preview)>);
        let cases: &[Case<'_>] = &[
            (&["wasi:http/incoming-handler@0.2.0"], http(Preview::P2)),
            (&["wasi:http/handler@0.3.0"], http(Preview::P3)),
            (&["wasi:cli/run@0.2.6"], command(Preview::P2)),
            (&["wasi:cli/run@0.3.0"], command(Preview::P3)),
            (&["wasi:cli/run@0.2.6", "wasi:http/incoming-handler@0.2.6"], http(Preview::P2)),
            (&["wasi:http/handler@0.3.0", "wasi:http/incoming-handler@0.2.6"], http(Preview::P2)),
            (&["wasi:cli/run@0.2.6", "wasi:http/handler@0.3.0"], http(Preview::P3)),
            (&["wasi:http/handler@0.3.0-rc-2025-09-16"], None),
            (&["wasi:http/handler@0.2.0"], None),
            (&["wasi:http/incoming-handler@0.3.0"], None),
            (&["run", "docs:adder/add@0.1.0"], None),
            (&[], None),
        ];
        for (exports, expected) in cases {
            assert_eq!(of_exports(exports.iter().copied()), *expected, "{exports:?}");
        }
    }

    #[test]
    fn missing_imports_are_named_with_what_is_offered() {
        let component = |names: &[&str]| Outline {
            form: Form::Component,
            imports: names.iter().map(|n| Import { module: (*n).into(), name: None }).collect(),
            exports: vec![],
        };
        let module = |names: &[(&str, &str)]| Outline {
            form: Form::CoreModule,
            imports: names
                .iter()
                .map(|(m, n)| Import { module: (*m).into(), name: Some((*n).into()) })
                .collect(),
            exports: vec![],
        };
        let cases = [
            (component(&["wasi:io/poll@0.2.3"]), ""),
            (
                component(&["wasi:http/types@0.1.0", "wasi:keyvalue/store@0.2.0-draft"]),
                "wasi:http/types@0.1.0 (offered: wasi:http/types@0.2.12), wasi:keyvalue/store@0.2.0-draft",
            ),
            (module(&[("wasi_snapshot_preview1", "fd_write"), ("wasi:io/poll@0.2.3", "poll")]), ""),
            (
                module(&[("wasi_unstable", "fd_write"), ("env", "emscripten_memcpy")]),
                "wasi_unstable.fd_write (offered: wasi_snapshot_preview1), env.emscripten_memcpy",
            ),
        ];
        for (outline, expected) in cases {
            assert_eq!(listed(missing_imports(&outline).iter()), expected);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(["a", "b"].iter()), "a, b");
        assert_eq!(listed((0..10).collect::<Vec<_>>().iter()), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
