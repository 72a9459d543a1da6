//! Who watches what: one topic per distinct range, found from a key without walking the other topics.
//!
//! Nearly all ranges are prefixes or single keys. Those are found by hash: one lookup per *distinct prefix
//! length* in use, whatever the number of topics. Other ranges are few and tried one by one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::state::{KeyRange, Revision, successor};

/// Revisions listed per topic. A watcher that lags further behind walks the shared history instead.
const LISTED_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicId(usize);

/// All topics that have a watcher.
#[derive(Default)]
pub(crate) struct Topics {
    slots: Vec<Option<Topic>>,
    free: Vec<TopicId>,
    by_key: HashMap<Bytes, TopicId>,
    by_prefix: HashMap<Bytes, TopicId>,
    /// Length of a prefix in `by_prefix` → how many have it.
    prefix_lengths: BTreeMap<usize, usize>,
    others: Vec<(KeyRange, TopicId)>,
}

struct Topic {
    watchers: usize,
    changed: Arc<Notify>,
    /// All revisions after `complete_from` that touched the range, in order.
    revisions: VecDeque<Revision>,
    complete_from: Revision,
}

/// The topics that one publication touches, each once.
pub(crate) struct Touched {
    before: Revision,
    pub(crate) topics: Vec<Arc<Notify>>,
}

impl Touched {
    /// For a publication of revisions after `before`.
    pub(crate) fn after(before: Revision) -> Self {
        Self { before, topics: Vec::new() }
    }

    /// To be called before the change is listed in the topic.
    fn add(&mut self, topic: &Topic) {
        if topic.revisions.back().is_none_or(|last| *last <= self.before) {
            self.topics.push(topic.changed.clone());
        }
    }
}

enum Shape {
    Key,
    Prefix,
    Other,
}

impl Shape {
    fn of(range: &KeyRange) -> Self {
        match &range.end {
            Some(end)
                if end.len() == range.start.len() + 1
                    && end.ends_with(&[0])
                    && end.starts_with(&range.start) =>
            {
                Self::Key
            }
            end if *end == successor(&range.start) => Self::Prefix,
            _ => Self::Other,
        }
    }
}

impl Topics {
    /// Adds a watcher of `range`; a new topic is complete from `latest` on.
    pub(crate) fn join(&mut self, range: &KeyRange, latest: Revision) -> (TopicId, Arc<Notify>) {
        let id = self.find(range).unwrap_or_else(|| self.create(range, latest));
        let topic = self.topic_mut(id);
        topic.watchers += 1;
        (id, topic.changed.clone())
    }

    /// Takes a watcher of `range` away, and the topic with the last one.
    pub(crate) fn leave(&mut self, id: TopicId, range: &KeyRange) {
        let topic = self.topic_mut(id);
        topic.watchers -= 1;
        if topic.watchers > 0 {
            return;
        }
        self.slots[id.0] = None;
        self.free.push(id);
        match Shape::of(range) {
            Shape::Key => drop(self.by_key.remove(&range.start)),
            Shape::Other => self.others.retain(|(_, other)| *other != id),
            Shape::Prefix => {
                self.by_prefix.remove(&range.start);
                let length = range.start.len();
                let left = self.prefix_lengths.get(&length).map_or(0, |count| count - 1);
                match left {
                    0 => self.prefix_lengths.remove(&length),
                    left => self.prefix_lengths.insert(length, left),
                };
            }
        }
    }

    /// Notes that `key` changed at `revision` in every topic that holds it.
    pub(crate) fn record(&mut self, key: &Bytes, revision: Revision, floor: Revision, touched: &mut Touched) {
        let Self { slots, by_key, by_prefix, prefix_lengths, others, .. } = self;
        let exact = by_key.get(key).into_iter();
        let lengths = prefix_lengths.keys().take_while(|length| **length <= key.len());
        let prefixes = lengths.filter_map(|length| by_prefix.get(&key[..*length]));
        let others = others.iter().filter(|(range, _)| range.contains(key)).map(|(_, id)| id);
        for id in exact.chain(prefixes).chain(others) {
            let topic = slots[id.0].as_mut().expect("an indexed topic exists");
            touched.add(topic);
            topic.push(revision, floor);
        }
    }

    /// All revisions after this one that touched the topic's range are listed.
    pub(crate) fn complete_from(&self, id: TopicId) -> Revision {
        self.topic(id).complete_from
    }

    /// Listed revisions after `position`, in order.
    pub(crate) fn revisions_after(
        &self,
        id: TopicId,
        position: Revision,
    ) -> impl Iterator<Item = Revision> + '_ {
        let revisions = &self.topic(id).revisions;
        let first = revisions.partition_point(|revision| *revision <= position);
        revisions.range(first..).copied()
    }

    /// Nothing is known of what came before: every topic is complete from there on. Returns all watchers, to be woken.
    pub(crate) fn begin_at(&mut self, revision: Revision) -> Vec<Arc<Notify>> {
        for topic in self.slots.iter_mut().flatten() {
            topic.revisions.clear();
            topic.complete_from = revision;
        }
        self.wake_all()
    }

    pub(crate) fn wake_all(&self) -> Vec<Arc<Notify>> {
        self.slots.iter().flatten().map(|topic| topic.changed.clone()).collect()
    }

    pub(crate) fn watchers(&self) -> usize {
        self.slots.iter().flatten().map(|topic| topic.watchers).sum()
    }

    fn find(&self, range: &KeyRange) -> Option<TopicId> {
        match Shape::of(range) {
            Shape::Key => self.by_key.get(&range.start).copied(),
            Shape::Prefix => self.by_prefix.get(&range.start).copied(),
            Shape::Other => self.others.iter().find(|(other, _)| other == range).map(|(_, id)| *id),
        }
    }

    fn create(&mut self, range: &KeyRange, latest: Revision) -> TopicId {
        let topic = Topic {
            watchers: 0,
            changed: Arc::new(Notify::new()),
            revisions: VecDeque::new(),
            complete_from: latest,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            TopicId(self.slots.len() - 1)
        });
        self.slots[id.0] = Some(topic);
        match Shape::of(range) {
            Shape::Key => drop(self.by_key.insert(range.start.clone(), id)),
            Shape::Other => self.others.push((range.clone(), id)),
            Shape::Prefix => {
                self.by_prefix.insert(range.start.clone(), id);
                *self.prefix_lengths.entry(range.start.len()).or_insert(0) += 1;
            }
        }
        id
    }

    fn topic(&self, id: TopicId) -> &Topic {
        self.slots[id.0].as_ref().expect("a cursor keeps its topic alive")
    }

    fn topic_mut(&mut self, id: TopicId) -> &mut Topic {
        self.slots[id.0].as_mut().expect("a cursor keeps its topic alive")
    }
}

impl Topic {
    /// Lists `revision`, once. Drops from the list what the history has forgotten and what exceeds the bound.
    fn push(&mut self, revision: Revision, floor: Revision) {
        if self.revisions.back() == Some(&revision) {
            return;
        }
        while self.revisions.front().is_some_and(|oldest| *oldest <= floor)
            || self.revisions.len() >= LISTED_MAX
        {
            self.complete_from = self.revisions.pop_front().expect("checked to be non-empty");
        }
        self.revisions.push_back(revision);
    }
}

#[cfg(test)]
impl Topics {
    /// Topics that can be found by their range.
    pub(crate) fn indexed(&self) -> usize {
        self.by_key.len() + self.by_prefix.len() + self.prefix_lengths.len() + self.others.len()
    }
}
