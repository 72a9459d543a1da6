//! What else in the cluster bears on where pods go: the labels of namespaces, what spreads pods by default, and the
//! budgets that limit how many may be disrupted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use isopod_spec::selector::Selector;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use super::terms::{Namespaces, Query, Spread};
use super::wants::Wants;
use crate::cache::{Change, Delta, ObjectKey};
use crate::controllers::facts::{self, StringMap};

/// How pods are spread whose author says nothing about it, as Kubernetes does: by node, and less by zone.
const USUAL: [(&str, i64); 2] = [("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5)];

/// Kept up to date change by change.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    namespaces: Namespaces,
    /// The selectors of Services, by namespace.
    services: HashMap<String, BTreeMap<ObjectKey, StringMap>>,
    /// The selectors of the controllers of pods, by uid.
    sets: HashMap<String, LabelSelector>,
    budgets: BTreeMap<ObjectKey, Arc<PodDisruptionBudget>>,
}

impl Surroundings {
    /// Takes over a change; true when the labels of a namespace changed.
    pub(super) fn observe(&mut self, change: &Change) -> bool {
        match change {
            Change::Namespace(delta) => {
                return self.observe_namespace(delta.key.name(), delta.new.as_deref());
            }
            Change::Service(delta) => {
                let new = delta.new.as_ref().and_then(|service| service.spec.as_ref()?.selector.clone());
                self.observe_service(&delta.key, new.filter(|selector| !selector.is_empty()));
            }
            Change::ReplicaSet(delta) => {
                self.observe_set(delta, |set| &set.metadata, |set| Some(set.spec.as_ref()?.selector.clone()));
            }
            Change::StatefulSet(delta) => {
                self.observe_set(delta, |set| &set.metadata, |set| Some(set.spec.as_ref()?.selector.clone()));
            }
            Change::ReplicationController(delta) => {
                self.observe_set(
                    delta,
                    |set| &set.metadata,
                    |set| {
                        let match_labels = Some(set.spec.as_ref()?.selector.clone()?);
                        Some(LabelSelector { match_labels, ..LabelSelector::default() })
                    },
                );
            }
            Change::PodDisruptionBudget(delta) => match &delta.new {
                Some(budget) => drop(self.budgets.insert(delta.key.clone(), budget.clone())),
                None => drop(self.budgets.remove(&delta.key)),
            },
            _ => {}
        }
        false
    }

    fn observe_namespace(&mut self, name: &str, new: Option<&Namespace>) -> bool {
        let labels = new.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
        let changed = self.namespaces.get(name) != labels.as_ref();
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        changed
    }

    fn observe_service(&mut self, key: &ObjectKey, selector: Option<StringMap>) {
        let services = self.services.entry(key.namespace().to_owned()).or_default();
        match selector {
            Some(selector) => drop(services.insert(key.clone(), selector)),
            None => drop(services.remove(key)),
        }
        if services.is_empty() {
            self.services.remove(key.namespace());
        }
    }

    fn observe_set<T>(
        &mut self,
        delta: &Delta<T>,
        meta: fn(&T) -> &ObjectMeta,
        selector: fn(&T) -> Option<LabelSelector>,
    ) {
        if let Some(old) = &delta.old {
            self.sets.remove(facts::uid(meta(old)));
        }
        if let Some(new) = &delta.new
            && let Some(selector) = selector(new)
        {
            self.sets.insert(facts::uid(meta(new)).to_owned(), selector);
        }
    }

    /// The labels of all namespaces.
    pub(super) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// How such pods are spread when they do not say it themselves: together with those that the same Services and
    /// the same controller select.
    pub(super) fn usual_spread(&self, wants: &Wants) -> Vec<Spread> {
        let services = self.services.get(&*wants.namespace).into_iter().flat_map(BTreeMap::values);
        let is_own =
            |selector: &&StringMap| selector.iter().all(|(key, value)| wants.labels.get(key) == Some(value));
        let mut labels: StringMap =
            services.filter(is_own).flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut expressions = Vec::new();
        if let Some(set) = wants.owner.as_deref().and_then(|owner| self.sets.get(owner)) {
            for (key, value) in set.match_labels.iter().flatten() {
                expressions.push(LabelSelectorRequirement {
                    key: key.clone(),
                    operator: "In".to_owned(),
                    values: Some(vec![value.clone()]),
                });
                labels.remove(key);
            }
            expressions.extend(set.match_expressions.iter().flatten().cloned());
        }
        if labels.is_empty() && expressions.is_empty() {
            return Vec::new();
        }
        let selector = LabelSelector { match_labels: Some(labels), match_expressions: Some(expressions) };
        let query = Query::within(&wants.namespace, Selector::of(Some(&selector)));
        USUAL.into_iter().map(|(topology, skew)| Spread::usual(query.clone(), topology, skew)).collect()
    }

    /// Counts down what the budgets allow for each of the pods, in order; true for those that one does not allow.
    pub(super) fn violations(&self, pods: &[Arc<Pod>]) -> Vec<bool> {
        let mut allowed: BTreeMap<&ObjectKey, i32> = BTreeMap::new();
        let mut violates = |pod: &Pod| {
            let mut violated = false;
            let namespace = facts::namespace(&pod.metadata);
            for (key, budget) in self.budgets.iter().filter(|(key, _)| key.namespace() == namespace) {
                let status = budget.status.as_ref();
                let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
                let is_counted = disrupted.is_some_and(|pods| pods.contains_key(facts::name(&pod.metadata)));
                if is_counted || !covers(budget, pod) {
                    continue;
                }
                let left = status.and_then(|status| status.disruptions_allowed).unwrap_or(0);
                let left = allowed.entry(key).or_insert(left);
                *left -= 1;
                violated |= *left < 0;
            }
            violated
        };
        pods.iter().map(|pod| violates(pod)).collect()
    }
}

/// A budget without labels to look for covers nothing here.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = Selector::of(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
    !selector.requirements().is_empty() && selector.matches(pod.metadata.labels.as_ref())
}
