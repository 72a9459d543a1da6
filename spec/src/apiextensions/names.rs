//! Whether the names of a definition are free, and what its status says about that.
//!
//! Follows `k8s.io/apiextensions-apiserver/pkg/controller/{status,establish}`: names that others have taken are not
//! accepted until they are free again; a definition whose names were all accepted once stays established.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::definition::{Condition, set_condition};
use crate::field_error::quote;
use crate::registry::Kinds;

/// A definition without its schemas, of which there may be very large ones.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Outline {
    /// Group and names.
    pub spec: Names,
    /// Accepted names and conditions.
    pub status: CustomResourceDefinitionStatus,
}

/// Group and names of a definition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Names {
    /// API group.
    pub group: String,
    /// What its kind is called.
    pub names: CustomResourceDefinitionNames,
}

impl Outline {
    /// The names that are this definition's.
    fn accepted(&self) -> CustomResourceDefinitionNames {
        self.status.accepted_names.clone().unwrap_or_default()
    }

    /// Whether the kind is served.
    pub fn is_accepted(&self) -> bool {
        is_true(self.status.conditions.as_deref(), "NamesAccepted")
    }

    /// What the status becomes, if that differs. `others` are the other definitions of the group.
    pub fn next<'a>(
        &self,
        others: impl Iterator<Item = &'a Outline>,
        builtin: &Kinds,
        now: Timestamp,
    ) -> Option<CustomResourceDefinitionStatus> {
        let taken = Taken::new(&self.spec.group, others, builtin);
        let mut status = self.status.clone();
        let wanted = &self.spec.names;
        let mut accepted = self.accepted();
        let refusal = taken.accept(wanted, &mut accepted);
        status.accepted_names = Some(accepted);
        let conditions = status.conditions.get_or_insert_default();
        let time = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        let names = match &refusal {
            None => Condition {
                kind: "NamesAccepted",
                holds: true,
                reason: "NoConflicts",
                message: "no conflicts found",
            },
            Some((reason, message)) => Condition { kind: "NamesAccepted", holds: false, reason, message },
        };
        set_condition(conditions, names, Some(time.clone()));
        if !is_true(Some(conditions), "Established") {
            let established = match &refusal {
                None => Condition {
                    kind: "Established",
                    holds: true,
                    reason: "InitialNamesAccepted",
                    message: "the initial names have been accepted",
                },
                Some(_) => Condition {
                    kind: "Established",
                    holds: false,
                    reason: "NotAccepted",
                    message: "not all names are accepted",
                },
            };
            set_condition(conditions, established, Some(time));
        }
        (status != self.status).then_some(status)
    }
}

/// Whether the definition's kind is served: its names are its own, or once were all.
pub(super) fn is_served(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref());
    is_true(conditions, "NamesAccepted") || is_true(conditions, "Established")
}

fn is_true(conditions: Option<&[CustomResourceDefinitionCondition]>, kind: &str) -> bool {
    conditions.is_some_and(|all| all.iter().any(|own| own.type_ == kind && own.status == "True"))
}

/// The names of a group that are taken.
struct Taken {
    resources: Vec<String>,
    kinds: Vec<String>,
}

impl Taken {
    fn new<'a>(group: &str, others: impl Iterator<Item = &'a Outline>, builtin: &Kinds) -> Taken {
        let mut taken = Taken { resources: Vec::new(), kinds: Vec::new() };
        for names in others.map(Outline::accepted) {
            taken.resources.push(names.plural);
            taken.resources.extend(names.singular);
            taken.resources.extend(names.short_names.into_iter().flatten());
            taken.kinds.push(names.kind);
            taken.kinds.extend(names.list_kind);
        }
        for kind in builtin.iter().filter(|kind| kind.group == group && kind.defined_by.is_none()) {
            taken.resources.extend([kind.plural.clone(), kind.singular.clone()]);
            taken.resources.extend(kind.short_names.iter().cloned());
            taken.kinds.extend([kind.kind.clone(), kind.list_kind.clone()]);
        }
        taken
    }

    /// Takes over what is free; the first name that is not, if any.
    fn accept(
        &self,
        wanted: &CustomResourceDefinitionNames,
        accepted: &mut CustomResourceDefinitionNames,
    ) -> Option<(&'static str, String)> {
        let free = |taken: &[String], name: &str| match taken.iter().any(|own| own == name) {
            true => Err(format!("{} is already in use", quote(name))),
            false => Ok(()),
        };
        let mut refusal = None;
        let mut refuse = |reason, outcome: Result<(), String>| match outcome {
            Ok(()) => true,
            Err(message) => {
                refusal.get_or_insert((reason, message));
                false
            }
        };
        if refuse("PluralConflict", free(&self.resources, &wanted.plural)) {
            accepted.plural.clone_from(&wanted.plural);
        }
        let singular = wanted.singular.as_deref().unwrap_or_default();
        if refuse("SingularConflict", free(&self.resources, singular)) {
            accepted.singular.clone_from(&wanted.singular);
        }
        let short: Vec<&String> = wanted.short_names.iter().flatten().collect();
        if refuse("ShortNamesConflict", short.iter().try_for_each(|name| free(&self.resources, name))) {
            accepted.short_names.clone_from(&wanted.short_names);
        }
        if refuse("KindConflict", free(&self.kinds, &wanted.kind)) {
            accepted.kind.clone_from(&wanted.kind);
        }
        let list = wanted.list_kind.as_deref().unwrap_or_default();
        if refuse("ListKindConflict", free(&self.kinds, list)) {
            accepted.list_kind.clone_from(&wanted.list_kind);
        }
        accepted.categories.clone_from(&wanted.categories);
        refusal
    }
}
