//! Checks that many kinds share: ranges, known words, addresses, ports.
//!
//! Wording follows `k8s.io/apimachinery/pkg/util/validation`.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field_error::{FieldErrors, Path, Shown};
use crate::meta;

/// Transport protocols a port can have.
pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Says so when a number is below zero.
pub(crate) fn nonnegative(path: &Path<'_>, value: Option<i64>, errors: &mut FieldErrors) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// Says so when a number is outside `min..=max`.
pub(crate) fn within(path: &Path<'_>, value: i64, min: i64, max: i64, errors: &mut FieldErrors) {
    if !(min..=max).contains(&value) {
        errors.invalid(path, value, &format!("must be between {min} and {max}, inclusive"));
    }
}

/// A port number, 1 to 65535.
pub(crate) fn port(path: &Path<'_>, number: i32, errors: &mut FieldErrors) {
    within(path, number.into(), 1, 65535, errors);
}

/// A port by number or by name.
pub(crate) fn port_or_name(path: &Path<'_>, port_or_name: &IntOrString, errors: &mut FieldErrors) {
    match port_or_name {
        IntOrString::Int(number) => port(path, *number, errors),
        IntOrString::String(name) => {
            for fault in meta::port_name_faults(name) {
                errors.invalid(path, name, &fault);
            }
        }
    }
}

/// A word that must be there and be one of `known`.
pub(crate) fn required_word(
    path: &Path<'_>,
    value: Option<&String>,
    known: &[&str],
    errors: &mut FieldErrors,
) {
    match value.map(String::as_str).unwrap_or_default() {
        "" => errors.required(path, ""),
        _ => optional_word(path, value, known, errors),
    }
}

/// A word that, if there, must be one of `known`.
pub(crate) fn optional_word(
    path: &Path<'_>,
    value: Option<&String>,
    known: &[&str],
    errors: &mut FieldErrors,
) {
    if let Some(value) = value.filter(|value| !value.is_empty() && !known.contains(&value.as_str())) {
        errors.not_supported(path, value, known);
    }
}

/// An IP address, v4 or v6.
pub(crate) fn ip_address(path: &Path<'_>, value: &str, errors: &mut FieldErrors) {
    if value.parse::<IpAddr>().is_err() {
        errors.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/// Text by one of the syntaxes of [`crate::meta`].
pub(crate) fn syntax(
    path: &Path<'_>,
    value: &str,
    faults: fn(&str) -> Vec<String>,
    errors: &mut FieldErrors,
) {
    for fault in faults(value) {
        errors.invalid(path, value, &fault);
    }
}

/// A number that is no less than zero, or a percentage.
pub(crate) fn nonnegative_or_percent(path: &Path<'_>, value: &IntOrString, errors: &mut FieldErrors) {
    match value {
        IntOrString::Int(number) => nonnegative(path, Some((*number).into()), errors),
        IntOrString::String(text) if percent(text).is_none() => errors.invalid(
            path,
            text,
            "a valid percent string must be a numeric value followed by an ending '%' (e.g. '1%',  or '93%', \
             regex used for validation is '[0-9]+%')",
        ),
        IntOrString::String(_) => {}
    }
}

/// The number of a percentage: 25 for `25%`.
pub(crate) fn percent(text: &str) -> Option<u32> {
    text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The number, or that of the percentage; 0 for anything else.
pub(crate) fn count_or_percent(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => percent(text).map_or(0, i64::from),
    }
}

/// The value of a field that is a number or a text, as it is shown.
pub(crate) fn shown_port(value: &IntOrString) -> Shown {
    match value {
        IntOrString::Int(number) => Shown::from(*number),
        IntOrString::String(text) => Shown::from(text),
    }
}
