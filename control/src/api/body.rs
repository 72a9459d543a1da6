//! From the bytes of a body to the object they mean: JSON, YAML and Kubernetes' protobuf all become JSON here, and
//! are decoded once.

use std::borrow::Cow;

use bytes::Bytes;
use isopod_spec::decode::protobuf::protobuf_to_json;
use isopod_spec::decode::strict::{Finding, Findings, duplicate_check};
use isopod_spec::decode::yaml::yaml_to_json;
use isopod_spec::resource::{Kind, Object};
use isopod_spec::status::Status;
use serde::de::DeserializeOwned;

use super::call::{Call, FieldValidation};
use super::negotiate::MediaType;

/// An object of a request.
pub(crate) struct Decoded {
    /// The object.
    pub(crate) object: Box<dyn Object>,
    /// What the client should be told about it.
    pub(crate) warnings: Vec<String>,
}

/// Reads the object in the body of `call`.
pub(crate) async fn object(call: &mut Call, kind: &Kind) -> Result<Decoded, Status> {
    let validation = call.field_validation()?;
    let json = json(call, &kind.kind).await?;
    decode(kind, &json, validation)
}

/// Decodes an object: its fields are checked against the schema, then it becomes its type.
pub(crate) fn decode(kind: &Kind, json: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    let Checked { json, mut warnings } = check_fields(kind, json, validation).map_err(|mut status| {
        if status.message.starts_with("strict decoding error") {
            let (name, version) = (&kind.kind, &kind.version);
            let what = format!("{name} in version {version:?} cannot be handled as a {name}");
            status.message = format!("{what}: {}", status.message);
        }
        status
    })?;
    let object = kind.decode(&json)?;
    warnings.extend(object.warnings());
    warnings.extend(kind.inert.map(str::to_owned));
    Ok(Decoded { object, warnings })
}

/// Reads a body that is no stored object (`DeleteOptions`, `Scale`, `Binding`); `None` when there is none.
pub(crate) async fn other<T: DeserializeOwned>(call: &mut Call, what: &str) -> Result<Option<T>, Status> {
    let json = json(call, what).await?;
    if json.is_empty() {
        return Ok(None);
    }
    let decoded = serde_json::from_slice(&json);
    decoded.map(Some).map_err(|error| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type {what}): {error}"))
    })
}

/// The body as JSON; `expected` names the kind in errors.
async fn json(call: &mut Call, expected: &str) -> Result<Bytes, Status> {
    let media_type = call.media_type()?;
    let bytes = call.read_body().await?;
    let converted = match media_type {
        _ if bytes.is_empty() => return Ok(bytes),
        MediaType::Json => return Ok(bytes),
        MediaType::Yaml => yaml_to_json(&bytes),
        MediaType::Protobuf => protobuf_to_json(&bytes).map(|decoded| decoded.json),
    };
    converted.map(Bytes::from).map_err(|error| Status::bad_request(error.message(expected, None, &bytes)))
}

/// A body whose fields were checked.
pub(crate) struct Checked<'j> {
    /// The body to decode: as it was, unless it had to be mended.
    pub(crate) json: Cow<'j, [u8]>,
    /// Unknown and duplicate fields.
    pub(crate) warnings: Vec<String>,
}

/// Checks that values have the types of their fields. Unknown and duplicate fields are warnings, or under `Strict`
/// an error.
pub(crate) fn check_fields<'j>(
    kind: &Kind,
    json: &'j [u8],
    validation: FieldValidation,
) -> Result<Checked<'j>, Status> {
    let findings = kind.findings(json).map_err(|error| {
        Status::bad_request(error.message(&kind.kind, Some((&kind.kind, &kind.version)), json))
    })?;
    let Some(findings) = findings else {
        return Ok(Checked { json: Cow::Borrowed(json), warnings: Vec::new() });
    };
    let warnings = report(&findings, validation)?;
    let json = findings.repaired.map_or(Cow::Borrowed(json), Cow::Owned);
    Ok(Checked { json, warnings })
}

/// Fields of a patch that occur twice, as warnings or under `Strict` as an error.
pub(crate) fn check_patch(patch: &[u8], validation: FieldValidation) -> Result<Vec<String>, Status> {
    let findings = duplicate_check(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {}", error.detail())))?;
    report(&findings, validation)
}

fn report(findings: &Findings, validation: FieldValidation) -> Result<Vec<String>, Status> {
    match (validation, findings.strict_error()) {
        (FieldValidation::Ignore, _) => Ok(Vec::new()),
        (FieldValidation::Strict, Some(error)) => Err(Status::bad_request(error)),
        _ => Ok(findings.fields.iter().map(Finding::to_string).collect()),
    }
}
