//! The priority of a new pod, by the PriorityClass that it names or that is the default.
//!
//! Follows upstream's admission plugin `Priority`.

use isopod_raft_store::{KeyRange, Snapshot};
use isopod_spec::registry;
use isopod_spec::scheduling::priority_class::SYSTEM;
use isopod_spec::status::Status;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::objects::try_decode;

/// How every default class is stored: what has no such text need not be decoded.
const DEFAULT_MARK: &str = r#""globalDefault":true"#;
const PREEMPTS: &str = "PreemptLowerPriority";

/// What a pod gets from its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Priority {
    class: String,
    value: i32,
    policy: String,
}

impl Priority {
    fn of(class: &PriorityClass) -> Priority {
        Priority {
            class: class.metadata.name.clone().unwrap_or_default(),
            value: class.value.unwrap_or(0),
            policy: class.preemption_policy.clone().unwrap_or_else(|| PREEMPTS.to_owned()),
        }
    }

    /// Of a pod that names no class, where there is no default.
    fn none() -> Priority {
        Priority { class: String::new(), value: 0, policy: PREEMPTS.to_owned() }
    }
}

/// The priority of a pod of such a spec; `Ok(Err(…))` is the clause of a Forbidden answer.
pub(super) fn find(snapshot: &Snapshot, spec: &PodSpec) -> Result<Result<Priority, String>, Status> {
    let Some(name) = spec.priority_class_name.as_deref().filter(|name| !name.is_empty()) else {
        let default = default_classes(snapshot)?.into_iter().min_by_key(|class| class.value);
        return Ok(Ok(default.as_ref().map_or_else(Priority::none, Priority::of)));
    };
    let key = registry::kind_of::<PriorityClass>().key("", name);
    if let Some(entry) = snapshot.get(&key) {
        return try_decode::<PriorityClass>(entry).map(|class| Ok(Priority::of(&class)));
    }
    // These are made shortly after the cluster, and again when somebody deletes them.
    let system = SYSTEM.iter().find(|(system, _)| *system == name);
    let known =
        system.map(|(_, value)| Priority { class: name.to_owned(), value: *value, ..Priority::none() });
    Ok(known.ok_or_else(|| format!("no PriorityClass with name {name} was found")))
}

/// Gives a new pod its priority. `Err` is the clause of a Forbidden answer: the author may not choose another one.
pub(super) fn give(spec: &mut PodSpec, priority: Priority) -> Result<(), String> {
    let Priority { class, value, policy } = priority;
    let computed = "priority admission controller computed";
    if let Some(given) = spec.priority.filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; {computed} {value} from the given PriorityClass name"
        ));
    }
    if let Some(given) = spec.preemption_policy.as_ref().filter(|given| **given != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; {computed} {policy} from the given PriorityClass name"
        ));
    }
    spec.priority_class_name = Some(class).filter(|class| !class.is_empty());
    spec.priority = Some(value);
    spec.preemption_policy = Some(policy);
    Ok(())
}

/// Why a class cannot be the default: another one is.
pub(super) fn refuse_second_default(
    snapshot: &Snapshot,
    class: &PriorityClass,
) -> Result<Option<String>, Status> {
    if class.global_default != Some(true) {
        return Ok(None);
    }
    let others = default_classes(snapshot)?;
    let mut others = others.iter().filter(|other| other.metadata.name != class.metadata.name);
    let name = others.next().and_then(|other| other.metadata.name.clone());
    Ok(name
        .map(|name| format!("PriorityClass {name} is already marked as default. Only one default can exist")))
}

fn default_classes(snapshot: &Snapshot) -> Result<Vec<PriorityClass>, Status> {
    let range = KeyRange::prefix(registry::kind_of::<PriorityClass>().prefix(None));
    let has_mark = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|text| text.contains(DEFAULT_MARK));
    let marked = snapshot.range(&range).filter(|(_, entry)| has_mark(&entry.value));
    let classes: Result<Vec<PriorityClass>, Status> = marked.map(|(_, entry)| try_decode(entry)).collect();
    // The mark may also be a text in a description.
    Ok(classes?.into_iter().filter(|class| class.global_default == Some(true)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(priority: Option<i32>, policy: Option<&str>) -> PodSpec {
        PodSpec { priority, preemption_policy: policy.map(str::to_owned), ..PodSpec::default() }
    }

    #[test]
    fn a_pod_has_what_its_class_says_and_nothing_else() {
        let high = || Priority { class: "high".into(), value: 7, policy: "Never".into() };
        for (mut spec, priority, expected) in [
            (given(None, None), Priority::none(), Ok((None, 0, PREEMPTS))),
            (given(Some(0), Some(PREEMPTS)), Priority::none(), Ok((None, 0, PREEMPTS))),
            (given(None, None), high(), Ok((Some("high"), 7, "Never"))),
            (given(Some(7), Some("Never")), high(), Ok((Some("high"), 7, "Never"))),
            (
                given(Some(8), None),
                high(),
                Err(
                    "the integer value of priority (8) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name",
                ),
            ),
            (
                given(None, Some(PREEMPTS)),
                high(),
                Err(
                    "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
                ),
            ),
        ] {
            let outcome = give(&mut spec, priority).map(|()| {
                let class = spec.priority_class_name.as_deref();
                (class, spec.priority.unwrap(), spec.preemption_policy.as_deref().unwrap())
            });
            assert_eq!(outcome, expected.map_err(str::to_owned), "{spec:?}");
        }
    }
}
