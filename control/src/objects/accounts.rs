//! Which manager a write is accounted to, and the stored form with the account in it.
//!
//! The rules are [`isopod_spec::managed`]'s; an account that would make an object too large to be stored is left out.

use bytes::Bytes;
use isopod_spec::managed::{self, Writer};
use isopod_spec::resource::{self, Kind, Object, Target};
use isopod_spec::status::Status;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use k8s_openapi::jiff::Timestamp;

use super::{OBJECT_BYTES_MAX, Objects};

/// How a write changes who owns what.
#[derive(Debug, Clone)]
pub(crate) enum Ownership {
    /// Its manager owns what it changed.
    Updated,
    /// As server-side apply has decided: `managedFields`, as JSON.
    Applied(Option<String>),
}

/// What is stored of an object when a try begins.
pub(super) struct Stored<'a> {
    /// Its managed fields.
    pub(super) managed: Option<&'a str>,
    /// The rest.
    pub(super) plain: &'a [u8],
}

impl Objects {
    /// Who writes through this handle, to objects of `kind`.
    pub(crate) fn writer<'a>(&'a self, kind: &'a Kind, target: Target) -> Writer<'a> {
        Writer {
            manager: &self.manager,
            api_version: kind.api_version(),
            target,
            has_status: kind.has_status(),
            schema: kind.message(),
            now: Timestamp::now(),
        }
    }

    /// The account of a new object, from the object as its maker wanted it: what admission adds is nobody's.
    pub(super) fn account_of_new(
        &self,
        kind: &Kind,
        object: &dyn Object,
        ownership: &Ownership,
    ) -> Option<String> {
        match ownership {
            Ownership::Applied(managed) => managed.clone(),
            Ownership::Updated => {
                let plain = object.to_stored();
                let shown = kind.served(&plain);
                managed::after_create(
                    &self.writer(kind, Target::Main),
                    text(shown.as_deref().unwrap_or(&plain)),
                )
            }
        }
    }
}

/// The account of a changed object. `given` is what the client sent of it.
pub(super) fn account_of_changed(
    writer: &Writer<'_>,
    kind: &Kind,
    given: Option<&[ManagedFieldsEntry]>,
    ownership: &Ownership,
    stored: &Stored<'_>,
    plain: &[u8],
) -> Option<String> {
    let account = match ownership {
        Ownership::Applied(managed) => managed.clone(),
        Ownership::Updated => {
            let (old, new) = (kind.served(stored.plain), kind.served(plain));
            let old = text(old.as_deref().unwrap_or(stored.plain));
            let new = text(new.as_deref().unwrap_or(plain));
            managed::after_update(writer, stored.managed, given, old, new).map(Into::into)
        }
    };
    let stands = plain == stored.plain && managed::same_but_for_times(stored.managed, account.as_deref());
    if stands { stored.managed.map(str::to_owned) } else { account }
}

fn text(json: &[u8]) -> &str {
    std::str::from_utf8(json).expect("stored objects are JSON that this program wrote")
}

/// The stored form of an object with its account; 413 when the object is larger than one may be.
pub(super) fn put_together(plain: Vec<u8>, account: Option<&str>) -> Result<Bytes, Status> {
    if plain.len() > OBJECT_BYTES_MAX {
        return Err(Status::too_large(OBJECT_BYTES_MAX));
    }
    let fits = |account: &&str| plain.len() + account.len() + 64 <= OBJECT_BYTES_MAX;
    let account = account.filter(fits);
    Ok(resource::join(plain, account).into())
}
