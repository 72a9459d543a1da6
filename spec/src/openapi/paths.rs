//! `paths`: the operations of each kind, with the parameters and media types by which clients tell what we can do.

use serde_json::{Map, Value, json};

use super::GroupVersion;
use super::schemas::Schemas;
use crate::resource::{Kind, Scope, Subresource};

type Paths = Map<String, Value>;

/// The media types of patches that the verbs know.
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Query parameters and their types.
type Parameters = &'static [(&'static str, &'static str)];

const LIST: Parameters = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: Parameters = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: Parameters =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: Parameters = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const DELETE_COLLECTION: Parameters = &[
    ("continue", "string"),
    ("dryRun", "string"),
    ("fieldSelector", "string"),
    ("gracePeriodSeconds", "integer"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
];
const LOG: Parameters = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];
const PORT_FORWARD: Parameters = &[("ports", "integer")];

/// Adds the paths of a kind and the schemas they need.
pub(super) fn add_kind(paths: &mut Paths, schemas: &mut Schemas<'_>, served: &GroupVersion, kind: &Kind) {
    let namespaced = kind.scope == Scope::Namespaced;
    let root = format!("/{}", served.root());
    let within = if namespaced { format!("{root}/namespaces/{{namespace}}") } else { root.clone() };
    let operations = Operations {
        served,
        group_version_kind: (&kind.group, &kind.version, &kind.kind),
        noun: if namespaced { format!("Namespaced{}", kind.kind) } else { kind.kind.clone() },
        is_custom: kind.defined_by.is_some(),
    };
    let has = |verb: &str| kind.verbs.contains(&verb);
    let own = schemas.object(kind);
    let list = schemas.list(kind);
    let options = schemas.kind("", "v1", "DeleteOptions");
    let status = schemas.kind("", "v1", "Status");

    let mut collection = Map::new();
    if has("list") {
        collection.insert("get".to_owned(), operations.list(&list));
    }
    if has("create") {
        collection.insert("post".to_owned(), operations.write("create", "post", &own));
    }
    if has("deletecollection") {
        let all = Operations { noun: format!("Collection{}", operations.noun), ..operations };
        let operation = all.delete("deletecollection", DELETE_COLLECTION, &options, &status);
        collection.insert("delete".to_owned(), operation);
    }
    insert_path(paths, format!("{within}/{}", kind.plural), collection);

    let mut object = Map::new();
    if has("delete") {
        let answer = if kind.delete_returns_object { &own } else { &status };
        object.insert("delete".to_owned(), operations.delete("delete", DELETE, &options, answer));
    }
    operations.add_verbs(&mut object, schemas, kind.verbs, &own);
    let path = format!("{within}/{}/{{name}}", kind.plural);
    insert_path(paths, path.clone(), object);

    if namespaced && has("list") {
        let everywhere = Operations { noun: format!("{}ForAllNamespaces", kind.kind), ..operations };
        let item = Map::from_iter([("get".to_owned(), everywhere.list(&list))]);
        insert_path(paths, format!("{root}/{}", kind.plural), item);
    }
    for subresource in &kind.subresources {
        add_subresource(paths, schemas, served, kind, subresource, &path);
    }
}

fn add_subresource(
    paths: &mut Paths,
    schemas: &mut Schemas<'_>,
    served: &GroupVersion,
    kind: &Kind,
    subresource: &Subresource,
    object_path: &str,
) {
    let body = subresource.body.unwrap_or((&kind.group, &kind.version, &kind.kind));
    let namespaced = if kind.scope == Scope::Namespaced { "Namespaced" } else { "" };
    let noun = format!("{namespaced}{}{}", kind.kind, super::capitalized(subresource.name));
    let is_custom = kind.defined_by.is_some();
    let operations = Operations { served, group_version_kind: body, noun, is_custom };
    let mut item = Map::new();
    if subresource.streams {
        operations.add_streams(&mut item, subresource);
    } else {
        let schema = match subresource.body {
            Some((group, version, kind)) => schemas.kind(group, version, kind),
            None => schemas.object(kind),
        };
        operations.add_verbs(&mut item, schemas, subresource.verbs, &schema);
        if subresource.verbs.contains(&"create") {
            item.insert("post".to_owned(), operations.write("create", "post", &schema));
        }
    }
    insert_path(paths, format!("{object_path}/{}", subresource.name), item);
}

/// Adds the path that lists the resources of the group and version.
pub(super) fn add_discovery(paths: &mut Paths, schemas: &mut Schemas<'_>, served: &GroupVersion) {
    let schema = schemas.kind("", "v1", "APIResourceList");
    let operation = json!({
        "operationId": format!("get{}APIResources", served.camel_case()),
        "tags": [served.tag()],
        "responses": responses(&[("200", "OK")], &schema, JSON),
    });
    paths.insert(format!("/{}/", served.root()), json!({ "get": operation }));
}

