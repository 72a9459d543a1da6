//! The CronJob controller: what wakes it, what it looks at, how its plans are carried out.

use std::sync::Arc;

use isopod_spec::status::Status;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::batch::v1::{CronJob, Job};

use super::zone::Zones;
use super::{Action, Plan, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::pods::Acting;
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};
use crate::events::Level;
use crate::objects::{DeleteOptions, Propagation};

/// Makes Jobs at set times.
#[derive(Debug, Default)]
pub(crate) struct CronJobController {
    zones: Zones,
}

/// A plan, and the CronJob it was made for.
#[derive(Debug)]
pub(crate) struct Task {
    cron_job: Arc<CronJob>,
    plan: Plan,
}

impl Controller for CronJobController {
    const NAME: &'static str = "cronjob-controller";
    type Plan = Task;

    fn wakes(&mut self, change: &Change, _view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::CronJob(delta) => wake(delta.key.clone()),
            Change::Job(delta) => {
                let owners = delta.both().filter_map(|job| facts::controller_of(&job.metadata));
                let own = owners.filter(|owner| owner.kind == CronJob::KIND);
                own.for_each(|owner| wake(ObjectKey::new(delta.key.namespace(), &owner.name)));
            }
            _ => {}
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, now: Timestamp) -> Planned<Task> {
        let Some(cron_job) = view.cron_jobs.get(key) else { return Planned::nothing() };
        let jobs: Vec<Arc<Job>> = view.jobs.controlled_by(facts::uid(&cron_job.metadata)).cloned().collect();
        let zone = self.zones.get(cron_job.spec.time_zone.as_deref());
        let plan = plan(cron_job, &jobs, zone.as_ref(), now);
        let again_after = plan.again_after;
        let plan = (!plan.is_met()).then(|| Task { cron_job: cron_job.clone(), plan });
        Planned { plan, again_after }
    }

    async fn apply(shell: Shell, Task { cron_job, plan }: Task) -> Result<(), Status> {
        let acting = Acting::of(&shell, Self::NAME, &*cron_job);
        for what in plan.happened {
            acting.tell(what.level, what.reason, what.message);
        }
        for action in plan.actions {
            match action {
                Action::Delete { job } => delete(&shell, &acting, &job).await?,
                Action::Create { job } => create(&shell, &acting, *job).await?,
            }
        }
        if let Some(status) = plan.status {
            let cron_job = CronJob { status: Some(status), ..(*cron_job).clone() };
            shell.objects.update_status(&cron_job).await?;
        }
        Ok(())
    }
}

async fn create(shell: &Shell, acting: &Acting<'_>, job: Job) -> Result<(), Status> {
    let name = facts::name(&job.metadata).to_owned();
    match shell.objects.create(job).await {
        Ok(_) => {
            acting.tell(Level::Normal, "SuccessfulCreate", format!("Created job {name}"));
            Ok(())
        }
        // Somebody else's Job of that name, or our own of a moment ago: this time is taken.
        Err(status) if outcome::is_taken(&status) || outcome::is_namespace_going(&status) => Ok(()),
        Err(status) => {
            acting.tell(Level::Warning, "FailedCreate", format!("Error creating job: {status}"));
            Err(status)
        }
    }
}

async fn delete(shell: &Shell, acting: &Acting<'_>, job: &Job) -> Result<(), Status> {
    let options = DeleteOptions {
        uid: job.metadata.uid.clone(),
        propagation: Some(Propagation::Background),
        ..DeleteOptions::default()
    };
    let (namespace, name) = (facts::namespace(&job.metadata), facts::name(&job.metadata));
    let deleted = shell.objects.delete::<Job>(namespace, name, &options).await;
    if deleted.is_ok() {
        acting.tell(Level::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
    }
    outcome::settled(deleted)
}
