//! Label selectors of API objects, evaluated in place.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use super::facts;

/// True when the object's labels match. An empty selector matches everything.
pub(crate) fn selects(selector: &LabelSelector, meta: &ObjectMeta) -> bool {
    let pairs = selector.match_labels.iter().all(|wanted| facts::has_labels(meta, wanted));
    pairs && selector.match_expressions.iter().flatten().all(|requirement| holds(requirement, meta))
}

/// An unknown operator matches nothing; validation keeps it out.
fn holds(requirement: &LabelSelectorRequirement, meta: &ObjectMeta) -> bool {
    let value = facts::label(meta, &requirement.key);
    let listed = |value: &str| requirement.values.iter().flatten().any(|listed| listed == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_and_pairs_must_all_hold() {
        let meta = ObjectMeta {
            labels: Some(
                [("app", "web"), ("tier", "front")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ),
            ..ObjectMeta::default()
        };
        for (key, operator, values, expected) in [
            ("app", "In", vec!["web", "db"], true),
            ("app", "In", vec!["db"], false),
            ("app", "NotIn", vec!["db"], true),
            ("zone", "NotIn", vec!["a"], true),
            ("app", "Exists", vec![], true),
            ("zone", "Exists", vec![], false),
            ("zone", "DoesNotExist", vec![], true),
            ("app", "Near", vec![], false),
        ] {
            let requirement = LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.into_iter().map(str::to_owned).collect()),
            };
            let selector = LabelSelector {
                match_expressions: Some(vec![requirement]),
                match_labels: Some([("tier".to_owned(), "front".to_owned())].into()),
            };
            assert_eq!(selects(&selector, &meta), expected, "{key} {operator}");
        }
        assert!(selects(&LabelSelector::default(), &meta));
    }
}
