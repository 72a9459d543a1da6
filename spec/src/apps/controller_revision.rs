//! ControllerRevision: a template as it once was, to go back to.
//!
//! Rules: `pkg/apis/apps/validation` (ValidateControllerRevision), `pkg/registry/apps/controllerrevision`; columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, age};
use crate::validation;

impl Resource for ControllerRevision {
    fn declaration() -> Declaration {
        Declaration::of::<Self>("controllerrevision")
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validation::nonnegative(&Path::new("revision"), Some(self.revision), errors);
        if self.data.is_none() {
            errors.required(&Path::new("data"), "data is mandatory");
        }
    }

    fn validate_update(&self, old: &Self, _target: Target, errors: &mut FieldErrors) {
        meta::immutable(&Path::new("data"), &self.data, &old.data, errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Controller", "Whose template it was."),
            Column::integer("Revision", "The higher, the newer."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let owners = self.metadata.owner_references.as_deref().unwrap_or_default();
        let controller = owners.iter().find(|owner| owner.controller == Some(true));
        let controller = controller.map_or_else(
            || "<none>".to_owned(),
            |owner| {
                let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
            },
        );
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(controller),
            Cell::from(self.revision),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_update, create};

    const REVISION: &str = "
metadata:
  name: web-abc
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: u, controller: true}]
revision: 2
data: {spec: {template: {}}}
";

    #[test]
    fn a_revision_is_a_row_and_keeps_its_data() {
        check_row::<ControllerRevision>(
            create::<ControllerRevision>(REVISION).unwrap().as_ref(),
            expect![[r#"
                Name: "web-abc"
                Controller: "statefulset.apps/web"
                Revision: 2
                Age: "0s""#]],
        );
        check_update::<ControllerRevision>(
            REVISION,
            &REVISION.replace("template: {}", "template: {a: b}"),
            Target::Main,
            expect![[
                r#"ControllerRevision.apps "web-abc" is invalid: data: Invalid value: {"spec":{"template":{"a":"b"}}}: field is immutable"#
            ]],
        );
        check_invalid::<ControllerRevision>(
            "{metadata: {name: a}, revision: -1}",
            expect![[r#"
            revision: Invalid value: -1: must be greater than or equal to 0
            data: Required value: data is mandatory"#]],
        );
    }
}
