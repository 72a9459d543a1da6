//! The query string, decoded once, and how Kubernetes reads its values.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// More parameters than this are not read.
const PARAMETERS_MAX: usize = 256;

/// Decoded parameters in the order in which they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`; what is no UTF-8 after decoding is replaced, as it can match nothing.
    pub(crate) fn parse(raw: Option<&str>) -> Query {
        let pairs = raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS_MAX);
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of a parameter, also when empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The one value that the field selector lets a field have. Only what is told apart without doubt.
    pub(crate) fn selected(&self, field: &str) -> Option<&str> {
        let selector = self.text("fieldSelector").filter(|selector| !selector.contains('\\'))?;
        let value = selector.split(',').find_map(|term| {
            let rest = term.trim().strip_prefix(field)?.trim_start();
            rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))
        });
        value.map(str::trim).filter(|value| !value.is_empty() && !value.contains('='))
    }

    /// A boolean as Kubernetes reads it: absent is `None`; `false`, `f` and `0` are false, all else is true.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| {
            !(value == "0" || value.eq_ignore_ascii_case("false") || value.eq_ignore_ascii_case("f"))
        })
    }

    /// A boolean that is false when absent.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.flag(name).unwrap_or(false)
    }

    /// An integer; `Err` holds what could not be read as one.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, &str> {
        self.text(name).map(|value| value.parse().map_err(|_| value)).transpose()
    }
}

fn decode(raw: &str) -> String {
    let spaced: Cow<'_, str> = if raw.contains('+') { raw.replace('+', " ").into() } else { raw.into() };
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc+in+%28d%29&watch&limit=5&x=1&x=2"));
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert_eq!(query.get("watch"), Some(""));
        assert_eq!(query.integer("limit"), Ok(Some(5)));
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("nothing"), None);
        assert_eq!(Query::parse(None), Query::default());
    }

    #[test]
    fn a_field_selector_tells_the_value_it_insists_on() {
        for (selector, expected) in [
            ("metadata.name%3Da", Some("a")),
            ("x%3Dy,metadata.name%3D%3Da", Some("a")),
            ("metadata.name!%3Da", None),
            ("metadata.names%3Da", None),
            ("metadata.name%3D", None),
            ("metadata.name%3Da%5C,b", None),
            ("metadata.name%3D%3D%3Da", None),
        ] {
            let query = Query::parse(Some(&format!("fieldSelector={selector}")));
            assert_eq!(query.selected("metadata.name"), expected, "{selector}");
        }
    }

    #[test]
    fn booleans_are_true_unless_they_say_no() {
        for (raw, expected) in [
            ("", None),
            ("w=", Some(true)),
            ("w", Some(true)),
            ("w=1", Some(true)),
            ("w=t", Some(true)),
            ("w=true", Some(true)),
            ("w=0", Some(false)),
            ("w=f", Some(false)),
            ("w=False", Some(false)),
        ] {
            assert_eq!(Query::parse(Some(raw)).flag("w"), expected, "{raw}");
        }
    }

    #[test]
    fn a_bad_integer_is_told() {
        assert_eq!(Query::parse(Some("limit=many")).integer("limit"), Err("many"));
        assert_eq!(Query::parse(Some("limit=")).integer("limit"), Ok(None));
    }

    #[test]
    fn too_many_parameters_are_cut() {
        let raw = vec!["a=b"; 1000].join("&");
        assert_eq!(Query::parse(Some(&raw)).0.len(), PARAMETERS_MAX);
    }
}
