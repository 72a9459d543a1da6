//! PodTemplate: a template that stands for itself.
//!
//! Rules: `pkg/apis/core/validation` (ValidatePodTemplate); columns: `pkg/printers/internalversion`.

use k8s_openapi::api::core::v1::PodTemplate;
use k8s_openapi::jiff::Timestamp;

use super::pod::{default_template, template_warnings, validate_template};
use crate::apps::workload;
use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource};
use crate::table::{Cell, Column};

const TEMPLATE: Path<'_> = Path::new("template");

impl Resource for PodTemplate {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            delete_returns_object: true,
            inert: Some("PodTemplate has no effect yet: it is stored only"),
            ..Declaration::of::<Self>("podtemplate")
        }
    }

    fn set_defaults(&mut self) {
        default_template(self.template.get_or_insert_default());
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.template != old.template
    }

    fn validate(&self, errors: &mut FieldErrors) {
        if let Some(template) = &self.template {
            validate_template(template, &TEMPLATE, errors);
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.template.as_ref().map(|template| template_warnings(template, &TEMPLATE)).unwrap_or_default()
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Containers", "Names of the containers."),
            Column::text("Images", "Images of the containers."),
            Column::text("Pod Labels", "Labels of the pods."),
        ]
    }

    fn cells(&self, _now: Timestamp) -> Vec<Cell> {
        let labels = self.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
        let labels = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
        let labels = labels.collect::<Vec<_>>().join(",");
        let mut cells = vec![Cell::from(self.metadata.name.as_deref())];
        cells.extend(workload::template_cells(self.template.as_ref()));
        cells.push(Cell::from(if labels.is_empty() { "<none>".to_owned() } else { labels }));
        cells
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, create};

    #[test]
    fn a_template_is_checked_and_is_a_row() {
        check_invalid::<PodTemplate>(
            "{metadata: {name: a}}",
            expect!["template.spec.containers: Required value"],
        );
        let template = "{metadata: {name: a}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: i}]}}}";
        check_row::<PodTemplate>(
            create::<PodTemplate>(template).unwrap().as_ref(),
            expect![[r#"
            Name: "a"
            Containers: "c"
            Images: "i"
            Pod Labels: "app=a""#]],
        );
    }
}
