//! Going along two sorted sequences at once.

use std::cmp::Ordering;

/// What a step of the walk has met.
pub(super) enum Side<T> {
    /// Something that only the first sequence has.
    First(T),
    /// Something that only the second has.
    Second(T),
    /// Two that are equal in order.
    Both(T, T),
}

/// Hands out what two sequences have, both sorted by `order`, each without repeats.
pub(super) fn walk<T>(
    first: impl Iterator<Item = T>,
    second: impl Iterator<Item = T>,
    order: impl Fn(&T, &T) -> Ordering,
    mut step: impl FnMut(Side<T>),
) {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    loop {
        let next = match (first.peek(), second.peek()) {
            (Some(a), Some(b)) => order(a, b),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let a = if next.is_le() { first.next() } else { None };
        let b = if next.is_ge() { second.next() } else { None };
        match (a, b) {
            (Some(a), Some(b)) => step(Side::Both(a, b)),
            (Some(a), None) => step(Side::First(a)),
            (None, Some(b)) => step(Side::Second(b)),
            (None, None) => return,
        }
    }
}
