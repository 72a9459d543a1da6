//! Secret: configuration that is not for everyone's eyes.
//!
//! Rules: <https://kubernetes.io/docs/concepts/configuration/secret/>, `pkg/apis/core/validation`
//! (ValidateSecret, ValidateSecretUpdate).

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use serde::de::IgnoredAny;

use super::config_map::{DATA_MAX_BYTES, check_key};
use crate::defaults;
use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, age};

const DATA: Path<'_> = Path::new("data");

impl Resource for Secret {
    const SELECTABLE: &'static [&'static str] = &["type"];

    fn declaration() -> Declaration {
        Declaration::of::<Self>("secret")
    }

    /// `stringData` is for writing only: it is folded into `data` and wins over it.
    fn set_defaults(&mut self) {
        if let Some(texts) = self.string_data.take().filter(|texts| !texts.is_empty()) {
            let data = self.data.get_or_insert_default();
            data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
        }
        defaults::text(&mut self.type_, "Opaque");
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let mut size = 0;
        for (key, value) in self.data.iter().flatten() {
            check_key(&DATA, key, errors);
            size += value.0.len();
        }
        if size > DATA_MAX_BYTES {
            errors.too_long(&DATA, DATA_MAX_BYTES);
        }
        check_type(self, errors);
    }

    fn validate_update(&self, old: &Self, _: Target, errors: &mut FieldErrors) {
        meta::immutable(&Path::new("type"), &self.type_, &old.type_, errors);
        if old.immutable != Some(true) {
            return;
        }
        let detail = "field is immutable when `immutable` is set";
        if self.immutable != Some(true) {
            errors.forbidden(&Path::new("immutable"), detail);
        }
        if self.data != old.data {
            errors.forbidden(&DATA, detail);
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::NAME,
            Column::text("Type", "What the secret is used for."),
            Column::text("Data", "The number of entries."),
            Column::AGE,
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(self.type_.as_deref()),
            Cell::from(self.data.as_ref().map_or(0, |data| data.len()).to_string()),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }

    fn field(&self, _label: &str) -> Cow<'_, str> {
        self.type_.as_deref().unwrap_or_default().into()
    }
}

/// The types that Kubernetes itself reads have keys that must be there.
fn check_type(secret: &Secret, errors: &mut FieldErrors) {
    match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            let name = secret.metadata.annotations.as_ref().and_then(|all| all.get(NAME));
            if name.is_none_or(String::is_empty) {
                errors.required(&Path::new("metadata").child("annotations").key(NAME), "");
            }
        }
        "kubernetes.io/dockercfg" => require_json(secret, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => require_json(secret, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth"
            if entry(secret, "username").is_none() && entry(secret, "password").is_none() =>
        {
            require(secret, &["username", "password"], errors);
        }
        "kubernetes.io/ssh-auth" if entry(secret, "ssh-privatekey").is_none_or(<[u8]>::is_empty) => {
            errors.required(&DATA.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => require(secret, &["tls.crt", "tls.key"], errors),
        _ => {}
    }
}

fn require(secret: &Secret, keys: &[&str], errors: &mut FieldErrors) {
    for key in keys.iter().filter(|key| entry(secret, key).is_none()) {
        errors.required(&DATA.key(key), "");
    }
}

fn require_json(secret: &Secret, key: &str, errors: &mut FieldErrors) {
    match entry(secret, key) {
        None => errors.required(&DATA.key(key), ""),
        Some(bytes) => {
            if let Err(error) = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(bytes) {
                errors.invalid(&DATA.key(key), "<secret contents redacted>", &error.to_string());
            }
        }
    }
}

fn entry<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}

#[cfg(test)]
mod tests;
