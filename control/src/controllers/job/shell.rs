//! The Job controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use futures::future::join_all;
use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::{Action, Plan, TRACKING, is_tracked, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::objects::{DeleteOptions, Propagation};

/// Runs Jobs.
#[derive(Debug, Default)]
pub(crate) struct JobController;

/// What to do about a Job, or about the pods of one that is gone.
#[derive(Debug)]
pub(crate) enum Task {
    Advance { job: Arc<Job>, plan: Box<Plan> },
    LetGo { pods: Vec<Arc<Pod>> },
}

impl Controller for JobController {
    const NAME: &'static str = "job-controller";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Job(delta) => wake(delta.key.clone()),
            Change::Pod(delta) => delta.both().for_each(|pod| wake_owners(pod, view, wake)),
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Task> {
        let Some(job) = view.jobs.get(key) else { return let_go(key, view) };
        let controlled = view.pods.controlled_by(facts::uid(&job.metadata));
        let pods = controlled.chain(view.pods.orphans(key.namespace())).cloned().collect();
        let plan = plan(job, pods, now);
        let again_after = plan.again_after;
        let plan = (!plan.is_met()).then(|| Task::Advance { job: job.clone(), plan: Box::new(plan) });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, task: Task) -> Result<(), Status> {
        let (job, plan) = match task {
            Task::Advance { job, plan } => (job, *plan),
            Task::LetGo { pods } => return untrack(&shell, &pods).await,
        };
        let acting = Acting::of(&shell, Self::NAME, &*job);
        if let Some(status) = plan.status {
            let job = Job { status: Some(status), ..(*job).clone() };
            shell.objects.update_status(&job).await?;
        }
        for what in plan.happened {
            acting.tell(what.level, what.reason, what.message);
        }
        let mut counted = Vec::new();
        for action in plan.actions {
            if let Action::Untrack { pod } = action {
                counted.push(pod);
                continue;
            }
            untrack(&shell, &std::mem::take(&mut counted)).await?;
            carry_out(&shell, &acting, &job, action).await?;
        }
        untrack(&shell, &counted).await
    }
}

fn wake_owners(pod: &Pod, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
    let namespace = facts::namespace(&pod.metadata);
    match facts::controller_of(&pod.metadata) {
        Some(owner) if owner.kind == Job::KIND => wake(ObjectKey::new(namespace, &owner.name)),
        Some(_) => {}
        // Only a Job with a selector of its own adopts, and those are few.
        None => {
            let jobs = view.jobs.in_namespace(namespace);
            let choosing =
                jobs.filter(|job| job.spec.as_ref().is_some_and(|spec| spec.manual_selector == Some(true)));
            choosing.for_each(|job| wake(ObjectKey::of(&job.metadata)));
        }
    }
}

/// Pods that a Job has left behind wait for nobody.
fn let_go(key: &ObjectKey, view: &View) -> Planned<Task> {
    let left = view.pods.in_namespace(key.namespace()).filter(|pod| {
        let owner = facts::controller_of(&pod.metadata);
        is_tracked(pod) && owner.is_some_and(|owner| owner.kind == Job::KIND && owner.name == key.name())
    });
    let pods: Vec<Arc<Pod>> = left.cloned().collect();
    let plan = (!pods.is_empty()).then_some(Task::LetGo { pods });
    Planned { plan, again_after: None }
}

/// Takes the finalizer off pods; a pod that changed meanwhile is seen again.
async fn untrack(shell: &Shell, pods: &[Arc<Pod>]) -> Result<(), Status> {
    let writes = pods.iter().map(|pod| async {
        let mut free = (**pod).clone();
        if let Some(finalizers) = &mut free.metadata.finalizers {
            finalizers.retain(|own| own != TRACKING);
        }
        let written = shell.objects.update(&free).await.map(drop);
        written.or_else(|status| if outcome::is_gone(&status) { Ok(()) } else { Err(status) })
    });
    join_all(writes).await.into_iter().collect()
}

async fn carry_out(shell: &Shell, acting: &Acting<'_>, job: &Job, action: Action) -> Result<(), Status> {
    match action {
        Action::Adopt { pod } => {
            let mut pod = (*pod).clone();
            pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
            acting.adopt(&pod).await
        }
        Action::Release { pod } => acting.release(&*pod).await,
        Action::Untrack { pod } => untrack(shell, &[pod]).await,
        Action::Create { pods } => acting.create(pods).await,
        Action::Delete { pods } => acting.delete(&pods).await,
        Action::DeleteJob => {
            let meta = &job.metadata;
            let options = DeleteOptions {
                uid: meta.uid.clone(),
                propagation: Some(Propagation::Foreground),
                ..DeleteOptions::default()
            };
            let (namespace, name) = (facts::namespace(meta), facts::name(meta));
            outcome::settled(shell.objects.delete::<Job>(namespace, name, &options).await)
        }
    }
}
