//! ConfigMap: configuration that pods read as files or environment.
//!
//! Rules: <https://kubernetes.io/docs/concepts/configuration/configmap/>, `pkg/apis/core/validation`
//! (ValidateConfigMap, ValidateConfigMapUpdate).

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;

use crate::field_error::{FieldErrors, Path};
use crate::meta;
use crate::resource::{Declaration, Resource, Target};
use crate::table::{Cell, Column, age};

/// Keys and values of a ConfigMap or Secret together: what fits a log entry and a node's memory many times.
pub(crate) const DATA_MAX_BYTES: usize = 1024 * 1024;

impl Resource for ConfigMap {
    fn declaration() -> Declaration {
        Declaration::of::<Self>("configmap").short_names(&["cm"])
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let (data, binary) = (Path::new("data"), Path::new("binaryData"));
        let mut size = 0;
        for (key, value) in self.data.iter().flatten() {
            check_key(&data, key, errors);
            if self.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&data.key(key), key, "duplicate of key present in binaryData");
            }
            size += value.len();
        }
        for (key, value) in self.binary_data.iter().flatten() {
            check_key(&binary, key, errors);
            size += value.0.len();
        }
        if size > DATA_MAX_BYTES {
            // The whole object is at fault, so upstream names no field.
            errors.too_long(&Path::new(""), DATA_MAX_BYTES);
        }
    }

    fn validate_update(&self, old: &Self, _: Target, errors: &mut FieldErrors) {
        if old.immutable != Some(true) {
            return;
        }
        let detail = "field is immutable when `immutable` is set";
        if self.immutable != Some(true) {
            errors.forbidden(&Path::new("immutable"), detail);
        }
        if self.data != old.data {
            errors.forbidden(&Path::new("data"), detail);
        }
        if self.binary_data != old.binary_data {
            errors.forbidden(&Path::new("binaryData"), detail);
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Data", "The number of entries in data and binaryData."), Column::AGE]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let entries =
            self.data.as_ref().map_or(0, |d| d.len()) + self.binary_data.as_ref().map_or(0, |d| d.len());
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(entries.to_string()),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

/// A key becomes a file name.
pub(crate) fn check_key(path: &Path<'_>, key: &str, errors: &mut FieldErrors) {
    for fault in meta::is_config_key(key).err().unwrap_or_default() {
        errors.invalid(&path.key(key), key, &fault);
    }
}

#[cfg(test)]
mod tests;
