//! Claims and volumes: who gets which, in what order, and what becomes of both.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::claims::{self, User};
use super::{PROVISIONER, SELECTED_NODE, facts, reclaim};

fn claim(spec: Value) -> PersistentVolumeClaim {
    let mut wanted = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    wanted.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": "data", "namespace": "ns", "uid": "c1",
                          "finalizers": ["kubernetes.io/pvc-protection"]});
    serde_json::from_value(json!({"metadata": metadata, "spec": wanted, "status": {"phase": "Pending"}}))
        .unwrap()
}

fn selected(mut claim: PersistentVolumeClaim, node: &str) -> PersistentVolumeClaim {
    claim.metadata.annotations.get_or_insert_default().insert(SELECTED_NODE.into(), node.into());
    claim
}

fn volume(name: &str, spec: Value) -> Arc<PersistentVolume> {
    let mut offered = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                             "persistentVolumeReclaimPolicy": "Retain"});
    offered.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let metadata = json!({"name": name, "finalizers": ["kubernetes.io/pv-protection"]});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": offered})).unwrap())
}

fn class(provisioner: &str, mode: &str) -> Option<Arc<StorageClass>> {
    let class = json!({"metadata": {"name": "fast"}, "provisioner": provisioner,
                       "volumeBindingMode": mode, "reclaimPolicy": "Delete"});
    Some(Arc::new(serde_json::from_value(class).unwrap()))
}

fn node(name: &str) -> Option<Arc<Node>> {
    let metadata = json!({"name": name, "labels": {"kubernetes.io/hostname": name},
                          "annotations": {"isopod.dev/volumes-folder": "/data/claims"}});
    Some(Arc::new(serde_json::from_value(json!({"metadata": metadata})).unwrap()))
}

fn on(host: &str) -> Value {
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
        [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}})
}

/// The plan in words.
fn told(claim: &PersistentVolumeClaim, observed: &claims::Observed) -> Vec<String> {
    let actions = claims::plan(claim, observed).into_iter().map(|action| match action {
        claims::Action::PutVolume(volume) => format!("reserve {}", facts::name(&volume.metadata)),
        claims::Action::CreateVolume(volume) => format!("create {}", facts::name(&volume.metadata)),
        claims::Action::PutClaim(claim) => format!("claim {}", super::volume_name(&claim).unwrap_or("-")),
        claims::Action::PutStatus(claim) => format!("phase {}", claim.status.unwrap().phase.unwrap()),
        claims::Action::Tell(_, reason, message) => format!("{reason}: {message}"),
    });
    actions.collect()
}

#[test]
fn a_claim_gets_the_smallest_free_volume_that_suits_it() {
    let volumes = vec![
        volume("large", json!({"capacity": {"storage": "5Gi"}})),
        volume("small", json!({"capacity": {"storage": "500Mi"}})),
        volume("right", json!({"capacity": {"storage": "2Gi"}})),
        volume("taken", json!({"claimRef": {"namespace": "ns", "name": "other", "uid": "c2"}})),
        volume("blocks", json!({"volumeMode": "Block"})),
        volume("read", json!({"accessModes": ["ReadOnlyMany"]})),
    ];
    let observed = claims::Observed { of_class: volumes, ..claims::Observed::default() };
    assert_eq!(told(&claim(json!({})), &observed), ["reserve right"]);
    assert_eq!(told(&claim(json!({"accessModes": ["ReadOnlyMany"]})), &observed), ["reserve read"]);
    assert_eq!(told(&claim(json!({"volumeMode": "Block"})), &observed), ["reserve blocks"]);
    let chosen = claim(json!({"selector": {"matchLabels": {"disk": "ssd"}}}));
    assert_eq!(
        told(&chosen, &observed),
        ["FailedBinding: no persistent volumes available for this claim and no storage class is set"]
    );
    let kept = volume(
        "kept",
        json!({"capacity": {"storage": "9Gi"},
                                     "claimRef": {"namespace": "ns", "name": "data"}}),
    );
    let observed = claims::Observed { of_class: vec![observed.of_class[2].clone(), kept], ..observed };
    assert_eq!(told(&claim(json!({})), &observed), ["reserve kept"]);
}

