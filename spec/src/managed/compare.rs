//! Which fields differ between two states of an object, and which fields an applied configuration names.
//!
//! The rules are those of structured-merge-diff: a field that was absent is added with all it holds; an object or
//! list that was there is compared part by part; what is owned as one piece is compared as one.

use std::collections::HashSet;

use super::element::Element;
use super::level::{Member, is_void, same, sorted_members, start};
use super::set::{FieldSet, Node};
use super::shape::{Item, ItemError, Shape};
use super::walk::{Side, walk};
use crate::decode::cursor::Start;

/// What one write changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Fields that are new or have another value.
    pub(crate) written: FieldSet,
    /// Fields that are gone.
    pub(crate) removed: FieldSet,
}

impl Changes {
    /// Whether nothing differs.
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }
}

/// The difference at one path.
#[derive(Default)]
struct Difference {
    written: Node,
    removed: Node,
}

/// The nodes of a level, gathered in any order.
#[derive(Default)]
struct Level {
    written: Vec<(Element, Node)>,
    removed: Vec<(Element, Node)>,
}

impl Level {
    fn push(&mut self, element: Element, difference: Difference) {
        if !difference.written.is_empty() {
            self.written.push((element.clone(), difference.written));
        }
        if !difference.removed.is_empty() {
            self.removed.push((element, difference.removed));
        }
    }

    fn end(self) -> Difference {
        let below = |nodes| Node { member: false, children: FieldSet::of(nodes) };
        Difference { written: below(self.written), removed: below(self.removed) }
    }
}

/// Every field of an object, as the one who made it owns them.
pub(crate) fn whole_object(text: &str, shape: Shape<'_>) -> FieldSet {
    whole(text, shape).children
}

/// What differs between two states of an object.
pub(crate) fn compare(old: &str, new: &str, shape: Shape<'_>) -> Changes {
    let Difference { written, removed } = step(old, new, shape);
    Changes { written: written.children, removed: removed.children }
}

/// A value that is not in the other state: it and everything in it.
fn whole(text: &str, shape: Shape<'_>) -> Node {
    if is_void(text) {
        return Node::leaf();
    }
    if shape.has_members(text) {
        let nodes = sorted_members(text).into_iter().map(|member| {
            let (shape, _) = shape.member(&member.name);
            (Element::Field((&*member.name).into()), whole(member.value, shape))
        });
        return Node { member: true, children: FieldSet::of(nodes.collect()) };
    }
    match shape.has_items().then(|| shape.items(text)) {
        Some(Ok(mut items)) => Node { member: true, children: whole_items(&mut items, shape.item()) },
        _ => Node::leaf(),
    }
}

fn whole_items(items: &mut [Item<'_>], shape: Shape<'_>) -> FieldSet {
    let nodes = same_items(items).map(|items| (items[0].element.clone(), whole_item(items, shape)));
    FieldSet::of(nodes.collect())
}

/// Of items that cannot be told apart nobody owns a part.
fn whole_item(items: &[Item<'_>], shape: Shape<'_>) -> Node {
    match items {
        [item] => whole(item.value, shape),
        _ => Node::leaf(),
    }
}

/// The items sorted by what tells them apart; those that nothing does come together.
fn same_items<'a, 'j>(items: &'a mut [Item<'j>]) -> impl Iterator<Item = &'a [Item<'j>]> {
    items.sort_by(|a, b| a.element.cmp(&b.element));
    items.chunk_by(|a, b| a.element == b.element)
}

fn step(old: &str, new: &str, shape: Shape<'_>) -> Difference {
    if old == new {
        return Difference::default();
    }
    if is_void(old) && is_void(new) {
        return piece(old, new);
    }
    let divided = |text: &str| shape.has_members(text) || is_void(text);
    if divided(old) && divided(new) {
        return step_members(sorted_members(old), sorted_members(new), shape);
    }
    if shape.has_items()
        && let (Ok(old), Ok(new)) = (shape.items(old), shape.items(new))
    {
        return step_items(old, new, shape);
    }
    piece(old, new)
}

/// A value that is owned as one.
fn piece(old: &str, new: &str) -> Difference {
    let written = if same(old, new) { Node::default() } else { Node::leaf() };
    Difference { written, removed: Node::default() }
}

