//! The Endpoints controller: it wakes when the EndpointSlice controller does.

use std::collections::BTreeMap;
use std::time::Duration;

use isopod_spec::status::Status;
use jiff::Timestamp;

use super::{Action, plan};
use crate::cache::{Change, ObjectKey, View};
use crate::controllers::endpoint_slice::desired;
use crate::controllers::endpoint_slice::is_kept;
use crate::controllers::endpoint_slice::shell::{pods_of, wake_services};
use crate::controllers::runner::{Controller, Planned, Shell};
use crate::controllers::{facts, outcome};

/// Keeps Services' Endpoints.
#[derive(Debug, Default)]
pub(crate) struct EndpointsController;

impl Controller for EndpointsController {
    const NAME: &'static str = "endpoint-controller";
    type Plan = Action;
    // One object holds all addresses of a Service, and what has to follow closely reads EndpointSlices.
    const REST: Duration = Duration::from_millis(200);

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut dyn FnMut(ObjectKey)) {
        match change {
            Change::Endpoints(delta) => wake(delta.key.clone()),
            Change::Node(_) => {}
            change => wake_services(change, view, wake),
        }
    }

    fn plan(&mut self, key: &ObjectKey, view: &View, _now: Timestamp) -> Planned<Action> {
        let service = view.services.get(key).filter(|service| is_kept(service));
        let Some(service) = service.filter(|service| !facts::is_terminating(&service.metadata)) else {
            return Planned::nothing();
        };
        let groups = desired::groups(service, &pods_of(service, view), &BTreeMap::new());
        // Endpoints know one family of addresses: the Service's first.
        let first = groups.first().map(|group| group.family);
        let groups: Vec<_> = groups.into_iter().filter(|group| Some(group.family) == first).collect();
        let stored = view.endpoints.get(key);
        Planned { plan: plan(service, &groups, stored.map(|stored| &**stored)), again_after: None }
    }

    async fn apply(shell: Shell, action: Action) -> Result<(), Status> {
        match action {
            Action::Create(endpoints) => match shell.objects.create(*endpoints).await {
                Err(status) if outcome::is_namespace_going(&status) => Ok(()),
                created => created.map(drop),
            },
            Action::Update(endpoints) => shell.objects.update(&*endpoints).await.map(drop),
        }
    }
}
