//! The wording and shape of each error body.

use expect_test::expect;

use super::*;
use crate::field_error::Path;

const PODS: GroupResource<'_> = GroupResource { group: "", resource: "pods" };
const DEPLOYMENTS: GroupResource<'_> = GroupResource { group: "apps", resource: "deployments" };

#[test]
fn messages_are_word_for_word_what_clients_expect() {
    let all = [
        Status::not_found(PODS, "x"),
        Status::not_found(DEPLOYMENTS, "x"),
        Status::no_such_resource(),
        Status::already_exists(PODS, "x"),
        Status::name_not_generated(PODS, "x-abcde"),
        Status::modified(DEPLOYMENTS, "x"),
        Status::precondition_failed(PODS, "x", "UID", "a", "b"),
        Status::forbidden(
            PODS,
            "",
            r#"User "u" cannot list resource "pods" in API group "" in the namespace "n""#,
        ),
        Status::forbidden(PODS, "x", "no"),
        Status::namespace_terminating(PODS, "x", "n"),
        Status::unauthorized(),
        Status::bad_request("strict decoding error: unknown field \"spec.foo\""),
        Status::method_not_allowed(PODS, "update"),
        Status::not_acceptable(&["application/json", "application/yaml"]),
        Status::unsupported_media_type(&["application/json"]),
        Status::too_large(3145728),
        Status::too_old_resource_version(1, 2),
        Status::continue_expired(None),
        Status::too_many_requests("too many requests, please try again later", 1),
        Status::internal("disk is on fire"),
        Status::server_timeout(PODS, "create", 2),
        Status::unavailable("no leader"),
        Status::timeout("request did not complete within the allotted timeout", 1),
        Status::too_large_resource_version(9, 5),
    ];
    let lines: Vec<String> =
        all.iter().map(|s| format!("{} {}: {}", s.code, s.reason.as_str(), s.message)).collect();
    expect![[r#"
        404 NotFound: pods "x" not found
        404 NotFound: deployments.apps "x" not found
        404 NotFound: the server could not find the requested resource
        409 AlreadyExists: pods "x" already exists
        409 AlreadyExists: pods "x-abcde" already exists, the server was not able to generate a unique name for the object
        409 Conflict: Operation cannot be fulfilled on deployments.apps "x": the object has been modified; please apply your changes to the latest version and try again
        409 Conflict: Operation cannot be fulfilled on pods "x": Precondition failed: UID in precondition: a, UID in object meta: b
        403 Forbidden: pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n"
        403 Forbidden: pods "x" is forbidden: no
        403 Forbidden: pods "x" is forbidden: unable to create new content in namespace n because it is being terminated
        401 Unauthorized: Unauthorized
        400 BadRequest: strict decoding error: unknown field "spec.foo"
        405 MethodNotAllowed: update is not supported on resources of kind "pods"
        406 NotAcceptable: only the following media types are accepted: application/json, application/yaml
        415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json
        413 RequestEntityTooLarge: Request entity too large: limit is 3145728
        410 Expired: too old resource version: 1 (2)
        410 Expired: The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.
        429 TooManyRequests: too many requests, please try again later
        500 InternalError: Internal error occurred: disk is on fire
        500 ServerTimeout: The create operation against pods could not be completed at this time, please try again.
        503 ServiceUnavailable: no leader
        504 Timeout: Timeout: request did not complete within the allotted timeout
        504 Timeout: Timeout: Too large resource version: 9, current: 5"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn bodies_have_the_shape_of_a_status_object() {
    let spec = Path::new("spec");
    let mut errors = FieldErrors::new();
    errors.required(&spec.child("template"), "");
    let invalid = Status::invalid(GroupKind { group: "apps", kind: "Deployment" }, "x", &errors);
    let bodies = [
        invalid.to_json(),
        Status::not_found(PODS, "x").to_json(),
        Status::no_such_resource().to_json(),
        Status::continue_expired(Some("next".to_owned())).to_json(),
        Status::too_large_resource_version(9, 5).to_json(),
        success(DEPLOYMENTS, "x", "some-uid"),
    ];
    let lines: Vec<String> = bodies.into_iter().map(|body| String::from_utf8(body).unwrap()).collect();
    expect![[r#"
        {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Deployment.apps \"x\" is invalid: spec.template: Required value","reason":"Invalid","details":{"name":"x","group":"apps","kind":"Deployment","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.template"}]},"code":422}
        {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"pods"},"code":404}
        {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}
        {"kind":"Status","apiVersion":"v1","metadata":{"continue":"next"},"status":"Failure","message":"The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.","reason":"Expired","details":{},"code":410}
        {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 9, current: 5","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}
        {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"x","group":"apps","kind":"deployments","uid":"some-uid"}}"#]]
    .assert_eq(&lines.join("\n"));
}
