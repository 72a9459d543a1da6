//! LimitRange: what containers of a namespace get and may ask for.
//!
//! Rules: `pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation` (ValidateLimitRange).

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};

use crate::apps::workload::SPEC;
use crate::field_error::{FieldErrors, Path};
use crate::quantity::{self, Amount};
use crate::resource::{Declaration, Resource};
use crate::validation;

impl Resource for LimitRange {
    fn declaration() -> Declaration {
        Declaration {
            create_on_update: true,
            inert: Some("LimitRange has no effect yet: it is stored only"),
            ..Declaration::of::<Self>("limitrange").short_names(&["limits"])
        }
    }

    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default().limits.iter_mut().for_each(default_item);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let list = SPEC.child("limits");
        for (index, item) in self.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            validate_item(item, &list.index(index), errors);
        }
    }
}

/// A container gets what it may have at most, and asks for what it gets, unless the range says otherwise.
fn default_item(item: &mut LimitRangeItem) {
    let maps = [
        &mut item.max,
        &mut item.min,
        &mut item.default,
        &mut item.default_request,
        &mut item.max_limit_request_ratio,
    ];
    maps.into_iter().flatten().flatten().for_each(|(_, amount)| quantity::canonicalize(amount));
    if item.type_ != "Container" {
        return;
    }
    for (from, into) in [(item.max.clone(), &mut item.default)] {
        for (name, amount) in from.into_iter().flatten() {
            into.get_or_insert_default().entry(name).or_insert(amount);
        }
    }
    let asked = item.default.clone().into_iter().flatten().chain(item.min.clone().into_iter().flatten());
    for (name, amount) in asked {
        item.default_request.get_or_insert_default().entry(name).or_insert(amount);
    }
}

fn validate_item(item: &LimitRangeItem, path: &Path<'_>, errors: &mut FieldErrors) {
    let known = &["Container", "PersistentVolumeClaim", "Pod"];
    validation::required_word(&path.child("type"), Some(&item.type_), known, errors);
    if item.type_ == "Pod" {
        for (field, is_set) in
            [("default", item.default.is_some()), ("defaultRequest", item.default_request.is_some())]
        {
            if is_set {
                errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    let value = |map: &Option<_>, name: &String| -> Option<Amount> {
        let map: &std::collections::BTreeMap<String, _> = map.as_ref()?;
        let amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = map.get(name)?;
        Amount::parse(&amount.0).ok()
    };
    for (name, least) in item.min.iter().flatten() {
        let (low, high) = (value(&item.min, name), value(&item.max, name));
        if let (Some(low), Some(high)) = (low, high)
            && low.value() > high.value()
        {
            let detail = format!("min value {} is greater than max value {}", least.0, high.value());
            errors.invalid(&path.child("min").key(name), &least.0, &detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_stored};

    #[test]
    fn a_range_gives_what_it_allows_at_most() {
        check_stored::<LimitRange>(
            "{metadata: {name: a}, spec: {limits: [{type: Container, max: {cpu: 1000m}, min: {memory: 1Mi}}]}}",
            expect![[r#"
                metadata:
                  name: a
                spec:
                  limits:
                  - default:
                      cpu: "1"
                    defaultRequest:
                      cpu: "1"
                      memory: 1Mi
                    max:
                      cpu: "1"
                    min:
                      memory: 1Mi
                    type: Container
            "#]],
        );
        check_invalid::<LimitRange>(
            "{metadata: {name: a}, spec: {limits: [{type: Pod, default: {cpu: 1}, min: {cpu: 2}, max: {cpu: 1}}, {type: House}]}}",
            expect![[r#"
                spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'
                spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1
                spec.limits[1].type: Unsupported value: "House": supported values: "Container", "PersistentVolumeClaim", "Pod""#]],
        );
    }
}
