//! The templates that a StatefulSet or DaemonSet has had, as ControllerRevisions: what `kubectl rollout history` lists
//! and `kubectl rollout undo` goes back to.
//!
//! [`History::of`] is pure. A revision's data is a patch that puts its template back, which is what clients apply.

use std::collections::BTreeSet;
use std::sync::Arc;

use isopod_spec::resource::Resource;
use isopod_spec::status::Status;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::deployment::revision::template_hash;
use super::pods::{Acting, controlled_by};
use super::runner::Shell;
use super::{facts, outcome};
use crate::objects::DeleteOptions;

/// Label of a pod: the revision that it was made from.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";
/// Belongs to the object, not to a version of its template.
const NOT_COPIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One write that brings the history up to date.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Stores a template that was not there before.
    Create(Box<ControllerRevision>),
    /// Makes an old revision the newest: somebody went back to it.
    Renumber(Box<ControllerRevision>),
    /// Forgets a revision.
    Delete(Arc<ControllerRevision>),
}

/// The revision of the current template, and what has to be written before it is one.
#[derive(Debug)]
pub(crate) struct History {
    /// Its name.
    pub(crate) name: String,
    /// The end of its name.
    pub(crate) hash: String,
    /// What to store first; nothing else is to be done before.
    pub(crate) change: Option<Change>,
}

impl History {
    /// Finds the revision of `template` among those that `owner` controls.
    pub(crate) fn of<T: Resource>(
        owner: &T,
        template: &PodTemplateSpec,
        owned: &[Arc<ControllerRevision>],
    ) -> History {
        let data = patch(template);
        let newest = owned.iter().map(|own| own.revision).max().unwrap_or(0);
        let same = owned.iter().filter(|own| own.data.as_ref().is_some_and(|own| own.0 == data));
        if let Some(known) = same.max_by_key(|own| own.revision) {
            let name = facts::name(&known.metadata).to_owned();
            let hash = facts::label(&known.metadata, REVISION_LABEL).unwrap_or_default().to_owned();
            let change = (known.revision < newest).then(|| {
                let renumbered = ControllerRevision { revision: newest + 1, ..(**known).clone() };
                Change::Renumber(Box::new(renumbered))
            });
            return History { name, hash, change };
        }
        let revision = new_revision(owner, template, data, newest + 1);
        let (name, hash) = (facts::name(&revision.metadata).to_owned(), template_hash(template, None));
        History { name, hash, change: Some(Change::Create(Box::new(revision))) }
    }
}

/// A patch of the owner that replaces its template with this one.
fn patch(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).expect("a template has string keys only");
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The template that a revision holds; `None` when it was not made here and holds none.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}

fn new_revision<T: Resource>(
    owner: &T,
    template: &PodTemplateSpec,
    data: Value,
    revision: i64,
) -> ControllerRevision {
    let hash = template_hash(template, None);
    let meta = owner.metadata();
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(REVISION_LABEL.to_owned(), hash.clone());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.remove(NOT_COPIED);
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", facts::name(meta))),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|own| !own.is_empty()),
            owner_references: Some(vec![controlled_by(owner)]),
            ..ObjectMeta::default()
        },
        revision,
        data: Some(RawExtension(data)),
    }
}

/// The oldest revisions beyond `limit` of those that are not `used`.
pub(crate) fn surplus(
    owned: &[Arc<ControllerRevision>],
    used: &BTreeSet<&str>,
    limit: Option<i32>,
) -> Vec<Change> {
    let mut unused: Vec<&Arc<ControllerRevision>> = owned
        .iter()
        .filter(|own| {
            let hash = facts::label(&own.metadata, REVISION_LABEL).unwrap_or_default();
            !used.contains(facts::name(&own.metadata)) && !used.contains(hash)
        })
        .collect();
    unused.sort_by_key(|own| own.revision);
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let surplus = unused.len().saturating_sub(limit);
    unused.into_iter().take(surplus).cloned().map(Change::Delete).collect()
}

