//! The pace at which refused pods are told why.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::super::refusal::{Hopes, Refusal};
use super::super::telling::Telling;
use crate::cache::ObjectKey;

fn key(number: usize) -> ObjectKey {
    let name = Some(format!("pod-{number}"));
    ObjectKey::of(&ObjectMeta { name, namespace: Some("default".into()), ..ObjectMeta::default() })
}

fn refusal(message: &str) -> Refusal {
    Refusal { message: message.into(), hopes: Hopes::ANY }
}

fn told(telling: &mut Telling, now: Instant) -> usize {
    telling.take(now, |_| Some(())).len()
}

#[test]
fn one_refused_pod_is_told_at_once_and_thousands_one_after_the_other() {
    let now = Instant::now();
    let mut telling = Telling::new(now);
    assert_eq!(telling.due(), None);
    telling.push(key(0), (refusal("no room"), None));
    assert!(telling.due().is_some_and(|due| due <= now));
    assert_eq!(told(&mut telling, now), 1);

    (0..3000).for_each(|number| telling.push(key(number), (refusal("no room"), None)));
    assert_eq!(told(&mut telling, now), 255, "the rest of what may be told at once");
    assert_eq!(told(&mut telling, now), 0);
    let due = telling.due().expect("some wait");
    assert!(due > now && due < now + Duration::from_millis(100), "soon, and several together");
    assert_eq!(told(&mut telling, now + Duration::from_millis(100)), 100);
    let later = (2..=60).map(|second| told(&mut telling, now + Duration::from_secs(second)));
    assert_eq!(later.sum::<usize>(), 3000 - 255 - 100);
    assert_eq!(telling.due(), None);
}

#[test]
fn a_pod_is_told_the_last_reason_only_and_nothing_when_it_does_not_wait() {
    let now = Instant::now();
    let mut telling = Telling::new(now);
    telling.push(key(1), (refusal("first"), None));
    telling.push(key(2), (refusal("gone"), None));
    telling.push(key(1), (refusal("second"), Some("node".into())));
    let taken = telling.take(now, |waiting| (*waiting == key(1)).then_some("pod"));
    assert_eq!(taken, [("pod", (refusal("second"), Some("node".into())))]);
}
