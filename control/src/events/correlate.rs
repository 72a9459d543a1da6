//! Which occurrences become events of their own, which are counted on one that exists, and which are held back.
//!
//! The rules are those of Kubernetes' clients: the same text about the same object is one event with a count; many
//! texts of one reason become one combined event; and each object has a budget of events per component.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use super::{Level, Occurrence, event};

/// Events an object may get at once ...
const BURST: f64 = 25.0;
/// ... and how long it takes until it may get one more.
const REFILL: Duration = Duration::from_secs(300);
/// Different texts of one reason about one object before they are combined ...
const TEXTS_MAX: usize = 10;
/// ... unless they are further apart than this.
const TEXTS_WINDOW: Duration = Duration::from_secs(600);
/// Entries remembered of each sort; the oldest are forgotten.
const REMEMBERED_MAX: usize = 4096;
/// What Kubernetes puts before the latest text of a combined event.
const COMBINED: &str = "(combined from similar events): ";

/// What to do with the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is new.
    Create,
    /// It is stored already with a lower count.
    CountUp,
}

/// Remembers what was told lately.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    budgets: Memory<(&'static str, String), Budget>,
    texts: Memory<SimilarKey, Texts>,
    told: Memory<(SimilarKey, String), Told>,
}

/// What combined events have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SimilarKey {
    component: &'static str,
    object: String,
    level: Level,
    reason: &'static str,
}

#[derive(Debug)]
struct Budget {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Texts {
    seen: Vec<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Told {
    name: String,
    first: Timestamp,
    count: i32,
}

impl Correlator {
    /// The event to write for an occurrence; `None` when its object's budget is used up.
    pub(super) fn correlate(
        &mut self,
        mut occurrence: Occurrence,
        now: Timestamp,
    ) -> Option<(Decision, Event)> {
        let about = &occurrence.about;
        let object = format!(
            "{}/{}/{}",
            about.namespace.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default(),
            about.uid.as_deref().unwrap_or_default(),
        );
        let Occurrence { component, level, reason, .. } = occurrence;
        let similar = SimilarKey { component, object, level, reason };
        let is_combined =
            self.texts.entry(similar.clone(), Texts::new(now)).are_too_many(&occurrence.message, now);
        let text = if is_combined { String::new() } else { occurrence.message.clone() };
        if is_combined {
            occurrence.message.insert_str(0, COMBINED);
        }
        let budget =
            self.budgets.entry((component, similar.object.clone()), Budget { tokens: BURST, at: now });
        if !budget.spend(now) {
            return None;
        }
        let new = Told { name: event_name(&occurrence, now), first: now, count: 0 };
        let told = self.told.entry((similar, text), new);
        told.count = told.count.saturating_add(1);
        let decision = if told.count == 1 { Decision::Create } else { Decision::CountUp };
        Some((decision, event(&occurrence, told.name.clone(), told.first, now, told.count)))
    }
}

/// The object's name and the time in hexadecimal, as Kubernetes names events.
fn event_name(occurrence: &Occurrence, now: Timestamp) -> String {
    let about = occurrence.about.name.as_deref().unwrap_or_default();
    // Two reasons about one object in the same nanosecond do not happen: the clock is read for each batch, so the
    // reason and the text take part.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in occurrence.reason.bytes().chain(occurrence.message.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    let nanos = u64::try_from(now.as_nanosecond()).unwrap_or_default();
    format!("{about}.{:016x}", nanos.wrapping_add(hash & 0xffff))
}

impl Budget {
    fn spend(&mut self, now: Timestamp) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + passed / REFILL.as_secs_f64()).min(BURST);
        self.at = now;
        let is_left = self.tokens >= 1.0;
        if is_left {
            self.tokens -= 1.0;
        }
        is_left
    }
}

impl Texts {
    fn new(now: Timestamp) -> Texts {
        Texts { seen: Vec::new(), last: now }
    }