#[test]
fn a_claim_that_waits_says_what_for() {
    let fast = json!({"storageClassName": "fast"});
    let with = |class, user: Option<(&str, bool)>| claims::Observed {
        class,
        user: user.map(|(name, has_node)| User { name: name.into(), has_node }),
        ..claims::Observed::default()
    };
    let ours = || class(PROVISIONER, "WaitForFirstConsumer");
    for (claim, observed, expected) in [
        (
            claim(fast.clone()),
            with(ours(), None),
            "WaitForFirstConsumer: waiting for first consumer to be created before binding",
        ),
        (
            claim(fast.clone()),
            with(ours(), Some(("web", false))),
            "WaitForPodScheduled: waiting for pod web to be scheduled",
        ),
        (
            claim(fast.clone()),
            with(None, None),
            "ProvisioningFailed: storageclass.storage.k8s.io \"fast\" not found",
        ),
        (
            claim(fast.clone()),
            with(class(PROVISIONER, "Immediate"), None),
            "ProvisioningFailed: failed to provision volume with StorageClass \"fast\": volumeBindingMode must be \
             WaitForFirstConsumer: a volume is a folder of the node of its first pod",
        ),
        (
            claim(json!({"volumeName": "v", "storageClassName": "fast"})),
            with(None, None),
            "FailedBinding: volume \"v\" not found",
        ),
    ] {
        assert_eq!(told(&claim, &observed), [expected]);
    }
    let foreign = told(&claim(fast), &with(class("example.com/disk", "Immediate"), None));
    assert!(foreign[0].starts_with("ExternalProvisioning: Waiting for a volume"), "{foreign:?}");
    assert_eq!(foreign[1], "claim -");
}

#[test]
fn a_volume_is_made_on_the_node_of_the_first_pod_unless_one_is_there() {
    let ours = || class(PROVISIONER, "WaitForFirstConsumer");
    let wanting = selected(claim(json!({"storageClassName": "fast"})), "n1");
    let far = volume("far", json!({"storageClassName": "fast", "nodeAffinity": on("n2")}));
    let near = volume("near", json!({"storageClassName": "fast", "nodeAffinity": on("n1")}));
    let with = |of_class, node| claims::Observed { of_class, node, class: ours(), ..Default::default() };
    assert_eq!(told(&wanting, &with(vec![far.clone(), near], node("n1"))), ["reserve near"]);
    let made = claims::plan(&wanting, &with(vec![far], node("n1")));
    let claims::Action::CreateVolume(made) = &made[1] else { panic!("{made:?}") };
    let spec = made.spec.as_ref().unwrap();
    assert_eq!(spec.local.as_ref().unwrap().path, "/data/claims/pvc-c1");
    assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Delete"));
    assert_eq!(super::home_of(made), Some("n1"));
    // The node is gone meanwhile: another one is to be chosen.
    let claims::Action::PutClaim(free) = &claims::plan(&wanting, &with(vec![], None))[0] else { panic!() };
    assert_eq!(facts::annotation(&free.metadata, SELECTED_NODE), None);
    let shared = json!({"storageClassName": "fast", "accessModes": ["ReadWriteMany"]});
    let refused = told(&selected(claim(shared), "n1"), &with(vec![], node("n1")));
    assert!(refused[0].contains("ReadWriteMany is not offered"), "{refused:?}");
}

#[test]
fn a_claim_that_pods_use_is_not_removed() {
    let mut claim = claim(json!({}));
    claim.metadata.deletion_timestamp = Some(facts::stamp(jiff::Timestamp::UNIX_EPOCH));
    let user = Some(User { name: "web".into(), has_node: true });
    let used = claims::Observed { user, ..claims::Observed::default() };
    assert_eq!(claims::plan(&claim, &used), []);
    let claims::Action::PutClaim(free) = &claims::plan(&claim, &claims::Observed::default())[0] else {
        panic!()
    };
    assert_eq!(free.metadata.finalizers, Some(vec![]));
}

#[test]
fn a_claim_whose_volume_is_gone_or_anothers_is_lost() {
    let mut bound = claim(json!({"volumeName": "v"}));
    bound.metadata.annotations = Some([("pv.kubernetes.io/bind-completed".into(), "yes".into())].into());
    let gone = told(&bound, &claims::Observed::default());
    assert_eq!(gone[0], "phase Lost");
    assert!(gone[1].starts_with("ClaimLost: "), "{gone:?}");
    let other = volume("v", json!({"claimRef": {"namespace": "ns", "name": "data", "uid": "other"}}));
    let named = claims::Observed { named: Some(other), ..claims::Observed::default() };
    assert!(told(&bound, &named)[1].starts_with("ClaimMisbound: "));
    bound.metadata.annotations = None;
    assert_eq!(told(&bound, &named), ["FailedBinding: volume \"v\" already bound to a different claim."]);
}

/// The plan for a volume in words.
fn done(volume: &PersistentVolume, claim: Option<PersistentVolumeClaim>) -> Vec<String> {
    let observed = reclaim::Observed { claim: claim.map(Arc::new), node: None };
    let actions = reclaim::plan(volume, &observed).into_iter().map(|action| match action {
        reclaim::Action::PutStatus(volume) => volume.status.unwrap().phase.unwrap(),
        reclaim::Action::Put(_) => "unprotect".to_owned(),
        reclaim::Action::RemoveFolder(_) => "remove the folder".to_owned(),
        reclaim::Action::Delete => "delete".to_owned(),
        reclaim::Action::Tell(reason, _) => reason.to_owned(),
    });
    actions.collect()
}

