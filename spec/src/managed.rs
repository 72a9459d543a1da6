//! Who owns which field of an object: `metadata.managedFields`.
//!
//! Every write is compared with what it changed, and its manager then owns those fields. Rules and limits are those of
//! `k8s.io/apimachinery/pkg/util/managedfields` and of structured-merge-diff: see [`crate::apply`] for what owning a
//! field is good for. All is pure, and works on JSON text: comparing costs as much as what differs.

pub(crate) mod compare;
mod element;
mod entries;
pub(crate) mod level;
mod set;
pub(crate) mod shape;
#[cfg(test)]
mod tests;
mod text;
mod walk;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use k8s_openapi::jiff::Timestamp;

use self::compare::Changes;
pub use self::compare::ConfigError;
pub use self::element::Element;
pub use self::entries::{Entry, Managed, Operation};
pub use self::set::{FieldSet, Node};
pub use self::shape::ItemError;
use self::shape::Shape;
use crate::resource::Target;
use crate::schema::MessageRef;

/// No more than so many entries of updates are kept apart, as upstream.
const UPDATES_MAX: usize = 10;

/// The manager that the oldest updates are counted to when there are too many.
const ANCIENT: &str = "ancient-changes";

/// The longest name of a manager, in bytes, as upstream.
pub const MANAGER_BYTES_MAX: usize = 128;

/// Fields of metadata that nobody owns: the server's own, and those that say which object it is.
const UNOWNED: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Who writes an object, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// The version in which it writes: `apps/v1`.
    pub api_version: &'a str,
    /// Which part of the object.
    pub target: Target,
    /// Whether `status` is a part of its own, which writes to the rest do not reach.
    pub has_status: bool,
    /// The object's type; `None` when it has none.
    pub schema: Option<MessageRef<'a>>,
    /// When.
    pub now: Timestamp,
}

impl<'a> Writer<'a> {
    pub(crate) fn shape(&self) -> Shape<'a> {
        self.schema.map_or(Shape::Free, Shape::Object)
    }

    fn subresource(&self) -> &'static str {
        match self.target {
            Target::Main | Target::Binding | Target::Finalize => "",
            Target::Status => "status",
            Target::Scale => "scale",
        }
    }

    /// Whether writes of this kind are accounted for. As upstream, what the scheduler and the namespace controller
    /// decide is nobody's.
    fn is_accounted(&self) -> bool {
        !matches!(self.target, Target::Binding | Target::Finalize)
    }

    /// An entry of this manager for these fields.
    pub(crate) fn entry(&self, operation: Operation, fields: FieldSet) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            operation,
            api_version: self.api_version.to_owned(),
            subresource: self.subresource().to_owned(),
            time: Some(timestamp(self.now)),
            fields,
        }
    }

    /// Takes out of a set what nobody owns and what this write does not reach.
    pub(crate) fn reach(&self, fields: &mut FieldSet) {
        fields.retain(|element, node| {
            let Element::Field(name) = element else { return };
            match &**name {
                "apiVersion" | "kind" => *node = Node::default(),
                "status" if self.target == Target::Main && self.has_status => *node = Node::default(),
                "metadata" => {
                    node.member = false;
                    node.children.retain(|element, node| {
                        let Element::Field(name) = element else { return };
                        if UNOWNED.contains(&&**name) {
                            *node = Node::default();
                        }
                    });
                }
                "status" => {}
                _ if self.target == Target::Status => *node = Node::default(),
                _ => {}
            }
        });
    }

    pub(crate) fn compare(&self, old: &str, new: &str) -> Changes {
        let mut changes = compare::compare(old, new, self.shape());
        self.reach(&mut changes.written);
        self.reach(&mut changes.removed);
        changes
    }
}

fn timestamp(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// The `managedFields` of a new object, as JSON: its maker owns all of it. `new` is the object's JSON.
pub fn after_create(writer: &Writer<'_>, new: &str) -> Option<String> {
    let mut fields = compare::whole_object(new, writer.shape());
    writer.reach(&mut fields);
    let entry = (!fields.is_empty()).then(|| writer.entry(Operation::Update, fields));
    to_text(&Managed { entries: entry.into_iter().collect() })
}

/// The `managedFields` of a changed object, as JSON. `stored` is what they were, `old` and `new` are the object's
/// states without them.
///
/// `given` is what the client sent of them: they replace what is stored, and an empty list, or one empty entry, ends the
/// accounting. An object for which no account is kept gets none by being changed.
pub fn after_update<'m>(
    writer: &Writer<'_>,
    stored: Option<&'m str>,
    given: Option<&[ManagedFieldsEntry]>,
    old: &str,
    new: &str,
) -> Option<Cow<'m, str>> {
    let given = given.filter(|_| writer.target == Target::Main).map(Given::read);
    let replaced = match given {
        Some(Given::Reset) => return None,
        Some(Given::Managed(managed)) => Some(managed),
        Some(Given::Unusable) | None => None,
    };
    let is_same = old == new;
    if replaced.is_none() && (is_same || !writer.is_accounted()) {
        return stored.map(Cow::Borrowed);
    }
    let mut managed = replaced.or_else(|| stored.and_then(Managed::read))?;
    if !is_same {
        record(&mut managed, writer, writer.compare(old, new));
    }
    to_text(&managed).map(Cow::Owned)
}

