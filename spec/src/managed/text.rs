//! Field sets as `FieldsV1` JSON: `{"f:spec":{"f:replicas":{},"f:selector":{}}}`.

use super::element::Element;
use super::set::{FieldSet, Node};
use crate::decode::cursor::{Cursor, Start};

/// The name by which a node says that it is a member itself.
const SELF: &str = ".";

impl FieldSet {
    /// Reads `FieldsV1`. `None` if it is none, or is not in the spelling that [`FieldSet::write`] writes and the
    /// caller did not make canonical.
    pub fn read(json: &str) -> Option<FieldSet> {
        let mut cursor = Cursor::new(json);
        let (_, set) = read_level(&mut cursor, 0)?;
        cursor.end().ok()?;
        Some(set)
    }

    /// The same set with every key and value in the one spelling in which sets are compared; `None` if one is no
    /// JSON.
    pub fn canonical(self) -> Option<FieldSet> {
        let mut nodes = Vec::with_capacity(self.nodes().len());
        for (element, node) in self.into_nodes() {
            let children = node.children.canonical()?;
            nodes.push((element.canonical()?, Node { member: node.member, children }));
        }
        Some(FieldSet::of(nodes))
    }

    /// Appends it as `FieldsV1`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_nodes(out);
        out.push(b'}');
    }

    fn write_nodes(&self, out: &mut Vec<u8>) {
        for (position, (element, node)) in self.nodes().iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            element.write_json(out);
            out.extend_from_slice(b":{");
            if node.member && !node.children.is_empty() {
                out.extend_from_slice(b"\".\":{},");
            }
            node.children.write_nodes(out);
            out.push(b'}');
        }
    }
}

/// Reads the object at the cursor: whether it names itself, and what it holds.
fn read_level(cursor: &mut Cursor<'_>, depth: usize) -> Option<(bool, FieldSet)> {
    if cursor.start().ok()? != Start::Object {
        return None;
    }
    let mut inside = cursor.enter(depth).ok()?;
    let (mut names_itself, mut nodes) = (false, Vec::new());
    while let Some(key) = cursor.key(&mut inside).ok()? {
        let name = key.unescape();
        let (member, children) = read_level(cursor, depth + 1)?;
        if name == SELF {
            names_itself = true;
            continue;
        }
        let member = member || children.is_empty();
        nodes.push((Element::read(&name)?, Node { member, children }));
    }
    Some((names_itself, FieldSet::of(nodes)))
}
