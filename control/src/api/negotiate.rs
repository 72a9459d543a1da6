//! What the client can read (`Accept`), and in what its body is written (`Content-Type`).
//!
//! Objects are answered in JSON, in one of three forms: as they are, as a Table of printer columns, or as
//! metadata alone. Discovery has a form of its own.

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As they are.
    Object,
    /// `as=Table`
    Table,
    /// `as=PartialObjectMetadata` and `…List`
    Partial,
}

/// How much of each object goes with a Table's row (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata: the default.
    Metadata,
    /// All of it.
    Object,
}

/// Form of `/api` and `/apis`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryForm {
    /// `APIVersions` and `APIGroupList`, with a request for each group version to follow.
    Plain,
    /// Everything in one `APIGroupDiscoveryList`.
    Aggregated,
}

/// In what a request body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// At most this many entries of an `Accept` header are looked at.
const RANGES_MAX: usize = 32;

/// One entry of an `Accept` header.
#[derive(Debug)]
struct Range<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(entry: &'a str) -> Range<'a> {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                name => parameters.push((name, value.trim().trim_matches('"'))),
            }
        }
        Range { media, parameters, quality }
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    fn takes_json(&self) -> bool {
        matches!(self.media, "application/json" | "application/*" | "*/*")
    }

    /// The object form this entry asks for; `None` when we cannot give it.
    fn form(&self) -> Option<Form> {
        let meta = self.parameter("g") == "meta.k8s.io" && matches!(self.parameter("v"), "v1" | "v1beta1");
        match self.parameter("as") {
            "" => Some(Form::Object),
            "Table" if meta => Some(Form::Table),
            "PartialObjectMetadata" | "PartialObjectMetadataList" if meta => Some(Form::Partial),
            _ => None,
        }
    }

    fn discovery_form(&self) -> Option<DiscoveryForm> {
        match (self.parameter("as"), self.parameter("g"), self.parameter("v")) {
            ("", _, _) => Some(DiscoveryForm::Plain),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Some(DiscoveryForm::Aggregated),
            _ => None,
        }
    }
}

/// Entries by falling quality; equals keep the client's order.
fn ranges(accept: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = accept
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .take(RANGES_MAX)
        .map(Range::parse)
        .filter(|range| range.quality > 0.0)
        .collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    ranges
}

fn first<T>(accept: Option<&str>, default: T, pick: impl Fn(&Range<'_>) -> Option<T>) -> Option<T> {
    match accept.map(str::trim).filter(|accept| !accept.is_empty()) {
        None => Some(default),
        Some(accept) => ranges(accept).iter().filter(|range| range.takes_json()).find_map(pick),
    }
}

/// The form in which objects are answered; `None` = nothing the client takes can be given (406).
pub(crate) fn object_form(accept: Option<&str>) -> Option<Form> {
    first(accept, Form::Object, |range| range.form())
}

/// The form of the discovery documents; `None` = 406.
pub(crate) fn discovery_form(accept: Option<&str>) -> Option<DiscoveryForm> {
    first(accept, DiscoveryForm::Plain, |range| range.discovery_form())
}

/// Whether plain JSON, in no special form, is among what the client takes.
pub(crate) fn takes_plain_json(accept: Option<&str>) -> bool {
    first(accept, (), |range| range.parameter("as").is_empty().then_some(())).is_some()
}

/// `includeObject` of a Table; `None` when the value is unknown (400).
pub(crate) fn include_object(value: Option<&str>) -> Option<IncludeObject> {
    match value {
        None | Some("" | "Metadata") => Some(IncludeObject::Metadata),
        Some("None") => Some(IncludeObject::None),
        Some("Object") => Some(IncludeObject::Object),
        Some(_) => None,
    }
}

/// The type of a body; JSON when the client does not say. `None` = 415.
pub(crate) fn media_type(content_type: Option<&str>) -> Option<MediaType> {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "" | "application/json" | "*/*" => Some(MediaType::Json),
        "application/yaml" => Some(MediaType::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(MediaType::Protobuf),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_can_be_given_is_taken() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, expected) in [
            (None, Some(Form::Object)),
            (Some(""), Some(Form::Object)),
            (Some("*/*"), Some(Form::Object)),
            (Some("application/json"), Some(Form::Object)),
            (Some("application/json;stream=watch"), Some(Form::Object)),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Some(Form::Object)),
            (Some("application/vnd.kubernetes.protobuf, */*"), Some(Form::Object)),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("text/html"), None),
            (Some(kubectl), Some(Form::Table)),
            (Some("application/json;as=Table;v=v2;g=meta.k8s.io"), None),
            (Some("application/json;as=Table;v=v2;g=meta.k8s.io,application/json"), Some(Form::Object)),
            (
                Some(
                    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                     application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
                ),
                Some(Form::Partial),
            ),
            (
                Some("application/json;q=0.1,application/json;as=Table;g=meta.k8s.io;v=v1;q=0.9"),
                Some(Form::Table),
            ),
            (Some("application/json;q=0"), None),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Some(Form::Object)),
        ] {
            assert_eq!(object_form(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn aggregated_discovery_is_given_to_those_who_name_version_2() {
        let both = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        for (accept, expected) in [
            (None, Some(DiscoveryForm::Plain)),
            (Some(both), Some(DiscoveryForm::Aggregated)),
            (
                Some(
                    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                ),
                Some(DiscoveryForm::Plain),
            ),
            (
                Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer"),
                Some(DiscoveryForm::Aggregated),
            ),
            (Some("application/xml"), None),
        ] {
            assert_eq!(discovery_form(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn bodies_are_json_yaml_or_protobuf() {
        for (content_type, expected) in [
            (None, Some(MediaType::Json)),
            (Some("application/json; charset=utf-8"), Some(MediaType::Json)),
            (Some("Application/JSON"), Some(MediaType::Json)),
            (Some("application/yaml"), Some(MediaType::Yaml)),
            (Some("application/vnd.kubernetes.protobuf"), Some(MediaType::Protobuf)),
            (Some("application/cbor"), None),
            (Some("text/plain"), None),
        ] {
            assert_eq!(media_type(content_type), expected, "{content_type:?}");
        }
    }

    #[test]
    fn a_flood_of_entries_is_cut() {
        let accept = format!("{}application/json", "text/html,".repeat(100));
        assert_eq!(object_form(Some(&accept)), None);
    }
}
