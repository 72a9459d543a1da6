//! `/healthz`, `/livez`, `/readyz`: is the process sound, and should it get traffic?

use http::StatusCode;

use super::Api;
use super::call::Call;
use super::reply::Reply;
use super::route::Probe;

/// One thing that may be wrong.
struct Check {
    name: &'static str,
    is_sound: fn(&Api) -> bool,
}

/// Fail when only a restart can help.
const LIVE: &[Check] = &[Check { name: "ping", is_sound: |_| true }];

/// Fail while requests should go elsewhere.
const READY: &[Check] = &[
    Check { name: "ping", is_sound: |_| true },
    Check { name: "raft-quorum", is_sound: |api| api.objects.store().leadership().borrow().leader.is_some() },
    Check { name: "shutdown", is_sound: |api| !api.shutdown.is_cancelled() },
];

/// Answers a probe, or one check of it.
pub(crate) fn answer(api: &Api, probe: Probe, only: Option<&str>, call: &Call) -> Reply {
    let checks = match probe {
        Probe::Readyz => READY,
        Probe::Healthz | Probe::Livez => LIVE,
    };
    let excluded: Vec<&str> = call.query.all("exclude").collect();
    let mut report = String::new();
    let mut failed = false;
    let mut known = false;
    for check in checks.iter().filter(|check| only.is_none_or(|only| only == check.name)) {
        known = true;
        if excluded.contains(&check.name) {
            report.push_str(&format!("[+]{} excluded: ok\n", check.name));
        } else if (check.is_sound)(api) {
            report.push_str(&format!("[+]{} ok\n", check.name));
        } else {
            failed = true;
            report.push_str(&format!("[-]{} failed: reason withheld\n", check.name));
        }
    }
    if !known {
        return Reply::text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    if failed {
        report.push_str(&format!("{} check failed\n", probe.name()));
        return Reply::text(StatusCode::INTERNAL_SERVER_ERROR, report);
    }
    if call.query.get("verbose").is_some() {
        report.push_str(&format!("{} check passed\n", probe.name()));
        return Reply::text(StatusCode::OK, report);
    }
    Reply::text(StatusCode::OK, "ok")
}
