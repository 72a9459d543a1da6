//! Merging a configuration into an object, and taking fields out of one. Text in, text out: what is not touched is
//! copied as it is.

use std::collections::{HashMap, HashSet};

use crate::managed::level::{is_void, member, members};
use crate::managed::shape::{Item, ItemError, Shape};
use crate::managed::{Element, FieldSet, Node};

/// Appends `live` with everything that `config` says.
///
/// # Errors
/// A list has items that cannot be told apart.
pub(super) fn merge(live: &str, config: &str, shape: Shape<'_>, out: &mut String) -> Result<(), ItemError> {
    let is_empty = is_void(live) && is_void(config);
    if is_empty || live == config {
        out.push_str(config);
    } else if shape.has_members(live) && (shape.has_members(config) || is_void(config)) {
        merge_members(live, config, shape, out)?;
    } else if shape.has_items() {
        merge_items(&shape.items(live)?, &shape.items(config)?, shape.item(), out)?;
    } else {
        out.push_str(config);
    }
    Ok(())
}

fn merge_members(live: &str, config: &str, shape: Shape<'_>, out: &mut String) -> Result<(), ItemError> {
    let (live, config) = (members(live), members(config));
    let wanted: HashMap<&str, &str> = config.iter().map(|member| (&*member.name, member.value)).collect();
    let mut list = List::begin('{', out);
    for member in &live {
        list.next_member(&member.name, out);
        match wanted.get(&*member.name) {
            Some(value) => merge(member.value, value, shape.member(&member.name).0, out)?,
            None => out.push_str(member.value),
        }
    }
    let known: HashSet<&str> = live.iter().map(|member| &*member.name).collect();
    for member in config.iter().filter(|member| !known.contains(&*member.name)) {
        list.next_member(&member.name, out);
        out.push_str(member.value);
    }
    out.push('}');
    Ok(())
}

/// Items that both have stand in the configuration's order, the others where they stood among them.
fn merge_items(
    live: &[Item<'_>],
    config: &[Item<'_>],
    shape: Shape<'_>,
    out: &mut String,
) -> Result<(), ItemError> {
    let wanted: HashMap<&Element, usize> =
        config.iter().enumerate().map(|(position, item)| (&item.element, position)).collect();
    let stored: HashMap<&Element, &str> = live.iter().map(|item| (&item.element, item.value)).collect();
    let (mut list, mut next) = (List::begin('[', out), 0);
    let put = |items: &[Item<'_>], list: &mut List, out: &mut String| {
        items.iter().try_for_each(|item| {
            list.next(out);
            match stored.get(&item.element) {
                Some(stored) => merge(stored, item.value, shape, out)?,
                None => out.push_str(item.value),
            }
            Ok(())
        })
    };
    for item in live {
        match wanted.get(&item.element) {
            None => {
                list.next(out);
                out.push_str(item.value);
            }
            // The items up to this one come in their new order.
            Some(position) if *position >= next => {
                put(&config[next..=*position], &mut list, out)?;
                next = position + 1;
            }
            Some(_) => {}
        }
    }
    put(&config[next..], &mut list, out)?;
    out.push(']');
    Ok(())
}

/// Appends `text` without the fields in `gone`.
pub(super) fn without(text: &str, gone: &FieldSet, shape: Shape<'_>, out: &mut String) {
    if gone.is_empty() || is_void(text) {
        out.push_str(text);
    } else if shape.has_members(text) {
        let mut list = List::begin('{', out);
        for member in members(text) {
            let element = Element::Field((&*member.name).into());
            let Some(below) = left(gone.get(&element)) else { continue };
            list.next_member(&member.name, out);
            without(member.value, below, shape.member(&member.name).0, out);
        }
        out.push('}');
    } else if let Some(Ok(items)) = shape.has_items().then(|| shape.items(text)) {
        let mut list = List::begin('[', out);
        for item in items {
            let Some(below) = left(gone.get(&item.element)) else { continue };
            list.next(out);
            without(item.value, below, shape.item(), out);
        }
        out.push(']');
    } else {
        out.push_str(text);
    }
}

/// What is gone below a path; `None` when the path itself is.
fn left(node: Option<&Node>) -> Option<&FieldSet> {
    static NOTHING: FieldSet = FieldSet::empty();
    match node {
        None => Some(&NOTHING),
        Some(node) if node.member => None,
        Some(node) => Some(&node.children),
    }
}

/// The commas of a list or object.
struct List {
    is_first: bool,
}

impl List {
    fn begin(bracket: char, out: &mut String) -> List {
        out.push(bracket);
        List { is_first: true }
    }

    fn next(&mut self, out: &mut String) {
        if !std::mem::take(&mut self.is_first) {
            out.push(',');
        }
    }

    fn next_member(&mut self, name: &str, out: &mut String) {
        self.next(out);
        out.push_str(&serde_json::Value::from(name).to_string());
        out.push(':');
    }
}

/// The object's annotation of this name, as a string.
pub(super) fn annotation(object: &str, name: &str) -> Option<String> {
    let value = member(member(member(object, "metadata")?, "annotations")?, name)?;
    serde_json::from_str(value).ok()
}
