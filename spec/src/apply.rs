//! Server-side apply: a configuration says which fields its manager wants, and how; the server merges it into the
//! object.
//!
//! Fields that the manager asked for before and no longer names go, unless somebody else owns them. A field that another
//! manager owns with another value is a conflict, unless the caller takes it by force. Rules as in
//! `sigs.k8s.io/structured-merge-diff/merge`, words as in `k8s.io/apimachinery/pkg/util/managedfields`.

mod conflict;
mod last_applied;
mod merge;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use self::conflict::Conflicts;
use self::conflict::find;
use crate::managed::shape::Shape;
use crate::managed::{
    ConfigError, Element, Entry, FieldSet, ItemError, Managed, Operation, Writer, compare, take_from_others,
    to_text,
};

/// The annotation in which `kubectl apply` keeps what it applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The one manager that takes over from client-side apply by itself.
const KUBECTL: &str = "kubectl";

/// The manager of the fields of an object for which no account was kept before it was first applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// What to do about fields that others own with other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Fail.
    Refuse,
    /// Take them.
    Take,
}

/// Why a configuration was not applied.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyError {
    /// Others own fields that it would change.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The configuration cannot be understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A list of the object has items that cannot be told apart.
    #[error("failed to merge config: {0}")]
    Object(#[from] ItemError),
}

/// The outcome of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The object, as JSON, without managed fields.
    pub object: String,
    /// Its managed fields, as JSON.
    pub managed: Option<String>,
    /// The last applied configuration that its annotation must now hold.
    pub last_applied: Option<String>,
}

/// An object as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// The object, as JSON, without managed fields; `{}` when there is none.
    pub object: &'a str,
    /// Its managed fields.
    pub managed: Option<&'a str>,
}

/// Applies `config`, which has been checked against the schema, to `live`.
///
/// # Errors
/// See [`ApplyError`].
pub fn apply(
    writer: &Writer<'_>,
    live: Live<'_>,
    config: &str,
    on_conflict: OnConflict,
) -> Result<Applied, ApplyError> {
    let before = accounts(writer, live);
    let outcome = attempt(writer, live, &before, config, on_conflict);
    let (object, managed) = match outcome {
        Err(ApplyError::Conflicts(conflicts)) if writer.manager == KUBECTL => {
            let allowed = last_applied::own_fields(live.object, writer.shape());
            match conflicts.but_for(&allowed) {
                Some(rest) => return Err(ApplyError::Conflicts(rest)),
                None => attempt(writer, live, &before, config, OnConflict::Take)?,
            }
        }
        outcome => outcome?,
    };
    let keeps_step = writer.manager == KUBECTL && merge::annotation(&object, LAST_APPLIED).is_some();
    Ok(Applied {
        last_applied: keeps_step.then(|| last_applied::of(config)),
        managed: to_text(&managed),
        object,
    })
}

/// Who owned what before. When no account was kept, all that is there belongs to one manager.
fn accounts(writer: &Writer<'_>, live: Live<'_>) -> Managed {
    match live.managed.and_then(Managed::read) {
        Some(managed) if !managed.entries.is_empty() => managed,
        _ => {
            let first = Writer { manager: BEFORE_FIRST_APPLY, ..*writer };
            let mut fields = compare::whole_object(live.object, writer.shape());
            first.reach(&mut fields);
            let entry = (!fields.is_empty()).then(|| first.entry(Operation::Update, fields));
            Managed { entries: entry.into_iter().collect() }
        }
    }
}

fn attempt(
    writer: &Writer<'_>,
    live: Live<'_>,
    before: &Managed,
    config: &str,
    on_conflict: OnConflict,
) -> Result<(String, Managed), ApplyError> {
    let shape = writer.shape();
    let mut fields = compare::named_fields(config, shape)?;
    writer.reach(&mut fields);
    let mut managed = before.clone();
    let mine = writer.entry(Operation::Apply, fields);
    let last = managed.put(mine.clone());
    let mut object = String::with_capacity(live.object.len() + config.len());
    merge::merge(live.object, config, shape, &mut object)?;
    if let Some(last) = &last {
        object = prune(&object, last, &managed, shape);
    }
    let changes = writer.compare(live.object, &object);
    if on_conflict == OnConflict::Refuse
        && let Some(conflicts) = find(&managed, &mine, &changes)
    {
        return Err(ApplyError::Conflicts(conflicts));
    }
    take_from_others(&mut managed, &mine, &changes);
    managed.entries.retain(|entry| !entry.fields.is_empty());
    if let (Some(last), true) = (&last, changes.is_empty()) {
        keep_time(&mut managed, last);
    }
    Ok((object, managed))
}

/// A manager whose application changed nothing applied when it did before.
fn keep_time(managed: &mut Managed, last: &Entry) {
    let own = managed.entries.iter_mut().find(|entry| entry.is_of(last));
    if let Some(own) = own.filter(|own| own.fields == last.fields && own.api_version == last.api_version) {
        own.time.clone_from(&last.time);
    }
}

/// Takes out what the manager applied last time and nobody owns now.
fn prune(object: &str, last: &Entry, managed: &Managed, shape: Shape<'_>) -> String {
    let owned = managed.entries.iter().map(|entry| entry.fields.clone());
    let owned = owned.fold(FieldSet::default(), FieldSet::union);
    let mut gone = with_containers(last.fields.clone(), shape).difference(&with_containers(owned, shape));
    // Its name and the like are in the metadata, whoever owns the rest of it.
    gone.retain(|element, node| node.member &= *element != Element::Field("metadata".into()));
    let mut pruned = String::with_capacity(object.len());
    merge::without(object, &gone, shape, &mut pruned);
    pruned
}

/// The set with the fields of objects that are there only for what is below them.
fn with_containers(fields: FieldSet, shape: Shape<'_>) -> FieldSet {
    let nodes = fields.into_nodes().into_iter().map(|(element, mut node)| {
        let below = match &element {
            Element::Field(name) => {
                let (below, is_field) = shape.member(name);
                node.member |= is_field && !node.children.is_empty();
                below
            }
            _ => shape.item(),
        };
        node.children = with_containers(node.children, below);
        (element, node)
    });
    FieldSet::of(nodes.collect())
}