    fn are_too_many(&mut self, text: &str, now: Timestamp) -> bool {
        if now.duration_since(self.last).as_secs_f64() > TEXTS_WINDOW.as_secs_f64() {
            self.seen.clear();
        }
        self.last = now;
        if self.seen.iter().any(|seen| seen == text) {
            return false;
        }
        if self.seen.len() < TEXTS_MAX {
            self.seen.push(text.to_owned());
            return false;
        }
        true
    }
}

/// A map that forgets the entries that were not used for longest.
#[derive(Debug)]
struct Memory<K, V> {
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    clock: u64,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Memory { entries: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }
}

impl<K: Clone + Eq + std::hash::Hash, V> Memory<K, V> {
    fn entry(&mut self, key: K, new: V) -> &mut V {
        self.clock += 1;
        if self.entries.len() >= REMEMBERED_MAX
            && !self.entries.contains_key(&key)
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let (used, value) = self.entries.entry(key.clone()).or_insert((self.clock, new));
        self.order.remove(used);
        *used = self.clock;
        self.order.insert(self.clock, key);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn occurrence(object: &str, reason: &'static str, message: &str) -> Occurrence {
        let about = ObjectReference {
            name: Some(object.into()),
            namespace: Some("ns".into()),
            ..ObjectReference::default()
        };
        Occurrence { component: "test", about, level: Level::Normal, reason, message: message.to_owned() }
    }

    #[test]
    fn repetitions_are_counted_on_one_event() {
        let mut correlator = Correlator::default();
        let (decision, first) = correlator.correlate(occurrence("a", "R", "text"), at(100)).unwrap();
        assert_eq!((decision, first.count), (Decision::Create, Some(1)));
        let (decision, second) = correlator.correlate(occurrence("a", "R", "text"), at(160)).unwrap();
        assert_eq!((decision, second.count), (Decision::CountUp, Some(2)));
        assert_eq!(second.metadata.name, first.metadata.name);
        assert_eq!(second.first_timestamp, first.first_timestamp);
        assert_eq!(second.last_timestamp.unwrap().0, at(160));
        let (decision, other) = correlator.correlate(occurrence("b", "R", "text"), at(160)).unwrap();
        assert_eq!(decision, Decision::Create);
        assert_ne!(other.metadata.name, first.metadata.name);
    }

    #[test]
    fn many_texts_of_one_reason_are_combined() {
        let mut correlator = Correlator::default();
        for number in 0..10 {
            let (decision, _) =
                correlator.correlate(occurrence("a", "Created", &format!("pod {number}")), at(1)).unwrap();
            assert_eq!(decision, Decision::Create);
        }
        for (number, expected) in [(10, Decision::Create), (11, Decision::CountUp)] {
            let text = format!("pod {number}");
            let (decision, event) = correlator.correlate(occurrence("a", "Created", &text), at(1)).unwrap();
            assert_eq!(decision, expected);
            assert_eq!(event.message, Some(format!("(combined from similar events): {text}")));
        }
        let (_, later) = correlator.correlate(occurrence("a", "Created", "pod 12"), at(1000)).unwrap();
        assert_eq!(later.message.as_deref(), Some("pod 12"));
    }

    #[test]
    fn an_object_has_a_budget_that_refills_slowly() {
        let mut correlator = Correlator::default();
        let told = (0..100).filter_map(|_| correlator.correlate(occurrence("a", "R", "text"), at(1))).count();
        assert_eq!(told, 25);
        assert!(correlator.correlate(occurrence("b", "R", "text"), at(1)).is_some());
        assert!(correlator.correlate(occurrence("a", "R", "text"), at(200)).is_none());
        assert!(correlator.correlate(occurrence("a", "R", "text"), at(302)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..10_000 {
            *memory.entry(number, 0) += 1;
        }
        assert_eq!((memory.entries.len(), memory.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert_eq!(*memory.entry(9_999, 0), 1);
    }
}