fn step_members<'j>(old: Vec<Member<'j>>, new: Vec<Member<'j>>, shape: Shape<'_>) -> Difference {
    let mut level = Level::default();
    walk(
        old.into_iter(),
        new.into_iter(),
        |a, b| a.name.cmp(&b.name),
        |side| {
            let name = match &side {
                Side::First(member) | Side::Second(member) | Side::Both(member, _) => &*member.name,
            };
            let (below, _) = shape.member(name);
            let element = Element::Field(name.into());
            let difference = match side {
                Side::First(old) => Difference { removed: whole(old.value, below), ..Difference::default() },
                Side::Second(new) => Difference { written: whole(new.value, below), ..Difference::default() },
                Side::Both(old, new) => step(old.value, new.value, below),
            };
            level.push(element, difference);
        },
    );
    level.end()
}

fn step_items<'j>(mut old: Vec<Item<'j>>, mut new: Vec<Item<'j>>, shape: Shape<'_>) -> Difference {
    let (mut level, below) = (Level::default(), shape.item());
    let (old, new) = (same_items(&mut old), same_items(&mut new));
    walk(
        old,
        new,
        |a, b| a[0].element.cmp(&b[0].element),
        |side| {
            let (element, difference) = match side {
                Side::First(old) => {
                    let removed = whole_item(old, below);
                    (&old[0].element, Difference { removed, ..Difference::default() })
                }
                Side::Second(new) => {
                    let written = whole_item(new, below);
                    (&new[0].element, Difference { written, ..Difference::default() })
                }
                Side::Both(old, new) => (&new[0].element, step_item(old, new, below)),
            };
            level.push(element.clone(), difference);
        },
    );
    level.end()
}

fn step_item(old: &[Item<'_>], new: &[Item<'_>], shape: Shape<'_>) -> Difference {
    match (old, new) {
        ([old], [new]) => step(old.value, new.value, shape),
        ([old], _) => Difference { written: Node::leaf(), removed: whole(old.value, shape) },
        (_, [new]) => Difference { written: whole(new.value, shape), ..Difference::default() },
        (old, new) => {
            let equal = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a.value, b.value));
            let written = if equal { Node::default() } else { Node::leaf() };
            Difference { written, ..Difference::default() }
        }
    }
}

/// A configuration that cannot be applied, and the path at which it is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A list whose items cannot be told apart.
    #[error("{path}: {source}")]
    Item {
        /// The list.
        path: String,
        /// What is wrong with it.
        source: ItemError,
    },
    /// Two items that are the same one.
    #[error("{path}: duplicate entries for key {key}")]
    Duplicate {
        /// The list.
        path: String,
        /// The item.
        key: String,
    },
}

/// The fields that an applied configuration names.
///
/// # Errors
/// A list has items that cannot be told apart.
pub(crate) fn named_fields(config: &str, shape: Shape<'_>) -> Result<FieldSet, ConfigError> {
    named(config, shape, &mut String::new()).map(|node| node.children)
}

/// Other than in [`whole`], a field with members or items below it is not named itself: it is there because they are.
fn named(text: &str, shape: Shape<'_>, path: &mut String) -> Result<Node, ConfigError> {
    let below = match (shape.has_members(text), shape.has_items(), start(text)) {
        (_, _, Start::Null) | (false, false, _) => return Ok(Node::leaf()),
        (true, ..) => named_members(text, shape, path)?,
        (false, true, _) => named_items(text, shape, path)?,
    };
    Ok(Node { member: false, children: FieldSet::of(below) })
}

fn named_members(
    text: &str,
    shape: Shape<'_>,
    path: &mut String,
) -> Result<Vec<(Element, Node)>, ConfigError> {
    let mut nodes = Vec::new();
    for member in sorted_members(text) {
        let (below, is_field) = shape.member(&member.name);
        let element = Element::Field((&*member.name).into());
        let length = path.len();
        element.write_path(path);
        let mut node = named(member.value, below, path)?;
        path.truncate(length);
        node.member |= !is_field || is_void(member.value) && !member.value.starts_with('[');
        nodes.push((element, node));
    }
    Ok(nodes)
}

fn named_items(text: &str, shape: Shape<'_>, path: &mut String) -> Result<Vec<(Element, Node)>, ConfigError> {
    let items = shape.items(text).map_err(|source| ConfigError::Item { path: path.clone(), source })?;
    let (mut nodes, mut met) = (Vec::new(), HashSet::new());
    for item in &items {
        if !met.insert(&item.element) {
            let mut key = String::new();
            item.element.write_path(&mut key);
            return Err(ConfigError::Duplicate { path: path.clone(), key });
        }
        let length = path.len();
        item.element.write_path(path);
        let node = named(item.value, shape.item(), path)?;
        path.truncate(length);
        nodes.push((item.element.clone(), Node { member: true, ..node }));
    }
    Ok(nodes)
}
