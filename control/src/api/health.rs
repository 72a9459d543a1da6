//! `/healthz`, `/livez`, `/readyz`: is the process sound, and should it get traffic?

use std::fmt;

use http::StatusCode;
use isopod_spec::registry;
use k8s_openapi::api::core::v1::Namespace;

use super::Api;
use super::call::Call;
use super::reply::Reply;
use super::route::Probe;

/// One thing that may be wrong.
pub(crate) struct Check {
    name: &'static str,
    is_sound: Box<dyn Fn(&Api) -> bool + Send + Sync>,
}

impl Check {
    /// A check by this name.
    pub(crate) fn new(name: &'static str, is_sound: impl Fn(&Api) -> bool + Send + Sync + 'static) -> Check {
        Check { name, is_sound: Box::new(is_sound) }
    }

    /// Fails when only a restart can help.
    pub(crate) fn live() -> Vec<Check> {
        vec![Check::new("ping", |_| true)]
    }

    /// Fail while requests should go elsewhere.
    pub(crate) fn ready() -> Vec<Check> {
        vec![
            Check::new("ping", |_| true),
            Check::new("raft-quorum", |api| api.objects.store().leadership().borrow().leader.is_some()),
            Check::new("bootstrap", has_default_namespace),
            Check::new("shutdown", |api| !api.shutdown.is_cancelled()),
        ]
    }
}

/// A new cluster takes no work before it has a namespace to put it in.
fn has_default_namespace(api: &Api) -> bool {
    let key = registry::kind_of::<Namespace>().key("", "default");
    api.objects.store().snapshot().get(&key).is_some()
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Result {
    Sound,
    Excluded,
    Failed,
}

/// The checks of one probe, as the answer lists them.
struct Report<'a> {
    probe: Probe,
    results: Vec<(&'a str, Result)>,
}

impl Report<'_> {
    fn has_failed(&self) -> bool {
        self.results.iter().any(|(_, result)| *result == Result::Failed)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, result) in &self.results {
            match result {
                Result::Sound => writeln!(f, "[+]{name} ok")?,
                Result::Excluded => writeln!(f, "[+]{name} excluded: ok")?,
                // Strangers may ask, so they learn no reason.
                Result::Failed => writeln!(f, "[-]{name} failed: reason withheld")?,
            }
        }
        let outcome = if self.has_failed() { "failed" } else { "passed" };
        writeln!(f, "{} check {outcome}", self.probe.name())
    }
}

/// Answers a probe, or one check of it.
pub(crate) fn answer(api: &Api, probe: Probe, only: Option<&str>, call: &Call) -> Reply {
    let checks = match probe {
        Probe::Readyz => &api.ready,
        Probe::Healthz | Probe::Livez => &api.live,
    };
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    let asked = checks.iter().filter(|check| only.is_none_or(|only| only == check.name));
    let results = asked.map(|check| {
        let result = match () {
            () if excluded.contains(&check.name) => Result::Excluded,
            () if (check.is_sound)(api) => Result::Sound,
            () => Result::Failed,
        };
        (check.name, result)
    });
    let report = Report { probe, results: results.collect() };
    match () {
        () if report.results.is_empty() => Reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        () if report.has_failed() => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, report.to_string()),
        () if call.query.get("verbose").is_some() => Reply::text(StatusCode::OK, report.to_string()),
        () => Reply::text(StatusCode::OK, "ok"),
    }
}
