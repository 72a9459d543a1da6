//! PriorityClass: a name for how much a pod matters.
//!
//! Rules: `pkg/apis/scheduling/validation` (ValidatePriorityClass); columns: `pkg/printers/internalversion`.

use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path, Shown};
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, ColumnType, age};
use crate::{defaults, validation};

/// What users' pods may have at most; the system's own are above.
const VALUE_MAX: i32 = 1_000_000_000;
/// The classes of every cluster: name and value.
pub const SYSTEM: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

impl Resource for PriorityClass {
    fn declaration() -> Declaration {
        Declaration { has_generation: true, ..Declaration::of::<Self>("priorityclass").short_names(&["pc"]) }
    }

    fn set_defaults(&mut self) {
        self.value.get_or_insert(0);
        defaults::text(&mut self.preemption_policy, "PreemptLowerPriority");
    }

    fn generation_moves(&self, old: &Self) -> bool {
        (&self.value, self.global_default, &self.description)
            != (&old.value, old.global_default, &old.description)
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with("system-") {
            if let Some(why) = unlike_system(name, self) {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errors.forbidden(&Path::new("metadata").child("name"), &detail);
            }
        } else if self.value.is_some_and(|value| value > VALUE_MAX) {
            let detail = format!("maximum allowed value of a user defined priority is {VALUE_MAX}");
            errors.forbidden(&Path::new("value"), &detail);
        }
        let policy = Path::new("preemptionPolicy");
        let known = &["Never", "PreemptLowerPriority"];
        validation::required_word(&policy, self.preemption_policy.as_ref(), known, errors);
    }

    fn validate_update(&self, old: &Self, _target: Target, errors: &mut FieldErrors) {
        let detail = "may not be changed in an update.";
        if self.value != old.value {
            errors.forbidden(&Path::new("value"), detail);
        }
        if self.preemption_policy != old.preemption_policy {
            let shown = Shown::json(&self.preemption_policy);
            errors.invalid(&Path::new("preemptionPolicy"), shown, "field is immutable");
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::integer("Value", "The higher, the more it matters."),
            Column {
                cell_type: ColumnType::Boolean,
                ..Column::text("Global-Default", "Whether pods have it that name none.")
            },
            Column::AGE,
            Column::text("PreemptionPolicy", "Whether its pods take the place of others."),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(self.value.unwrap_or(0)),
            Cell::Boolean(self.global_default.unwrap_or(false)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
            Cell::from(self.preemption_policy.as_deref()),
        ]
    }
}

/// How a class with a name of the system differs from the one that has it.
fn unlike_system(name: &str, class: &PriorityClass) -> Option<String> {
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if class.value != Some(*value) {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    (class.global_default == Some(true))
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_update, create};

    #[test]
    fn a_class_is_checked_and_is_a_row() {
        check_invalid::<PriorityClass>(
            "{metadata: {name: system-mine}, value: 2000000000, preemptionPolicy: Maybe}",
            expect![[r#"
                metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class
                preemptionPolicy: Unsupported value: "Maybe": supported values: "Never", "PreemptLowerPriority""#]],
        );
        check_invalid::<PriorityClass>(
            "{metadata: {name: mine}, value: 2000000000}",
            expect!["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        check_invalid::<PriorityClass>(
            "{metadata: {name: system-node-critical}, value: 7}",
            expect![
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000"
            ],
        );
        let class = "{metadata: {name: high}, value: 1000, globalDefault: true}";
        check_row::<PriorityClass>(
            create::<PriorityClass>(class).unwrap().as_ref(),
            expect![[r#"
            Name: "high"
            Value: 1000
            Global-Default: true
            Age: "0s"
            PreemptionPolicy: "PreemptLowerPriority""#]],
        );
        check_update::<PriorityClass>(
            class,
            &class.replace("1000", "1"),
            Target::Main,
            expect![[
                r#"PriorityClass.scheduling.k8s.io "high" is invalid: value: Forbidden: may not be changed in an update."#
            ]],
        );
    }
}
