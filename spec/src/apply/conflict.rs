//! Fields that an application would change and others own, and how that is told.

use std::fmt;

use crate::managed::compare::Changes;
use crate::managed::{Entry, FieldSet, Managed, Operation};
use crate::status::{Cause, Reason, Status};

/// Fields that others own with other values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts {
    /// Each owner, as messages name it, and the fields; sorted.
    owners: Vec<(String, FieldSet)>,
}

/// The conflicts of what `mine` changes with the fields of others.
pub(super) fn find(managed: &Managed, mine: &Entry, changes: &Changes) -> Option<Conflicts> {
    let others = managed.entries.iter().filter(|entry| !entry.is_of(mine));
    let owners = others.map(|entry| (describe(entry), entry.fields.intersection(&changes.written)));
    Conflicts::of(owners.collect())
}

/// An owner in upstream's words.
fn describe(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

impl Conflicts {
    fn of(mut owners: Vec<(String, FieldSet)>) -> Option<Conflicts> {
        owners.retain(|(_, fields)| !fields.is_empty());
        owners.sort_by(|(a, _), (b, _)| a.cmp(b));
        (!owners.is_empty()).then_some(Conflicts { owners })
    }

    /// Those that are not about these fields.
    pub(super) fn but_for(self, allowed: &FieldSet) -> Option<Conflicts> {
        let rest = self.owners.into_iter().map(|(owner, fields)| (owner, fields.difference(allowed)));
        Conflicts::of(rest.collect())
    }

    fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.owners
            .iter()
            .flat_map(|(owner, fields)| fields.paths().into_iter().map(|path| (owner.as_str(), path)))
    }

    /// The answer to the client.
    pub fn status(&self) -> Status {
        let mut status =
            Status { code: 409, reason: Reason::Conflict, message: self.to_string(), details: None };
        status.details_mut().causes = self
            .all()
            .map(|(owner, field)| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {owner}"),
                field,
            })
            .collect();
        status
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<(&str, String)> = self.all().collect();
        if let [(owner, path)] = &all[..] {
            return write!(f, "Apply failed with 1 conflict: conflict with {owner}: {path}");
        }
        write!(f, "Apply failed with {} conflicts: ", all.len())?;
        for (position, (owner, fields)) in self.owners.iter().enumerate() {
            let separator = if position > 0 { "\n" } else { "" };
            write!(f, "{separator}conflicts with {owner}:")?;
            fields.paths().iter().try_for_each(|path| write!(f, "\n- {path}"))?;
        }
        Ok(())
    }
}
