//! RuntimeClass: a name for how a node runs a pod.
//!
//! Rules: `pkg/apis/node/validation` (ValidateRuntimeClass); columns: `pkg/printers/internalversion`.

use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::quantity;
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, age};

const HANDLER: Path<'_> = Path::new("handler");

impl Resource for RuntimeClass {
    fn declaration() -> Declaration {
        Declaration {
            create_on_update: true,
            unconditional_update: false,
            inert: Some(
                "RuntimeClass has no effect yet: it is stored only, and the image says what runs a pod",
            ),
            ..Declaration::of::<Self>("runtimeclass")
        }
    }

    fn set_defaults(&mut self) {
        let overhead = self.overhead.iter_mut().filter_map(|overhead| overhead.pod_fixed.as_mut());
        overhead.flatten().for_each(|(_, amount)| quantity::canonicalize(amount));
    }

    fn validate(&self, errors: &mut FieldErrors) {
        if self.handler.is_empty() {
            errors.required(&HANDLER, "");
        } else {
            crate::validation::syntax(&HANDLER, &self.handler, meta::dns_1123_label_faults, errors);
        }
    }

    fn validate_update(&self, old: &Self, _target: Target, errors: &mut FieldErrors) {
        meta::immutable(&HANDLER, &self.handler, &old.handler, errors);
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Handler", "What the node calls it."), Column::AGE]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(self.handler.as_str()),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, create, update};

    #[test]
    fn a_class_is_checked_and_is_a_row() {
        check_invalid::<RuntimeClass>("{metadata: {name: a}}", expect!["handler: Required value"]);
        check_invalid::<RuntimeClass>(
            "{metadata: {name: a}, handler: A_B}",
            expect![[
                r#"handler: Invalid value: "A_B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#
            ]],
        );
        let class = "{metadata: {name: a, resourceVersion: '1'}, handler: wasmtime}";
        let class_of = class.replace(", resourceVersion: '1'", "");
        check_row::<RuntimeClass>(
            create::<RuntimeClass>(&class_of).unwrap().as_ref(),
            expect![[r#"
            Name: "a"
            Handler: "wasmtime"
            Age: "0s""#]],
        );
        let other = class.replace("wasmtime", "other");
        let refused = update::<RuntimeClass>(&class_of, &other, Target::Main).unwrap_err();
        assert!(refused.message.ends_with("field is immutable"), "{}", refused.message);
    }
}