/// Adds a path with the parameters that its placeholders are.
fn insert_path(paths: &mut Paths, path: String, mut item: Map<String, Value>) {
    if item.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    for name in ["name", "namespace"] {
        if path.contains(&format!("{{{name}}}")) {
            let schema = json!({"type": "string", "uniqueItems": true});
            parameters.push(json!({"in": "path", "name": name, "required": true, "schema": schema}));
        }
    }
    parameters.push(query_parameter("pretty", "string"));
    item.insert("parameters".to_owned(), Value::from(parameters));
    paths.insert(path, Value::Object(item));
}

fn query_parameter(name: &str, kind: &str) -> Value {
    json!({"in": "query", "name": name, "schema": {"type": kind, "uniqueItems": true}})
}

/// Makes the operations of one kind.
struct Operations<'k> {
    served: &'k GroupVersion,
    group_version_kind: (&'k str, &'k str, &'k str),
    /// The end of operation ids: `NamespacedPod`.
    noun: String,
    /// Whether the kind is a custom one, which takes no strategic merge patch.
    is_custom: bool,
}

const JSON: &[&str] = &["application/json"];
const JSON_AND_WATCH: &[&str] = &["application/json", "application/json;stream=watch"];

impl Operations<'_> {
    /// Adds what reads and changes one object.
    fn add_verbs(
        &self,
        item: &mut Map<String, Value>,
        schemas: &mut Schemas<'_>,
        verbs: &[&str],
        own: &Value,
    ) {
        let has = |verb: &str| verbs.contains(&verb);
        if has("get") {
            let mut operation = self.operation("read", "get", &[]);
            operation["responses"] = responses(&[("200", "OK")], own, JSON);
            item.insert("get".to_owned(), operation);
        }
        if has("update") {
            item.insert("put".to_owned(), self.write("replace", "put", own));
        }
        if has("patch") {
            item.insert("patch".to_owned(), self.patch(&schemas.patch(), own));
        }
    }

    /// Adds what answers with text, or takes over the connection.
    fn add_streams(&self, item: &mut Map<String, Value>, subresource: &Subresource) {
        let mut add = |method: &str, mut operation: Value| {
            operation["responses"] = json!({
                "200": {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}},
                "401": {"description": "Unauthorized"},
            });
            item.insert(method.to_owned(), operation);
        };
        if subresource.name == "log" {
            return add("get", self.operation("read", "get", LOG));
        }
        for (verb, method) in [("create", "post"), ("get", "get")] {
            if subresource.verbs.contains(&verb) {
                let noun = format!("{}{}", super::capitalized(method), self.noun);
                let connect = Operations { noun, ..*self };
                add(method, connect.operation("connect", "connect", PORT_FORWARD));
            }
        }
    }

    fn operation(&self, verb: &str, action: &str, parameters: Parameters) -> Value {
        let (group, version, kind) = self.group_version_kind;
        let mut operation = json!({
            "operationId": format!("{verb}{}{}", self.served.camel_case(), self.noun),
            "tags": [self.served.tag()],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        if !parameters.is_empty() {
            let parameters = parameters.iter().map(|(name, kind)| query_parameter(name, kind));
            operation["parameters"] = parameters.collect();
        }
        operation
    }

    fn list(&self, list: &Value) -> Value {
        let mut operation = self.operation("list", "list", LIST);
        operation["responses"] = responses(&[("200", "OK")], list, JSON_AND_WATCH);
        operation
    }

    fn write(&self, verb: &str, action: &str, own: &Value) -> Value {
        let mut operation = self.operation(verb, action, WRITE);
        operation["requestBody"] = json!({"required": true, "content": {"*/*": {"schema": own}}});
        let codes: &[(&str, &str)] = match action {
            "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            _ => &[("200", "OK"), ("201", "Created")],
        };
        operation["responses"] = responses(codes, own, JSON);
        operation
    }

    fn patch(&self, patch: &Value, own: &Value) -> Value {
        let mut operation = self.operation("patch", "patch", PATCH);
        let taken = PATCH_TYPES.iter().filter(|media| !(self.is_custom && media.contains("strategic")));
        let content: Map<String, Value> =
            taken.map(|media| ((*media).to_owned(), json!({ "schema": patch }))).collect();
        operation["requestBody"] = json!({"required": true, "content": content});
        operation["responses"] = responses(&[("200", "OK"), ("201", "Created")], own, JSON);
        operation
    }

    fn delete(&self, action: &str, parameters: Parameters, options: &Value, answer: &Value) -> Value {
        let mut operation = self.operation("delete", action, parameters);
        operation["requestBody"] = json!({"content": {"*/*": {"schema": options}}});
        let codes: &[(&str, &str)] =
            if action == "delete" { &[("200", "OK"), ("202", "Accepted")] } else { &[("200", "OK")] };
        operation["responses"] = responses(codes, answer, JSON);
        operation
    }
}

/// The answers of an operation, all with a body of one schema, and 401, which has none.
fn responses(codes: &[(&str, &str)], schema: &Value, media_types: &[&str]) -> Value {
    let mut responses = Map::new();
    for (code, description) in codes {
        let content: Map<String, Value> =
            media_types.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
        responses.insert((*code).to_owned(), json!({"description": description, "content": content}));
    }
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    Value::Object(responses)
}
