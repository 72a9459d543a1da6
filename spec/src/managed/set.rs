//! Sets of fields of an object, as trees that mirror their JSON form (`FieldsV1`).
//!
//! A node may be a member itself (`"."`), hold members below, or both; a node that is neither does not occur. Nodes
//! are sorted, so that every operation on two sets is one walk along both.

use super::element::Element;
use super::walk::{Side, walk};

/// A set of field paths. The object itself is never a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element, each once.
    nodes: Vec<(Element, Node)>,
}

/// What a set holds at one path and below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The path itself is a member.
    pub member: bool,
    /// The members below it.
    pub children: FieldSet,
}

impl Node {
    /// The path and nothing below it.
    pub fn leaf() -> Node {
        Node { member: true, children: FieldSet::default() }
    }

    /// Whether there is nothing here.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl FieldSet {
    /// No fields.
    pub const fn empty() -> FieldSet {
        FieldSet { nodes: Vec::new() }
    }

    /// The set of these nodes, in any order, each element once.
    pub fn of(mut nodes: Vec<(Element, Node)>) -> FieldSet {
        nodes.retain(|(_, node)| !node.is_empty());
        if !nodes.is_sorted_by(|(a, _), (b, _)| a < b) {
            nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
            nodes.dedup_by(|(a, later), (b, node)| {
                let same = a == b;
                if same {
                    node.member |= later.member;
                    let children = std::mem::take(&mut node.children);
                    node.children = children.union(std::mem::take(&mut later.children));
                }
                same
            });
        }
        FieldSet { nodes }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes at this level, sorted.
    pub fn nodes(&self) -> &[(Element, Node)] {
        &self.nodes
    }

    /// The nodes at this level, sorted, by value.
    pub fn into_nodes(self) -> Vec<(Element, Node)> {
        self.nodes
    }

    /// What the set holds at `element` and below.
    pub fn get(&self, element: &Element) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|(own, _)| own.cmp(element));
        found.ok().map(|position| &self.nodes[position].1)
    }

    /// Drops what the set holds of the field `name` and below.
    pub fn remove_field(&mut self, name: &str) {
        self.nodes.retain(|(element, _)| !matches!(element, Element::Field(own) if **own == *name));
    }

    /// Drops all nodes but those that `keep` keeps as it leaves them.
    pub fn retain(&mut self, mut keep: impl FnMut(&Element, &mut Node)) {
        self.nodes.retain_mut(|(element, node)| {
            keep(element, node);
            !node.is_empty()
        });
    }

    /// The members of either.
    #[must_use]
    pub fn union(self, other: FieldSet) -> FieldSet {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let mut nodes = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        walk(
            self.nodes.into_iter(),
            other.nodes.into_iter(),
            |(a, _), (b, _)| a.cmp(b),
            |side| {
                nodes.push(match side {
                    Side::First(node) | Side::Second(node) => node,
                    Side::Both((element, a), (_, b)) => {
                        let member = a.member || b.member;
                        (element, Node { member, children: a.children.union(b.children) })
                    }
                });
            },
        );
        FieldSet { nodes }
    }

    /// The members that `other` has not. A member is taken out, not what is below it.
    #[must_use]
    pub fn difference(self, other: &FieldSet) -> FieldSet {
        if other.is_empty() {
            return self;
        }
        let mut others = other.nodes.iter().peekable();
        let nodes = self.nodes.into_iter().filter_map(|(element, node)| {
            while others.next_if(|(own, _)| *own < element).is_some() {}
            let Some((_, taken)) = others.next_if(|(own, _)| *own == element) else {
                return Some((element, node));
            };
            let member = node.member && !taken.member;
            let node = Node { member, children: node.children.difference(&taken.children) };
            (!node.is_empty()).then_some((element, node))
        });
        FieldSet { nodes: nodes.collect() }
    }

    /// The members that both have.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut nodes = Vec::new();
        walk(
            self.nodes.iter(),
            other.nodes.iter(),
            |(a, _), (b, _)| a.cmp(b),
            |side| {
                if let Side::Both((element, a), (_, b)) = side {
                    let children = a.children.intersection(&b.children);
                    let node = Node { member: a.member && b.member, children };
                    if !node.is_empty() {
                        nodes.push((element.clone(), node));
                    }
                }
            },
        );
        FieldSet { nodes }
    }

    /// Whether it has every member of `other`.
    pub fn contains(&self, other: &FieldSet) -> bool {
        other.nodes.iter().all(|(element, node)| {
            self.get(element)
                .is_some_and(|own| (own.member || !node.member) && own.children.contains(&node.children))
        })
    }

    /// Whether the two have a member in common.
    pub fn overlaps(&self, other: &FieldSet) -> bool {
        self.nodes.iter().any(|(element, node)| {
            other
                .get(element)
                .is_some_and(|own| (own.member && node.member) || node.children.overlaps(&own.children))
        })
    }

    /// The path of every member, as people read it: `.spec.containers[name="app"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        for (element, node) in &self.nodes {
            let length = prefix.len();
            element.write_path(prefix);
            if node.member {
                paths.push(prefix.clone());
            }
            node.children.collect_paths(prefix, paths);
            prefix.truncate(length);
        }
    }
}
