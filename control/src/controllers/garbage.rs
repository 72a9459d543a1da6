//! Garbage collection: objects whose owners are gone go too, and owners wait for theirs where they asked for that.
//!
//! The [`graph`] knows every object's identity and owners, at one revision of the store. [`judge`] says what becomes of
//! one object; it is pure. An owner counts as absent only if no object of its uid exists: a new object of the same name
//! does not inherit anything.

pub(crate) mod graph;
pub(crate) mod shell;
#[cfg(test)]
mod tests;

use self::graph::{Dependent, Graph, Object};

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Stays,
    /// It is deleted: no owner is left. What becomes of its own dependents is what its finalizers say.
    Delete,
    /// It is deleted after its dependents, since its owner waits for it and it has dependents of its own.
    DeleteForeground,
    /// These owners (by uid) are gone or going, and others keep the object: the references to them are removed.
    Unlink(Vec<String>),
    /// It waited for its dependents, and none is left that it has to wait for.
    RemoveForegroundFinalizer,
    /// It gives its dependents (by uid) up, and then goes.
    Orphan(Vec<String>),
}

/// Decides about the object with this uid.
pub(crate) fn judge(graph: &Graph, uid: &str) -> Verdict {
    let Some(object) = graph.get(uid) else { return Verdict::Stays };
    if object.is_terminating {
        return judge_leaving(graph, uid, object);
    }
    judge_by_owners(graph, uid, object)
}

fn judge_leaving(graph: &Graph, uid: &str, object: &Object) -> Verdict {
    if object.orphans_dependents {
        return Verdict::Orphan(graph.dependents(uid).map(|dependent| dependent.uid.to_owned()).collect());
    }
    if !object.waits_for_dependents {
        return Verdict::Stays;
    }
    let mut blocking = graph.dependents(uid).filter(Dependent::blocks);
    if blocking.next().is_some() { Verdict::Stays } else { Verdict::RemoveForegroundFinalizer }
}

fn judge_by_owners(graph: &Graph, uid: &str, object: &Object) -> Verdict {
    if object.owners.is_empty() {
        return Verdict::Stays;
    }
    let (mut solid, mut waiting, mut absent) = (0, Vec::new(), Vec::new());
    for owner in &object.owners {
        match graph.owner_state(object, owner) {
            OwnerState::Present | OwnerState::Unknown => solid += 1,
            OwnerState::WaitsForDependents => waiting.push(owner.uid.clone()),
            OwnerState::Absent => absent.push(owner.uid.clone()),
        }
    }
    if solid > 0 {
        absent.append(&mut waiting);
        return if absent.is_empty() { Verdict::Stays } else { Verdict::Unlink(absent) };
    }
    if !waiting.is_empty() && graph.dependents(uid).next().is_some() {
        return Verdict::DeleteForeground;
    }
    Verdict::Delete
}

/// How an owner reference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerState {
    /// The owner exists.
    Present,
    /// It exists, and is being deleted after its dependents.
    WaitsForDependents,
    /// No object has its uid in a place where it could own the dependent.
    Absent,
    /// The owner is of a kind that is not served here: nothing is known about it, so nothing is done.
    Unknown,
}
