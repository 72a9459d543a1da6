//! ValidatingWebhookConfiguration and MutatingWebhookConfiguration: who is asked about writes.
//!
//! Rules: `pkg/apis/admissionregistration/v1/defaults.go`, `pkg/apis/admissionregistration/validation`; columns:
//! `pkg/printers/internalversion`.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource};
use crate::table::{Cell, Column, age};
use crate::{defaults, meta, validation};

const INERT: &str =
    "admission webhooks have no effect yet: the configuration is stored only, and nobody is asked";
const WEBHOOKS: Path<'_> = Path::new("webhooks");
const API_EXTENSIONS: &str = "api-extensions";

fn declare(declaration: Declaration) -> Declaration {
    Declaration {
        has_generation: true,
        unconditional_update: false,
        inert: Some(INERT),
        categories: vec![API_EXTENSIONS.to_owned()],
        ..declaration
    }
}

fn columns() -> Vec<Column> {
    vec![Column::NAME, Column::integer("Webhooks", "How many are asked."), Column::AGE]
}

/// What both kinds of webhook are checked for.
struct Webhook<'a> {
    name: &'a str,
    client: &'a WebhookClientConfig,
    versions: &'a [String],
    side_effects: &'a str,
    failure_policy: Option<&'a String>,
    timeout: Option<i32>,
}

fn validate<'a>(webhooks: impl Iterator<Item = Webhook<'a>>, errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for (index, webhook) in webhooks.enumerate() {
        let path = WEBHOOKS.index(index);
        if !names.insert(webhook.name) {
            errors.duplicate(&path.child("name"), webhook.name);
        }
        if webhook.name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.invalid(&path.child("name"), webhook.name, detail);
        } else {
            validation::syntax(&path.child("name"), webhook.name, meta::dns_1123_subdomain_faults, errors);
        }
        let client = path.child("clientConfig");
        if webhook.client.url.is_some() == webhook.client.service.is_some() {
            errors.required(&client, "exactly one of url or service is required");
        }
        if webhook.versions.is_empty() {
            let detail = "must specify one of v1, v1beta1";
            errors.required(&path.child("admissionReviewVersions"), detail);
        }
        let effects = webhook.side_effects.to_owned();
        let known = &["None", "NoneOnDryRun"];
        validation::required_word(&path.child("sideEffects"), Some(&effects), known, errors);
        let failure = path.child("failurePolicy");
        validation::optional_word(&failure, webhook.failure_policy, &["Fail", "Ignore"], errors);
        if let Some(seconds) = webhook.timeout.filter(|seconds| !(1..=30).contains(seconds)) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&path.child("timeoutSeconds"), seconds, detail);
        }
    }
}

fn default_rules(rules: &mut Option<Vec<RuleWithOperations>>) {
    for rule in rules.iter_mut().flatten() {
        defaults::text(&mut rule.scope, "*");
    }
}

fn default_client(client: &mut WebhookClientConfig) {
    if let Some(service) = &mut client.service {
        service.port.get_or_insert(443);
    }
}

/// Both kinds have the same fields, but for one, in types of their own.
macro_rules! webhook_configuration {
    ($kind:ident, $singular:literal, $more:expr) => {
        impl Resource for $kind {
            fn declaration() -> Declaration {
                declare(Declaration::of::<Self>($singular))
            }

            fn set_defaults(&mut self) {
                for webhook in self.webhooks.iter_mut().flatten() {
                    defaults::text(&mut webhook.failure_policy, "Fail");
                    defaults::text(&mut webhook.match_policy, "Equivalent");
                    webhook.namespace_selector.get_or_insert_default();
                    webhook.object_selector.get_or_insert_default();
                    webhook.timeout_seconds.get_or_insert(10);
                    default_rules(&mut webhook.rules);
                    default_client(&mut webhook.client_config);
                    $more(webhook);
                }
            }

            fn generation_moves(&self, old: &Self) -> bool {
                self.webhooks != old.webhooks
            }

            fn validate(&self, errors: &mut FieldErrors) {
                let webhooks = self.webhooks.iter().flatten().map(|own| Webhook {
                    name: &own.name,
                    client: &own.client_config,
                    versions: &own.admission_review_versions,
                    side_effects: &own.side_effects,
                    failure_policy: own.failure_policy.as_ref(),
                    timeout: own.timeout_seconds,
                });
                validate(webhooks, errors);
            }

            fn columns() -> Vec<Column> {
                columns()
            }

            fn cells(&self, now: Timestamp) -> Vec<Cell> {
                vec![
                    Cell::from(self.metadata.name.as_deref()),
                    Cell::from(self.webhooks.as_ref().map_or(0, Vec::len)),
                    Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
                ]
            }
        }
    };
}

webhook_configuration!(
    ValidatingWebhookConfiguration,
    "validatingwebhookconfiguration",
    |_: &mut k8s_openapi::api::admissionregistration::v1::ValidatingWebhook| {}
);
webhook_configuration!(
    MutatingWebhookConfiguration,
    "mutatingwebhookconfiguration",
    |webhook: &mut k8s_openapi::api::admissionregistration::v1::MutatingWebhook| {
        defaults::text(&mut webhook.reinvocation_policy, "Never");
    }
);

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_stored, create};

    const MUTATING: &str = "{metadata: {name: a}, webhooks: [{name: a.example.com, sideEffects: None, \
        admissionReviewVersions: [v1], clientConfig: {service: {namespace: default, name: hook}}, rules: [{operations: \
        [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}]}";

    #[test]
    fn a_configuration_is_filled_in_and_is_a_row() {
        check_stored::<MutatingWebhookConfiguration>(
            MUTATING,
            expect![[r#"
            metadata:
              generation: 1
              name: a
            webhooks:
            - admissionReviewVersions:
              - v1
              clientConfig:
                service:
                  name: hook
                  namespace: default
                  port: 443
              failurePolicy: Fail
              matchPolicy: Equivalent
              name: a.example.com
              namespaceSelector: {}
              objectSelector: {}
              reinvocationPolicy: Never
              rules:
              - apiGroups:
                - ""
                apiVersions:
                - v1
                operations:
                - CREATE
                resources:
                - pods
                scope: "*"
              sideEffects: None
              timeoutSeconds: 10
        "#]],
        );
        let object = create::<MutatingWebhookConfiguration>(MUTATING).unwrap();
        check_row::<MutatingWebhookConfiguration>(
            object.as_ref(),
            expect![[r#"
            Name: "a"
            Webhooks: 1
            Age: "0s""#]],
        );
    }

    #[test]
    fn broken_configurations_are_told_what_is_wrong() {
        check_invalid::<ValidatingWebhookConfiguration>(
            "{metadata: {name: a}, webhooks: [{name: a, sideEffects: Some, timeoutSeconds: 60, failurePolicy: Wait}]}",
            expect![[r#"
                webhooks[0].name: Invalid value: "a": should be a domain with at least three segments separated by dots
                webhooks[0].clientConfig: Required value: exactly one of url or service is required
                webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1
                webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"
                webhooks[0].failurePolicy: Unsupported value: "Wait": supported values: "Fail", "Ignore"
                webhooks[0].timeoutSeconds: Invalid value: 60: the timeout value must be between 1 and 30 seconds"#]],
        );
    }
}
