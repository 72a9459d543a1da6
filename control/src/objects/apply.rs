//! Server-side apply to what is stored. The rules are [`isopod_spec::apply`]'s.

use std::sync::Arc;

use isopod_spec::apply::{self, ApplyError, LAST_APPLIED, Live, OnConflict};
use isopod_spec::resource::{Kind, Object, Target};
use isopod_spec::status::Status;

use super::update::Made;
use super::{Change, Commit, Objects, Ownership, Written};

/// A configuration to be applied, checked against the schema of its kind.
pub(crate) struct Configuration {
    /// The object as far as the manager cares, as compact JSON.
    pub(crate) json: String,
    /// What to do about other managers' fields.
    pub(crate) on_conflict: OnConflict,
}

impl Objects {
    /// Applies to the object that is there; NotFound when none is. `may` decides from the stored object and the new
    /// one.
    pub(crate) async fn apply_to_stored(
        &self,
        change: &Change<'_>,
        config: &Configuration,
        mut may: impl FnMut(&dyn Object, &dyn Object) -> Result<(), Status>,
    ) -> Result<Written, Status> {
        self.update_owned(change, |current| {
            let shown = change.kind.object_json(current.plain, current.entry.modified.0);
            let shown = String::from_utf8(shown).expect("stored objects are JSON");
            let live = Live { object: &shown, managed: current.managed };
            let made =
                self.applied(change.kind, change.target, (change.namespace, change.name), live, config)?;
            may(current.object, made.object.as_ref())?;
            Ok(made)
        })
        .await
    }

    /// Makes the object that the configuration describes; AlreadyExists when there is one.
    pub(crate) async fn apply_as_new(
        &self,
        kind: &Arc<Kind>,
        (namespace, name): (&str, &str),
        config: &Configuration,
        commit: Commit,
        may: impl FnOnce(&dyn Object) -> Result<(), Status>,
    ) -> Result<Written, Status> {
        let live = Live { object: "{}", managed: None };
        let Made { mut object, ownership } =
            self.applied(kind, Target::Main, (namespace, name), live, config)?;
        if object.name() != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                object.name()
            )));
        }
        let meta = object.meta_mut();
        if let Some(uid) = meta.uid.take().filter(|uid| !uid.is_empty()) {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Status::conflict(&**kind, name, &why));
        }
        if meta.resource_version.take().is_some_and(|version| !version.is_empty()) {
            return Err(Status::modified(&**kind, name));
        }
        may(object.as_ref())?;
        self.create_owned(kind, namespace, object, &ownership, commit).await
    }

    fn applied(
        &self,
        kind: &Kind,
        target: Target,
        place: (&str, &str),
        live: Live<'_>,
        config: &Configuration,
    ) -> Result<Made, Status> {
        let writer = self.writer(kind, target);
        let applied = apply::apply(&writer, live, &config.json, config.on_conflict)
            .map_err(|error| refusal(kind, place, &error))?;
        let mut object = kind.decode(applied.object.as_bytes())?;
        object.meta_mut().managed_fields = None;
        if let Some(text) = applied.last_applied {
            let annotations = object.meta_mut().annotations.get_or_insert_default();
            annotations.insert(LAST_APPLIED.to_owned(), text);
        }
        Ok(Made { object, ownership: Ownership::Applied(applied.managed) })
    }
}

fn refusal(kind: &Kind, place: (&str, &str), error: &ApplyError) -> Status {
    match error {
        ApplyError::Conflicts(conflicts) => conflicts.status(),
        ApplyError::Config(error) => untyped(kind, place, &error.to_string()),
        error => Status::internal(format!("{} {:?}: {error}", kind.kind, place.1)),
    }
}

/// A configuration that is not of its kind's type.
pub(crate) fn untyped(kind: &Kind, (namespace, name): (&str, &str), why: &str) -> Status {
    let version = match kind.group.as_str() {
        "" => format!("/{}", kind.version),
        group => format!("{group}/{}", kind.version),
    };
    Status::bad_request(format!(
        "failed to create typed patch object ({namespace}/{name}; {version}, Kind={}): {why}",
        kind.kind
    ))
}
