//! PATCH with `application/apply-patch+yaml`: server-side apply.

use http::StatusCode;
use isopod_spec::apply::OnConflict;
use isopod_spec::decode::DecodeError;
use isopod_spec::decode::strict::{Finding, Findings, strict_check};
use isopod_spec::decode::yaml::yaml_to_json;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::resource::Target;
use isopod_spec::schema;
use isopod_spec::status::{GroupKind, Reason, Status};
use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::{Value, json};

use super::call::{Call, FieldValidation};
use super::create::{view, written_reply};
use super::reply::Reply;
use super::scale::check_replicas;
use super::{Addressed, Api};
use crate::objects::{Change, Configuration, Written, corrupt, untyped};
use crate::security::{Attributes, Decision, ResourceAttributes};

/// Times that an object may vanish and appear again under one request.
const TRIES_MAX: usize = 4;

/// Applies the configuration in the body to what `target` names of an object, which is made when there is none.
pub(crate) async fn apply(
    api: &Api,
    on: &Addressed<'_>,
    target: Target,
    call: &mut Call,
) -> Result<Reply, Status> {
    let (view, validation) = (view(on.kind, call)?, call.field_validation()?);
    require_manager(call)?;
    let body = call.read_body().await?;
    let expected = Expected {
        api_version: on.kind.api_version(),
        kind: &on.kind.kind,
        findings: &|json| on.kind.findings(json),
    };
    let Body { tree, mut warnings } = read(on, &expected, validation, &body)?;
    let config = Configuration { json: tree.to_string(), on_conflict: on_conflict(call) };
    let written = write(api, on, target, call, &config).await?;
    warnings.extend(written.object.warnings());
    warnings.extend(on.kind.inert.map(str::to_owned));
    Ok(written_reply(&view, &written)?.warn(warnings))
}

/// Applies a Scale to a workload: the manager then owns the number of replicas.
pub(crate) async fn scale(api: &Api, on: &Addressed<'_>, call: &mut Call) -> Result<Reply, Status> {
    let validation = call.field_validation()?;
    require_manager(call)?;
    let body = call.read_body().await?;
    let schema = schema::message("autoscaling", "v1", "Scale");
    let expected = Expected {
        api_version: "autoscaling/v1",
        kind: "Scale",
        findings: &|json| schema.map(|schema| strict_check(json, schema)).transpose(),
    };
    let Body { tree, warnings } = read(on, &expected, validation, &body)?;
    let config = Configuration { json: of_workload(on, &tree)?.to_string(), on_conflict: on_conflict(call) };
    let written = write(api, on, Target::Scale, call, &config).await?;
    let scale: Scale = written.object.scale().ok_or_else(Status::no_such_resource)?;
    let json = serde_json::to_vec(&scale).map_err(|error| corrupt(&error))?;
    Ok(Reply::json(StatusCode::OK, json).warn(warnings))
}

/// What a Scale says, in the fields of the workload that it is the scale of.
fn of_workload(on: &Addressed<'_>, scale: &Value) -> Result<Value, Status> {
    let identity = ["name", "namespace", "resourceVersion", "uid"].into_iter();
    let metadata: serde_json::Map<String, Value> =
        identity.filter_map(|name| Some((name.to_owned(), scale["metadata"].get(name)?.clone()))).collect();
    let mut workload =
        json!({"apiVersion": on.kind.api_version(), "kind": on.kind.kind, "metadata": metadata});
    if let Some(replicas) = scale["spec"].get("replicas") {
        check_replicas(on.name, replicas.as_i64().unwrap_or(0))?;
        workload["spec"] = json!({"replicas": replicas});
    }
    Ok(workload)
}

async fn write(
    api: &Api,
    on: &Addressed<'_>,
    target: Target,
    call: &Call,
    config: &Configuration,
) -> Result<Written, Status> {
    let (objects, commit) = (api.objects.managed_by(&call.field_manager()?), call.commit()?);
    let change = Change { kind: on.kind, namespace: on.namespace, name: on.name, target, commit };
    let caller = api.caller(call);
    for _ in 0..TRIES_MAX {
        let may = |stored: &_, object: &_| caller.may_replace(on.kind, stored, object);
        match objects.apply_to_stored(&change, config, may).await {
            Err(status) if status.reason == Reason::NotFound && target == Target::Main => {}
            outcome => return outcome,
        }
        may_create(api, on, call).await?;
        let may = |object: &_| caller.may_create(on.kind, on.namespace, object);
        match objects.apply_as_new(on.kind, (on.namespace, on.name), config, commit, may).await {
            Err(status) if status.reason == Reason::AlreadyExists => {}
            outcome => return outcome,
        }
    }
    Err(Status::server_timeout(&**on.kind, "patch", 1))
}

