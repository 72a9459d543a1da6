//! IngressClass: who serves Ingresses.
//!
//! Rules: `pkg/apis/networking/validation` (ValidateIngressClass); columns: `pkg/printers/internalversion`.

use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::SPEC;
use crate::field_error::FieldErrors;
use crate::meta;
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, age};

impl Resource for IngressClass {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            inert: Some("IngressClass has no effect yet: it is stored only"),
            ..Declaration::of::<Self>("ingressclass")
        }
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let controller = self.spec.as_ref().and_then(|spec| spec.controller.as_deref()).unwrap_or_default();
        let path = SPEC.child("controller");
        if controller.len() > 250 {
            errors.too_long(&path, 250);
        }
        if !controller.is_empty() && !controller.contains('/') {
            errors.invalid(&path, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
    }

    fn validate_update(&self, old: &Self, _target: Target, errors: &mut FieldErrors) {
        let controller = |class: &Self| class.spec.as_ref().and_then(|spec| spec.controller.clone());
        meta::immutable(&SPEC.child("controller"), &controller(self), &controller(old), errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Controller", "Who serves Ingresses of this class."),
            Column::text("Parameters", "What tells it how."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let spec = self.spec.as_ref();
        let parameters = spec.and_then(|spec| spec.parameters.as_ref()).map_or_else(
            || "<none>".to_owned(),
            |parameters| match parameters.api_group.as_deref() {
                Some(group) => format!("{}.{group}/{}", parameters.kind, parameters.name),
                None => format!("{}/{}", parameters.kind, parameters.name),
            },
        );
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(spec.and_then(|spec| spec.controller.as_deref())),
            Cell::from(parameters),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_update, create};

    const CLASS: &str = "{metadata: {name: nginx}, spec: {controller: example.com/nginx, parameters: {kind: Config, name: c}}}";

    #[test]
    fn a_class_keeps_its_controller_and_is_a_row() {
        check_invalid::<IngressClass>(
            "{metadata: {name: a}, spec: {controller: nginx}}",
            expect![[
                r#"spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")"#
            ]],
        );
        let other = CLASS.replace("example.com/nginx", "example.com/other");
        check_update::<IngressClass>(
            CLASS,
            &other,
            Target::Main,
            expect![[
                r#"IngressClass.networking.k8s.io "nginx" is invalid: spec.controller: Invalid value: "example.com/other": field is immutable"#
            ]],
        );
        check_row::<IngressClass>(
            create::<IngressClass>(CLASS).unwrap().as_ref(),
            expect![[r#"
            Name: "nginx"
            Controller: "example.com/nginx"
            Parameters: "Config/c"
            Age: "0s""#]],
        );
    }
}
