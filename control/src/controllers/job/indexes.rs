//! The numbers of an Indexed Job's pods: `0,2-5,9` in the status, an annotation and a label on each pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::controllers::facts;

/// Annotation and label of a pod: its number.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A pod's number.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    facts::annotation(&pod.metadata, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Reads ranges; what is malformed, or not below `count`, is left out.
pub(super) fn parse(text: &str, count: i32) -> BTreeSet<i32> {
    let ranges = text.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<i32>().ok()?.min(count - 1))
    });
    ranges.flatten().collect()
}

/// Writes ranges: of two neighbours both are named, of more the first and the last.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let parts = ranges.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_and_read_back() {
        for (indexes, text) in
            [(vec![], ""), (vec![3], "3"), (vec![0, 1], "0,1"), (vec![0, 1, 2, 4, 7, 8, 9, 10], "0-2,4,7-10")]
        {
            let set: BTreeSet<i32> = indexes.into_iter().collect();
            assert_eq!(format(&set), text);
            assert_eq!(parse(text, 11), set, "{text}");
        }
        assert_eq!(parse("0-4000000000,x,5-", 3), BTreeSet::from([]));
        assert_eq!(parse("1-900,x", 3), BTreeSet::from([1, 2]));
    }
}