/// Who may patch may not by that alone create.
async fn may_create(api: &Api, on: &Addressed<'_>, call: &Call) -> Result<(), Status> {
    let attributes = Attributes::Resource(ResourceAttributes {
        verb: "create",
        group: &on.kind.group,
        resource: &on.kind.plural,
        namespace: on.namespace,
        name: on.name,
        ..ResourceAttributes::default()
    });
    match api.access.authorize(&call.identity, &attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) => Err(Status::forbidden(&**on.kind, on.name, &why)),
    }
}

fn require_manager(call: &Call) -> Result<(), Status> {
    if call.query.text("fieldManager").is_some() {
        return Ok(());
    }
    let mut errors = FieldErrors::new();
    errors.required(&Path::new("fieldManager"), "is required for apply patch");
    Err(Status::invalid(GroupKind { group: "meta.k8s.io", kind: "PatchOptions" }, "", &errors))
}

fn on_conflict(call: &Call) -> OnConflict {
    if call.query.is_set("force") { OnConflict::Take } else { OnConflict::Refuse }
}

/// A configuration as it was sent.
struct Body {
    tree: Value,
    warnings: Vec<String>,
}

/// Says what of a body its type has not; `None` where there is no type.
type FindFields<'a> = dyn Fn(&[u8]) -> Result<Option<Findings>, DecodeError> + Sync + 'a;

/// The kind of body that a path takes.
struct Expected<'a> {
    api_version: &'a str,
    kind: &'a str,
    /// What of a body its type has not.
    findings: &'a FindFields<'a>,
}

/// Reads a body, YAML or JSON, that must be of the kind that the path means.
fn read(
    on: &Addressed<'_>,
    expected: &Expected<'_>,
    validation: FieldValidation,
    body: &[u8],
) -> Result<Body, Status> {
    let malformed = |text: String| Status::bad_request(format!("error decoding YAML: {text}"));
    let mut json = yaml_to_json(body).map_err(|error| malformed(error.detail()))?;
    let mut warnings = Vec::new();
    let findings = (expected.findings)(&json).map_err(|error| match error {
        DecodeError::Json(_) => malformed(error.detail()),
        error => untyped(on.kind, (on.namespace, on.name), &error.to_string()),
    })?;
    if let Some(findings) = findings {
        warnings = report(on, &findings, validation)?;
        if let Some(repaired) = findings.repaired {
            json = repaired;
        }
    }
    let tree: Value = serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
    let given = |name: &str| tree.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (given("apiVersion"), given("kind"));
    if (api_version, kind) != (expected.api_version, expected.kind) {
        return Err(Status::bad_request(format!(
            "invalid object type: {api_version}, Kind={kind} (the path takes {}, Kind={})",
            expected.api_version, expected.kind
        )));
    }
    if tree.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(Body { tree, warnings })
}

/// Unknown fields, which cannot be owned, are an error whatever the validation; duplicate ones are warnings, or under
/// `Strict` an error.
fn report(
    on: &Addressed<'_>,
    findings: &Findings,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    let (mut unknown, mut duplicates) = (Vec::new(), Vec::new());
    for finding in &findings.fields {
        match finding {
            Finding::Unknown(path) => unknown.push(format!(".{path}: field not declared in schema")),
            Finding::Duplicate(_) => duplicates.push(finding.to_string()),
        }
    }
    let refused = |why: &str| untyped(on.kind, (on.namespace, on.name), why);
    match (&unknown[..], validation) {
        ([only], _) => Err(refused(only)),
        ([_, ..], _) => Err(refused(&format!("errors:\n  {}", unknown.join("\n  ")))),
        ([], FieldValidation::Ignore) => Ok(Vec::new()),
        ([], FieldValidation::Strict) if !duplicates.is_empty() => {
            Err(Status::bad_request(format!("error strict decoding YAML: {}", duplicates.join(", "))))
        }
        ([], _) => Ok(duplicates),
    }
}
