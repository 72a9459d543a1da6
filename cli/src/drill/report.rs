//! What a fault did to those who were using the cluster, in figures and in words.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{Request, Seen};

/// What was seen of one fault.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    /// What was done.
    pub(super) what: String,
    /// From the start of the drill.
    pub(super) at: Duration,
    /// From the fault to the acknowledgement of the first write that was begun after it.
    pub(super) next_write: Duration,
    /// Requests that were under way or sent since.
    pub(super) requests: usize,
    pub(super) failed: usize,
    /// Why the first of them failed.
    pub(super) failure: Option<String>,
    /// The longest that one of those that were answered waited.
    pub(super) longest: Duration,
    /// From the fault to the first answer to a request that was sent after the last failed one.
    pub(super) traffic_back: Duration,
}

impl Effect {
    /// What `seen` holds since `fault`; `None` while no write was acknowledged or no request answered since.
    pub(super) fn of(what: &str, started: Instant, fault: Instant, seen: &Seen) -> Option<Effect> {
        let write = seen.write_after(fault)?;
        let requests = seen.ended_since(fault);
        let failures = requests.iter().filter(|request| request.failure.is_some());
        let last_failure = failures.clone().map(|request| request.ended).max();
        let is_back =
            |request: &&Request| request.failure.is_none() && request.sent >= last_failure.unwrap_or(fault);
        let back = requests.iter().filter(is_back).map(|request| request.ended).min()?;
        let answered = requests.iter().filter(|request| request.failure.is_none());
        Some(Effect {
            what: what.to_owned(),
            at: fault.duration_since(started),
            next_write: write.acknowledged.duration_since(fault),
            requests: requests.len(),
            failed: failures.clone().count(),
            failure: failures.clone().find_map(|request| request.failure.clone()),
            longest: answered.map(|r| r.ended.duration_since(r.sent)).max().unwrap_or_default(),
            traffic_back: match last_failure {
                Some(_) => back.duration_since(fault),
                None => Duration::ZERO,
            },
        })
    }

    /// Lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("next write acknowledged after {}", milliseconds(self.next_write)),
            format!(
                "{} of {} requests failed; the slowest answer took {}",
                self.failed,
                self.requests,
                milliseconds(self.longest)
            ),
        ];
        if let Some(failure) = &self.failure {
            lines.push(format!(
                "traffic recovered after {}; the first failure: {failure}",
                milliseconds(self.traffic_back)
            ));
        }
        lines
    }

    pub(super) fn to_json(&self) -> Value {
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        json!({
            "what": self.what,
            "atMs": ms(self.at),
            "nextWriteMs": ms(self.next_write),
            "requests": self.requests,
            "failed": self.failed,
            "trafficRecoveredMs": ms(self.traffic_back),
            "slowestAnswerMs": ms(self.longest),
        })
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}
