//! What clients look for in the documents.

use super::*;
use crate::registry::builtin;

fn document(path: &str) -> Value {
    let documents = Documents::new(builtin());
    serde_json::from_slice(&documents.get(path).unwrap_or_else(|| panic!("{path} has a document")).json)
        .unwrap()
}

fn schema(document: &Value, name: &str) -> Value {
    document["components"]["schemas"][name].clone()
}

#[test]
fn the_index_has_the_address_of_every_document() {
    let documents = Documents::new(builtin());
    let index: Value = serde_json::from_slice(&documents.index()).unwrap();
    for path in ["api/v1", "apis/apps/v1", "apis/coordination.k8s.io/v1", "apis/discovery.k8s.io/v1"] {
        let hash = &documents.get(path).unwrap().hash;
        assert_eq!(hash.len(), 32);
        assert_eq!(index["paths"][path]["serverRelativeURL"], format!("/openapi/v3/{path}?hash={hash}"));
    }
    assert!(documents.get("apis/nowhere/v1").is_none());
}

#[test]
fn documents_are_the_same_each_time() {
    let (one, other) = (Documents::new(builtin()), Documents::new(builtin()));
    assert_eq!(one.index(), other.index());
}

#[test]
fn apply_finds_field_validation_and_strategic_merge_on_patch() {
    let document = document("apis/apps/v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(parameters, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(patch["tags"], json!(["apps_v1"]));
    let collection = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"];
    assert_eq!(collection["delete"]["operationId"], "deleteAppsV1CollectionNamespacedDeployment");
}

#[test]
fn paths_follow_the_kinds_scope_and_subresources() {
    let document = document("api/v1");
    let operations = |path: &str| -> Vec<&str> {
        let item = document["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is there"));
        item.keys().map(String::as_str).filter(|key| *key != "parameters").collect()
    };
    for (path, mut expected) in [
        ("/api/v1/", vec!["get"]),
        ("/api/v1/pods", vec!["get"]),
        ("/api/v1/namespaces/{namespace}/pods", vec!["delete", "get", "post"]),
        ("/api/v1/namespaces/{namespace}/pods/{name}", vec!["delete", "get", "patch", "put"]),
        ("/api/v1/namespaces/{namespace}/pods/{name}/status", vec!["get", "patch", "put"]),
        ("/api/v1/namespaces/{namespace}/pods/{name}/binding", vec!["post"]),
        ("/api/v1/namespaces/{namespace}/pods/{name}/log", vec!["get"]),
        ("/api/v1/namespaces/{name}", vec!["delete", "get", "patch", "put"]),
        ("/api/v1/nodes/{name}", vec!["delete", "get", "patch", "put"]),
    ] {
        let mut found = operations(path);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn schemas_carry_the_facts_that_clients_merge_by() {
    let document = document("apis/apps/v1");
    let container = schema(&document, "io.k8s.api.core.v1.Container");
    assert_eq!(
        container["properties"]["ports"],
        json!({
            "type": "array",
            "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "containerPort",
        })
    );
    assert_eq!(container["required"], json!(["name"]));
    let port = schema(&document, "io.k8s.api.core.v1.ContainerPort");
    assert_eq!(port["properties"]["protocol"], json!({"type": "string", "default": "TCP"}));
    let volumes = &schema(&document, "io.k8s.api.core.v1.PodSpec")["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let deployment = schema(&document, "io.k8s.api.apps.v1.Deployment");
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    assert_eq!(
        deployment["properties"]["metadata"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
    let selector = schema(&document, "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector");
    assert_eq!(selector["x-kubernetes-map-type"], "atomic");
}

#[test]
fn every_reference_leads_to_a_schema() {
    let documents = Documents::new(builtin());
    for path in documents.documents.keys() {
        let document = document(path);
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for rest in text.split("\"#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(schemas.get(name).is_some_and(|schema| !schema.is_null()), "{path} {name}");
        }
        for kind in
            builtin().of_version(&documents.documents[path].0.group, &documents.documents[path].0.version)
        {
            let own = schemas.values().any(|schema| {
                schema["x-kubernetes-group-version-kind"][0]["kind"].as_str() == Some(kind.kind.as_str())
            });
            assert!(own, "{path} {}", kind.kind);
        }
    }
}

#[test]
fn groups_are_spelled_as_upstream_spells_them() {
    for (group, camel, tag) in [
        ("", "CoreV1", "core_v1"),
        ("apps", "AppsV1", "apps_v1"),
        ("rbac.authorization.k8s.io", "RbacAuthorizationV1", "rbacAuthorization_v1"),
        ("flowcontrol.apiserver.k8s.io", "FlowcontrolApiserverV1", "flowcontrolApiserver_v1"),
    ] {
        let served = GroupVersion { group: group.to_owned(), version: "v1".to_owned() };
        assert_eq!((served.camel_case().as_str(), served.tag().as_str()), (camel, tag));
    }
}

#[test]
fn version_2_has_every_path_and_no_word_that_is_only_in_version_3() {
    let documents = Documents::new(builtin());
    let whole: Value = serde_json::from_slice(&documents.version_2("v1.36.0").json).unwrap();
    assert_eq!((&whole["swagger"], &whole["info"]["version"]), (&json!("2.0"), &json!("v1.36.0")));
    let text = whole.to_string();
    for word in ["#/components", "\"oneOf\":[", "\"allOf\":[", "\"requestBody\":", "\"*/*\":"] {
        assert!(!text.contains(word), "{word} is of version 3");
    }
    let patch = &whole["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["consumes"].as_array().unwrap().len(), 4);
    assert_eq!(patch["produces"], json!(["application/json"]));
    let body = json!({
        "in": "body", "name": "body", "required": true,
        "schema": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch"},
    });
    assert_eq!(patch["parameters"][0], body);
    assert_eq!(
        patch["parameters"][1],
        json!({"in": "query", "name": "dryRun", "type": "string", "uniqueItems": true})
    );
    let definitions = &whole["definitions"];
    assert_eq!(
        definitions["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"],
        json!({"$ref": "#/definitions/io.k8s.api.apps.v1.DeploymentSpec"})
    );
    assert_eq!(
        definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"],
        json!({"type": "string", "format": "int-or-string"})
    );
    let options = &definitions["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"];
    assert!(options["x-kubernetes-group-version-kind"].as_array().unwrap().len() > 10);
}
