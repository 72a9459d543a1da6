//! Filling absent fields. As upstream, an empty text and a zero count as absent where they mean nothing.

/// Sets a text that is absent or empty.
pub(crate) fn text(slot: &mut Option<String>, value: &str) {
    if slot.as_deref().unwrap_or_default().is_empty() {
        *slot = Some(value.to_owned());
    }
}

/// Sets a number that is absent or zero.
pub(crate) fn nonzero(slot: &mut Option<i32>, value: i32) {
    if slot.unwrap_or(0) == 0 {
        *slot = Some(value);
    }
}
