//! JSON text one level at a time: the members of an object or the items of a list, each as the text it is.
//!
//! Comparing two objects needs no tree of either: what is the same text is the same value, and only what differs is
//! looked into. The text is JSON that this program wrote or has checked.

use std::borrow::Cow;

use crate::decode::cursor::{Cursor, Start};

/// One member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Member<'j> {
    /// Its name.
    pub(crate) name: Cow<'j, str>,
    /// Its value's text.
    pub(crate) value: &'j str,
}

/// The members of the object that `text` is; none when it is something else.
pub(crate) fn members(text: &str) -> Vec<Member<'_>> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(text);
    if cursor.start() != Ok(Start::Object) {
        return found;
    }
    let Ok(mut inside) = cursor.enter(0) else { return found };
    while let Ok(Some(key)) = cursor.key(&mut inside) {
        let begin = cursor.clone();
        if cursor.skip(0).is_err() {
            break;
        }
        found.push(Member { name: key.unescape(), value: cursor.since(&begin) });
    }
    found
}

/// The same, sorted by name. Of members of one name the last counts.
pub(crate) fn sorted_members(text: &str) -> Vec<Member<'_>> {
    let mut found = members(text);
    if !found.is_sorted_by(|a, b| a.name < b.name) {
        found.reverse();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|later, first| later.name == first.name);
    }
    found
}

/// The items of the list that `text` is; none when it is something else.
pub(crate) fn items(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(text);
    if cursor.start() != Ok(Start::Array) {
        return found;
    }
    let Ok(mut inside) = cursor.enter(0) else { return found };
    while let Ok(true) = cursor.item(&mut inside) {
        let begin = cursor.clone();
        if cursor.skip(0).is_err() {
            break;
        }
        found.push(cursor.since(&begin));
    }
    found
}

/// The value of the member `name`, if `text` is an object that has it. A later one wins over an earlier.
pub(crate) fn member<'j>(text: &'j str, name: &str) -> Option<&'j str> {
    members(text).into_iter().rfind(|member| member.name == name).map(|member| member.value)
}

/// What kind of value `text` is.
pub(crate) fn start(text: &str) -> Start {
    Cursor::new(text).start().unwrap_or(Start::Null)
}

/// Whether `text` is `null`, or an object or list with nothing in it.
pub(crate) fn is_void(text: &str) -> bool {
    match start(text) {
        Start::Null => true,
        Start::Object | Start::Array => text[1..text.len() - 1].trim_ascii().is_empty(),
        _ => false,
    }
}

/// Whether two texts are the same value.
pub(crate) fn same(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    // Numbers, strings without escapes and literals have one spelling in what this program writes.
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let is_plain = |text: &str| matches!(start(text), Start::Bool | Start::Null);
    !(is_plain(a) || is_plain(b)) && read(a).is_some_and(|value| Some(value) == read(b))
}