/// Whether two `managedFields`, as JSON, say the same, whenever it came about.
pub fn same_but_for_times(a: Option<&str>, b: Option<&str>) -> bool {
    let read = |text: Option<&str>| text.map_or_else(|| Some(Managed::default()), Managed::read);
    a == b || read(a).is_some_and(|a| read(b).is_some_and(|b| a.equals_but_for_times(&b)))
}

/// What a client sent of managed fields.
enum Given {
    /// It wants none.
    Reset,
    /// Nothing that could be used.
    Unusable,
    /// These.
    Managed(Managed),
}

impl Given {
    fn read(entries: &[ManagedFieldsEntry]) -> Given {
        match entries {
            [] => Given::Reset,
            [only] if *only == ManagedFieldsEntry::default() => Given::Reset,
            entries => match Managed::from_client(entries) {
                Some(managed) if !managed.entries.is_empty() => Given::Managed(managed),
                _ => Given::Unusable,
            },
        }
    }
}

/// As the JSON that is stored; `None` when nobody owns anything.
pub(crate) fn to_text(managed: &Managed) -> Option<String> {
    if managed.entries.is_empty() {
        return None;
    }
    let mut text = Vec::with_capacity(1024);
    managed.write(&mut text);
    Some(String::from_utf8(text).expect("JSON is UTF-8"))
}

/// Accounts for an update: its manager owns what it wrote, others no longer do, and what is gone is nobody's.
fn record(managed: &mut Managed, writer: &Writer<'_>, changes: Changes) {
    if changes.is_empty() {
        return;
    }
    let mine = writer.entry(Operation::Update, FieldSet::default());
    take_from_others(managed, &mine, &changes);
    let before = managed.entries.iter_mut().find(|entry| entry.is_of(&mine));
    match before {
        Some(before) => {
            let took = !changes.written.is_empty();
            let kept = std::mem::take(&mut before.fields).difference(&changes.removed);
            before.fields = kept.union(changes.written);
            if took {
                before.time = mine.time;
            }
        }
        None if changes.written.is_empty() => {}
        None => managed.entries.push(Entry { fields: changes.written, ..mine }),
    }
    managed.entries.retain(|entry| !entry.fields.is_empty());
    merge_ancient(managed);
}

/// What was written or is gone is no longer owned by anybody but the writer.
pub(crate) fn take_from_others(managed: &mut Managed, mine: &Entry, changes: &Changes) {
    for entry in managed.entries.iter_mut().filter(|entry| !entry.is_of(mine)) {
        for taken in [&changes.written, &changes.removed] {
            if entry.fields.overlaps(taken) {
                entry.fields = std::mem::take(&mut entry.fields).difference(taken);
            }
        }
    }
}

/// Merges the oldest updates, those of each version for themselves, until there are no more than are kept apart.
fn merge_ancient(managed: &mut Managed) {
    let is_update = |entry: &&Entry| entry.operation == Operation::Update;
    let mut surplus = managed.entries.iter().filter(is_update).count().saturating_sub(UPDATES_MAX);
    if surplus == 0 {
        return;
    }
    let entries = std::mem::take(&mut managed.entries);
    let (mut updates, applied): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.operation == Operation::Update);
    // What was merged before is the oldest of all.
    let age = |entry: &Entry| (entry.manager != ANCIENT, entry.time.clone(), entry.manager.clone());
    updates.sort_by_cached_key(age);
    let mut merged: Vec<Entry> = Vec::new();
    for entry in updates {
        match merged.iter_mut().find(|own| own.api_version == entry.api_version) {
            Some(own) if surplus > 0 => {
                let fields = std::mem::take(&mut own.fields).union(entry.fields);
                let (manager, subresource) = (ANCIENT.to_owned(), String::new());
                *own = Entry { manager, subresource, fields, ..entry };
                surplus -= 1;
            }
            _ => merged.push(entry),
        }
    }
    managed.entries = applied;
    managed.entries.extend(merged);
}