#[test]
fn a_volume_tells_how_it_stands_and_goes_as_its_policy_says() {
    let kept_for = |uid: &str| json!({"claimRef": {"namespace": "ns", "name": "data", "uid": uid}});
    let owner = || Some(claim(json!({"volumeName": "v"})));
    let ours = |policy: &str, is_leaving: bool| {
        let mut spec = kept_for("c1");
        spec["persistentVolumeReclaimPolicy"] = json!(policy);
        let mut volume = (*volume("v", spec)).clone();
        volume.metadata.annotations = Some([(super::PROVISIONED_BY.into(), PROVISIONER.into())].into());
        let leaves = facts::stamp(jiff::Timestamp::UNIX_EPOCH);
        volume.metadata.deletion_timestamp = is_leaving.then_some(leaves);
        volume
    };
    let by_hand = |policy: &str| {
        let mut spec = kept_for("c1");
        spec["persistentVolumeReclaimPolicy"] = json!(policy);
        (*volume("v", spec)).clone()
    };
    for (volume, claim, expected) in [
        ((*volume("v", json!({}))).clone(), None, &["Available"][..]),
        ((*volume("v", kept_for(""))).clone(), owner(), &["Available"]),
        (by_hand("Retain"), owner(), &["Bound"]),
        (by_hand("Retain"), Some(claim(json!({}))), &[]),
        (by_hand("Retain"), None, &["Released"]),
        (by_hand("Retain"), Some(claim(json!({"volumeName": "w"}))), &["Released"]),
        (by_hand("Delete"), None, &["Failed", "VolumeFailedDelete"]),
        (by_hand("Recycle"), None, &["Failed", "VolumeFailedRecycle"]),
        (ours("Delete", false), owner(), &["Bound"]),
        (ours("Delete", false), None, &["delete"]),
        (ours("Delete", true), owner(), &["Bound"]),
        (ours("Delete", true), None, &["remove the folder", "unprotect"]),
        (ours("Retain", true), None, &["unprotect"]),
    ] {
        assert_eq!(done(&volume, claim), expected, "{volume:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever volumes there are, plans for one claim end, and then the two sides name each other or nobody was changed.
    #[test]
    fn binding_reaches_an_end(
        sizes in proptest::collection::vec((1..6_u32, any::<bool>(), any::<bool>()), 0..6),
        wanted in 1..6_u32,
        is_ours in any::<bool>(),
    ) {
        let mut volumes: Vec<Arc<PersistentVolume>> = sizes.iter().enumerate().map(|(number, (size, near, ours))| {
            let host = if *near { "n1" } else { "n2" };
            let mut spec = json!({"capacity": {"storage": format!("{size}Gi")}, "storageClassName": "fast",
                                  "nodeAffinity": on(host)});
            if *ours {
                spec["claimRef"] = json!({"namespace": "ns", "name": "data"});
            }
            volume(&format!("v{number}"), spec)
        }).collect();
        let provisioner = if is_ours { PROVISIONER } else { "example.com/disk" };
        let request = json!({"storageClassName": "fast", "resources": {"requests": {"storage": format!("{wanted}Gi")}}});
        let mut claim = selected(claim(request), "n1");
        let mut rounds = 0;
        loop {
            let named = super::volume_name(&claim).map(str::to_owned);
            let observed = claims::Observed {
                named: volumes.iter().find(|own| own.metadata.name == named && named.is_some()).cloned(),
                of_class: if named.is_none() { volumes.clone() } else { Vec::new() },
                class: class(provisioner, "WaitForFirstConsumer"),
                node: node("n1"),
                user: None,
            };
            let actions = claims::plan(&claim, &observed);
            let mut has_written = false;
            for action in actions {
                match action {
                    claims::Action::PutVolume(new) => {
                        volumes.retain(|own| own.metadata.name != new.metadata.name);
                        volumes.push(Arc::from(new));
                        has_written = true;
                    }
                    claims::Action::CreateVolume(new) => {
                        volumes.push(Arc::from(new));
                        has_written = true;
                    }
                    claims::Action::PutClaim(new) | claims::Action::PutStatus(new) => {
                        has_written |= *new != claim;
                        claim = *new;
                    }
                    claims::Action::Tell(..) => {}
                }
            }
            rounds += 1;
            prop_assert!(rounds < 10);
            if !has_written {
                break;
            }
        }
        let phase = claim.status.as_ref().and_then(|status| status.phase.clone()).unwrap();
        let mine = volumes.iter().filter(|volume| super::holder(volume, &claim) == super::Holder::This).count();
        if phase == "Bound" {
            prop_assert_eq!(mine, 1);
            let named = super::volume_name(&claim).unwrap();
            let holds = volumes.iter().any(|own| facts::name(&own.metadata) == named
                && super::holder(own, &claim) == super::Holder::This);
            prop_assert!(holds);
        } else {
            prop_assert_eq!(mine, 0);
            prop_assert!(!is_ours);
        }
    }
}
