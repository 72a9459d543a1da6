//! What the controllers that keep pods have in common: pods made from a template, created and deleted with an event for
//! each, adopted and released.

use std::sync::Arc;

use futures::future::join_all;
use isopod_spec::resource::Resource;
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::runner::Shell;
use super::{facts, outcome};
use crate::events::{Level, Occurrence, reference};
use crate::objects::DeleteOptions;

/// A reference that makes `owner` the controller of what carries it.
pub(crate) fn controlled_by<T: Resource>(owner: &T) -> OwnerReference {
    facts::controller_reference(T::API_VERSION, T::KIND, owner.metadata())
}

/// A pod of `owner`'s template, to be named by the server.
pub(crate) fn from_template<T: Resource>(template: PodTemplateSpec, owner: &T) -> Pod {
    let PodTemplateSpec { metadata, spec } = template;
    let metadata = metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", facts::name(owner.metadata()))),
            namespace: owner.metadata().namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![controlled_by(owner)]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Sizes of the batches in which `count` pods are created: each double the one before.
pub(crate) fn slow_start(count: usize) -> impl Iterator<Item = usize> {
    let mut left = count;
    let mut next = 1;
    std::iter::from_fn(move || {
        let batch = next.min(left);
        left -= batch;
        next *= 2;
        (batch > 0).then_some(batch)
    })
}

/// One object whose plan is being carried out: what is done in its name is told as an event about it.
pub(crate) struct Acting<'a> {
    shell: &'a Shell,
    component: &'static str,
    about: ObjectReference,
    owner: OwnerReference,
}

impl<'a> Acting<'a> {
    /// Acts for `object`; `component` is the controller's name.
    pub(crate) fn of<T: Resource>(shell: &'a Shell, component: &'static str, object: &T) -> Acting<'a> {
        Acting { shell, component, about: reference(object), owner: controlled_by(object) }
    }

    /// Tells of something that happened to the object.
    pub(crate) fn tell(&self, level: Level, reason: &'static str, message: String) {
        let (component, about) = (self.component, self.about.clone());
        self.shell.recorder.record(Occurrence { component, about, level, reason, message });
    }

    /// Makes the object the controller of one that has none.
    pub(crate) async fn adopt<T: Resource>(&self, orphan: &T) -> Result<(), Status> {
        let mut adopted = orphan.clone();
        facts::adopt(&mut adopted, self.owner.clone());
        self.shell.objects.update(&adopted).await.map(drop)
    }

    /// Gives up an object.
    pub(crate) async fn release<T: Resource>(&self, owned: &T) -> Result<(), Status> {
        let mut released = owned.clone();
        facts::release(&mut released, &self.owner.uid);
        self.shell.objects.update(&released).await.map(drop)
    }

    /// Creates pods in batches that double as long as they succeed, so that a template which the API refuses costs one
    /// request and not five hundred. A name that is taken counts as created: the next plan sees what has it.
    pub(crate) async fn create(&self, pods: Vec<Pod>) -> Result<(), Status> {
        let mut left = pods.into_iter();
        for size in slow_start(left.len()) {
            let batch: Vec<Pod> = left.by_ref().take(size).collect();
            let mut failure = None;
            for created in self.shell.objects.create_many(batch).await {
                match created {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", facts::name(&pod.metadata));
                        self.tell(Level::Normal, "SuccessfulCreate", message);
                    }
                    Err(status) if outcome::is_taken(&status) => {}
                    Err(status) => failure = Some(status),
                }
            }
            match failure {
                None => {}
                Some(status) if outcome::is_namespace_going(&status) => return Ok(()),
                Some(status) => {
                    self.tell(Level::Warning, "FailedCreate", format!("Error creating: {status}"));
                    return Err(status);
                }
            }
        }
        Ok(())
    }

    /// Deletes pods.
    pub(crate) async fn delete(&self, pods: &[Arc<Pod>]) -> Result<(), Status> {
        let deletions = pods.iter().map(|pod| async {
            let meta = &pod.metadata;
            let options = DeleteOptions { uid: meta.uid.clone(), ..DeleteOptions::default() };
            let (namespace, name) = (facts::namespace(meta), facts::name(meta));
            let deleted = self.shell.objects.delete::<Pod>(namespace, name, &options).await;
            if deleted.is_ok() {
                self.tell(Level::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
            }
            outcome::settled(deleted)
        });
        match join_all(deletions).await.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(status) => {
                self.tell(Level::Warning, "FailedDelete", format!("Error deleting: {status}"));
                Err(status)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::slow_start;

    #[test]
    fn batches_double() {
        assert_eq!(slow_start(10).collect::<Vec<_>>(), [1, 2, 4, 3]);
        assert_eq!(slow_start(0).count(), 0);
    }
}