/// Carries a change out. A revision that an owner of the same name left behind is taken over.
pub(crate) async fn apply(shell: &Shell, acting: &Acting<'_>, change: Change) -> Result<(), Status> {
    match change {
        Change::Renumber(revision) => shell.objects.update(&*revision).await.map(drop),
        Change::Delete(revision) => {
            let meta = &revision.metadata;
            let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
            let (namespace, name) = (facts::namespace(meta), facts::name(meta));
            let deleted = shell.objects.delete::<ControllerRevision>(namespace, name, &options).await;
            outcome::settled(deleted)
        }
        Change::Create(revision) => {
            let Err(error) = shell.objects.create((*revision).clone()).await else { return Ok(()) };
            if outcome::is_namespace_going(&error) {
                return Ok(());
            }
            if !outcome::is_taken(&error) {
                return Err(error);
            }
            let (namespace, name) = (facts::namespace(&revision.metadata), facts::name(&revision.metadata));
            let existing = shell.objects.get::<ControllerRevision>(namespace, name).await?;
            match existing {
                Some(own) if own.data == revision.data && facts::controller_of(&own.metadata).is_none() => {
                    acting.adopt(&own).await
                }
                _ => Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSet;
    use k8s_openapi::api::core::v1::{Container, PodSpec};

    fn template_of(image: &str) -> PodTemplateSpec {
        let container = Container { name: "c".into(), image: Some(image.into()), ..Container::default() };
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some([("app".to_owned(), "db".to_owned())].into()),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
        }
    }

    fn owner() -> StatefulSet {
        let annotations = [(NOT_COPIED, "{}"), ("kubernetes.io/change-cause", "a new version")];
        StatefulSet {
            metadata: ObjectMeta {
                name: Some("db".into()),
                uid: Some("u".into()),
                annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            ..StatefulSet::default()
        }
    }

    /// The history after the changes that these templates bring, one after the other.
    fn history(images: &[&str]) -> Vec<Arc<ControllerRevision>> {
        let mut owned: Vec<Arc<ControllerRevision>> = Vec::new();
        for image in images {
            match History::of(&owner(), &template_of(image), &owned).change {
                Some(Change::Create(revision)) => owned.push(Arc::from(revision)),
                Some(Change::Renumber(revision)) => {
                    let place = owned.iter_mut().find(|own| own.metadata.name == revision.metadata.name);
                    *place.unwrap() = Arc::from(revision);
                }
                Some(Change::Delete(_)) => panic!("finding a revision forgets none"),
                None => {}
            }
        }
        owned
    }

    #[test]
    fn each_template_is_stored_once_and_numbered_anew_when_it_comes_back() {
        let numbers = |images: &[&str]| history(images).iter().map(|own| own.revision).collect::<Vec<_>>();
        assert_eq!(numbers(&["v1"]), [1]);
        assert_eq!(numbers(&["v1", "v1", "v2"]), [1, 2]);
        assert_eq!(numbers(&["v1", "v2", "v1"]), [3, 2]);
    }

    #[test]
    fn a_revision_holds_its_template_and_the_reason_for_it() {
        let owned = history(&["v1"]);
        let [revision] = owned.as_slice() else { panic!("one revision") };
        assert_eq!(template(revision), Some(template_of("v1")));
        let data = &revision.data.as_ref().unwrap().0;
        assert_eq!(data.pointer("/spec/template/$patch"), Some(&"replace".into()));
        let annotations = revision.metadata.annotations.clone().unwrap();
        assert_eq!(annotations.into_keys().collect::<Vec<_>>(), ["kubernetes.io/change-cause"]);
        assert_eq!(facts::label(&revision.metadata, "app"), Some("db"));
        let found = History::of(&owner(), &template_of("v1"), &owned);
        assert_eq!((found.change, Some(found.name)), (None, revision.metadata.name.clone()));
    }

    #[test]
    fn the_oldest_unused_revisions_are_forgotten() {
        let owned = history(&["v1", "v2", "v3", "v4"]);
        let used = BTreeSet::from([facts::name(&owned[0].metadata), facts::name(&owned[3].metadata)]);
        assert_eq!(surplus(&owned, &used, Some(1)), [Change::Delete(owned[1].clone())]);
        assert_eq!(surplus(&owned, &used, None), []);
    }
}
