//! Amounts of what nodes have and pods ask for.

use std::collections::BTreeMap;

use isopod_spec::quantity::Amount;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a container without request counts for when nodes are compared, so that a node full of such pods does not
/// look empty: Kubernetes' numbers.
const UNSTATED_CPU_MILLI: i64 = 100;
const UNSTATED_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Amounts of each resource. Missing means zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) cpu_milli: i64,
    pub(super) memory_bytes: i64,
    pub(super) storage_bytes: i64,
    /// Other resources by name (devices, huge pages), in whole units.
    pub(super) other: BTreeMap<String, i64>,
}

type Quantities = BTreeMap<String, Quantity>;

impl Resources {
    /// From an API map. What is no number counts as zero; validation keeps it out.
    pub(super) fn of(quantities: Option<&Quantities>) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in quantities.into_iter().flatten() {
            let Ok(amount) = Amount::parse(&quantity.0) else { continue };
            match name.as_str() {
                "cpu" => resources.cpu_milli = amount.milli_value(),
                "memory" => resources.memory_bytes = amount.value(),
                "ephemeral-storage" => resources.storage_bytes = amount.value(),
                "pods" => {}
                _ => {
                    resources.other.insert(name.clone(), amount.value());
                }
            }
        }
        resources
    }

    /// An amount of a resource that is neither cpu nor memory nor storage.
    pub(super) fn of_other(&self, name: &str) -> i64 {
        self.other.get(name).copied().unwrap_or(0)
    }

    /// Adds `more` to each amount.
    pub(super) fn add(&mut self, more: &Resources) {
        self.cpu_milli += more.cpu_milli;
        self.memory_bytes += more.memory_bytes;
        self.storage_bytes += more.storage_bytes;
        for (name, amount) in &more.other {
            *self.other.entry(name.clone()).or_default() += amount;
        }
    }

    /// Takes `less` from each amount.
    pub(super) fn subtract(&mut self, less: &Resources) {
        self.cpu_milli -= less.cpu_milli;
        self.memory_bytes -= less.memory_bytes;
        self.storage_bytes -= less.storage_bytes;
        for (name, amount) in &less.other {
            *self.other.entry(name.clone()).or_default() -= amount;
        }
    }

    /// The larger of each amount.
    fn raise(&mut self, other: &Resources) {
        self.cpu_milli = self.cpu_milli.max(other.cpu_milli);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.storage_bytes = self.storage_bytes.max(other.storage_bytes);
        for (name, amount) in &other.other {
            let own = self.other.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

/// What a pod asks for, exactly and as it counts in comparisons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// As stated.
    pub(super) stated: Resources,
    /// cpu and memory with a default for each container that states none.
    pub(super) counted_cpu_milli: i64,
    pub(super) counted_memory_bytes: i64,
}

impl Request {
    /// All containers together, or the largest init container if that asks for more; sidecars run beside both.
    pub(super) fn of(pod: &Pod) -> Request {
        let Some(spec) = &pod.spec else { return Request::default() };
        let stated = total(&spec.containers, spec.init_containers.as_deref(), requests);
        let counted = total(&spec.containers, spec.init_containers.as_deref(), counted);
        let overhead = Resources::of(spec.overhead.as_ref());
        let mut request = Request {
            stated,
            counted_cpu_milli: counted.cpu_milli + overhead.cpu_milli,
            counted_memory_bytes: counted.memory_bytes + overhead.memory_bytes,
        };
        request.stated.add(&overhead);
        request
    }
}

fn total(containers: &[Container], init: Option<&[Container]>, of: fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in containers {
        running.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in init.unwrap_or_default() {
        let mut own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            running.add(&own);
            sidecars.add(&own);
            own = sidecars.clone();
        } else {
            own.add(&sidecars);
        }
        starting.raise(&own);
    }
    running.raise(&starting);
    running
}

fn requests(container: &Container) -> Resources {
    Resources::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn counted(container: &Container) -> Resources {
    let mut resources = requests(container);
    if resources.cpu_milli == 0 {
        resources.cpu_milli = UNSTATED_CPU_MILLI;
    }
    if resources.memory_bytes == 0 {
        resources.memory_bytes = UNSTATED_MEMORY_BYTES;
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

    fn container(cpu: &str, memory: &str, policy: Option<&str>) -> Container {
        let requests =
            [("cpu", cpu), ("memory", memory)].into_iter().filter(|(_, amount)| !amount.is_empty());
        let requests =
            requests.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect();
        let resources = ResourceRequirements { requests: Some(requests), ..ResourceRequirements::default() };
        Container {
            resources: Some(resources),
            restart_policy: policy.map(str::to_owned),
            ..Container::default()
        }
    }

    fn request(
        containers: Vec<Container>,
        init: Vec<Container>,
        overhead: &[(&str, &str)],
    ) -> (i64, i64, i64) {
        let overhead =
            overhead.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())));
        let spec = PodSpec {
            containers,
            init_containers: Some(init),
            overhead: Some(overhead.collect()),
            ..PodSpec::default()
        };
        let request = Request::of(&Pod { spec: Some(spec), ..Pod::default() });
        (request.stated.cpu_milli, request.stated.memory_bytes, request.counted_cpu_milli)
    }

    #[test]
    fn a_pod_asks_for_what_its_containers_need_at_their_worst() {
        let plain = |cpu, memory| container(cpu, memory, None);
        let sidecar = |cpu| container(cpu, "1", Some("Always"));
        for (containers, init, overhead, expected) in [
            (vec![plain("100m", "1Ki"), plain("0.5", "1Ki")], vec![], vec![], (600, 2048, 600)),
            (vec![plain("", "")], vec![], vec![], (0, 0, 100)),
            (vec![plain("100m", "1")], vec![plain("1", "1"), plain("300m", "9")], vec![], (1000, 9, 1000)),
            (vec![plain("100m", "1")], vec![sidecar("200m"), plain("500m", "1")], vec![], (700, 2, 700)),
            (vec![plain("600m", "1")], vec![sidecar("200m"), plain("500m", "1")], vec![], (800, 2, 800)),
            (vec![plain("100m", "1")], vec![], vec![("cpu", "50m")], (150, 1, 150)),
        ] {
            assert_eq!(request(containers, init, &overhead), expected);
        }
    }
}
