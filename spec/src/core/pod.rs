//! Pod: containers that run together on a node.

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::resource::{Declaration, Resource, Subresource, Target};

impl Resource for Pod {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            delete_returns_object: true,
            graceful_delete: true,
            ..Declaration::of::<Self>("pod").short_names(&["po"]).in_category_all().subresources(&[
                Subresource::BINDING,
                Subresource::LOG,
                Subresource::STATUS,
            ])
        }
    }

    fn prepare_create(&mut self) {
        self.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
    }

    fn prepare_update(&mut self, old: &Self, target: Target) {
        match target {
            Target::Status => self.spec.clone_from(&old.spec),
            _ => self.status.clone_from(&old.status),
        }
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }
}
