//! What is deleted, what is said meanwhile, and when a namespace may go.

use std::sync::Arc;

use expect_test::expect;
use isopod_spec::registry;
use isopod_spec::resource::Kind;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, NamespaceSpec, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{Content, finalized, is_emptied, plan};
use crate::cache::ObjectKey;

fn terminating() -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some("shop".into()),
            deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
            ..ObjectMeta::default()
        },
        spec: Some(NamespaceSpec { finalizers: Some(vec!["kubernetes".into()]) }),
        status: None,
    }
}

fn content(kind: &Arc<Kind>, name: &str, is_leaving: bool, finalizers: &[&str]) -> Content {
    let finalizers = finalizers.iter().map(|finalizer| (*finalizer).to_owned()).collect();
    Content { kind: kind.clone(), key: ObjectKey::new("shop", name), is_leaving, finalizers }
}

#[test]
fn what_is_not_leaving_yet_is_deleted_and_the_rest_is_told() {
    let (pods, maps) = (registry::kind_of::<Pod>(), registry::kind_of::<ConfigMap>());
    let content = vec![
        content(pods, "a", true, &[]),
        content(pods, "b", false, &["example.com/hold"]),
        content(maps, "c", false, &[]),
    ];
    let plan = plan(&terminating(), content, Timestamp::UNIX_EPOCH);
    let deleted: Vec<&str> = plan.delete.iter().map(|object| object.key.name()).collect();
    assert_eq!(deleted, ["b", "c"]);
    assert!(!plan.is_empty);
    let conditions = plan.status.unwrap().conditions.unwrap();
    let told: Vec<String> = conditions
        .iter()
        .map(|c| {
            format!(
                "{}={} {}: {}",
                c.type_,
                c.status,
                c.reason.as_ref().unwrap(),
                c.message.as_ref().unwrap()
            )
        })
        .collect();
    expect![[r#"
        NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: configmaps has 1 resource instances, pods has 2 resource instances
        NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"#]].assert_eq(&told.join("\n"));
}

#[test]
fn an_empty_namespace_may_go() {
    let namespace = terminating();
    assert!(plan(&namespace, Vec::new(), Timestamp::UNIX_EPOCH).is_empty);
    assert!(!is_emptied(&finalized(&namespace)));
}

#[test]
fn a_namespace_that_is_not_being_deleted_is_left_alone() {
    let mut namespace = terminating();
    namespace.metadata.deletion_timestamp = None;
    let plan =
        plan(&namespace, vec![content(registry::kind_of::<Pod>(), "a", false, &[])], Timestamp::UNIX_EPOCH);
    assert!(plan.delete.is_empty() && plan.status.is_none() && !plan.is_empty);
}
