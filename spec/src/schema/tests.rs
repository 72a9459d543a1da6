//! The table's facts, checked where a mistake would show first.

use super::*;

fn pod() -> MessageRef<'static> {
    message("", "v1", "Pod").unwrap()
}

fn container() -> MessageRef<'static> {
    at(pod(), &["spec", "containers"])
}

/// The message at the end of a chain of field names.
fn at(start: MessageRef<'static>, path: &[&str]) -> MessageRef<'static> {
    path.iter().fold(start, |message, name| {
        let mut kind = &message.field(name).unwrap_or_else(|| panic!("{} has {name}", message.name())).kind;
        while let Type::List(inner) | Type::Map(inner) = kind {
            kind = inner;
        }
        let Type::Message(id) = kind else { panic!("{name} is a message") };
        message.get(*id)
    })
}

#[test]
fn kinds_of_every_served_group_are_found() {
    for (group, version, kind) in [
        ("", "v1", "Namespace"),
        ("", "v1", "PodList"),
        ("", "v1", "Binding"),
        ("apps", "v1", "Deployment"),
        ("autoscaling", "v1", "Scale"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("policy", "v1", "Eviction"),
        ("authentication.k8s.io", "v1", "TokenRequest"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("discovery.k8s.io", "v1", "EndpointSlice"),
        ("events.k8s.io", "v1", "Event"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"),
    ] {
        let found = message(group, version, kind).unwrap_or_else(|| panic!("{group}/{version} {kind}"));
        assert_eq!(&*found.kind().unwrap().kind, kind);
        assert!(found.field("apiVersion").is_some() && found.field("kind").is_some());
    }
}

#[test]
fn the_table_is_whole() {
    assert!(built_in().messages().count() > 500);
}

#[test]
fn kinds_of_meta_belong_to_every_group() {
    for group in ["", "apps", "example.com"] {
        assert!(message(group, "v1", "DeleteOptions").is_some());
    }
    assert!(message("apps", "v1", "Pod").is_none());
    assert!(message("apps", "v1", "Container").is_none());
}

#[test]
fn lists_know_how_they_merge() {
    let ports = container().field("ports").unwrap();
    assert_eq!(ports.list, Some(ListType::Map(vec!["containerPort".into(), "protocol".into()])));
    assert_eq!(ports.merge_key.as_deref(), Some("containerPort"));
    assert!(ports.patch.merge);
    let volumes = at(pod(), &["spec"]).field("volumes").unwrap();
    assert_eq!(volumes.patch, PatchStrategy { merge: true, replace: false, retain_keys: true });
    let finalizers = at(pod(), &["metadata"]).field("finalizers").unwrap();
    assert_eq!((finalizers.list.as_ref(), finalizers.patch.merge), (Some(&ListType::Set), true));
    assert_eq!(container().field("args").unwrap().list, Some(ListType::Atomic));
}

#[test]
fn maps_and_objects_know_how_they_merge() {
    assert_eq!(at(pod(), &["spec"]).field("nodeSelector").unwrap().map, Some(MapType::Atomic));
    assert!(at(message("apps", "v1", "Deployment").unwrap(), &["spec", "selector"]).is_atomic());
    let claim = at(message("", "v1", "PersistentVolume").unwrap(), &["spec"]).field("claimRef").unwrap();
    assert_eq!(claim.map, Some(MapType::Granular));
}

#[test]
fn inlined_messages_are_fields_in_json_and_a_tag_on_the_wire() {
    let volume = at(pod(), &["spec", "volumes"]);
    assert!(volume.field("emptyDir").is_some());
    assert!(volume.field("volumeSource").is_none());
    let Some(Wire::Inline(source)) = volume.wire(2) else { panic!("tag 2 of Volume is its source") };
    assert!(volume.get(source).name().ends_with(".VolumeSource"));
    let Some(Wire::Field(name)) = volume.wire(1) else { panic!("tag 1 of Volume is its name") };
    assert_eq!(&*volume.fields()[name].name, "name");
    assert!(volume.wire(99).is_none());
}

#[test]
fn names_with_unusual_capitals_are_upstreams() {
    for name in ["hostIP", "podIPs", "hostIPs", "nominatedNodeName"] {
        assert!(at(pod(), &["status"]).field(name).is_some(), "{name}");
    }
    assert!(container().field("Name").is_none(), "names are told apart by case");
    let props = at(
        message("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap(),
        &["spec", "versions", "schema", "openAPIV3Schema"],
    );
    assert!(props.field("$ref").is_some() && props.field("x-kubernetes-list-map-keys").is_some());
}

#[test]
fn every_name_is_found_and_every_message_is_sorted() {
    for message in built_in().messages() {
        for (position, field) in message.fields().iter().enumerate() {
            assert_eq!(message.position(field.name.as_bytes()), Some(position));
        }
        assert!(message.fields().is_sorted_by(|a, b| a.name < b.name), "{}", message.name());
        assert!(message.position(b"").is_none() && message.position(b"nonesuch").is_none());
    }
}

#[test]
fn merged_lists_of_objects_have_a_merge_key_that_the_items_have() {
    for message in built_in().messages() {
        for field in message.fields().iter().filter(|field| field.patch.merge) {
            let Type::List(items) = &field.kind else { continue };
            let Type::Message(id) = **items else { continue };
            let key =
                field.merge_key.as_deref().unwrap_or_else(|| panic!("{} {}", message.name(), field.name));
            assert!(message.get(id).field(key).is_some(), "{} {key}", field.name);
        }
    }
}
