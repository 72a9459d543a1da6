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
    /// From the loss of a node until all its pods were ready elsewhere.
    pub(super) replaced: Option<Duration>,
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
            replaced: None,
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
        if let Some(replaced) = self.replaced {
            lines.push(format!("its pods were ready elsewhere after {}", milliseconds(replaced)));
        }
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
            "podsReplacedMs": self.replaced.map(ms),
        })
    }

    fn row(&self) -> [String; 7] {
        [
            format!("{:.1} s", self.at.as_secs_f64()),
            self.what.clone(),
            milliseconds(self.next_write),
            format!("{}/{}", self.failed, self.requests),
            if self.failed > 0 { milliseconds(self.traffic_back) } else { "-".to_owned() },
            milliseconds(self.longest),
            self.replaced.map_or_else(|| "-".to_owned(), milliseconds),
        ]
    }
}

const HEADER: [&str; 7] =
    ["AT", "WHAT", "NEXT WRITE", "FAILED", "TRAFFIC BACK", "SLOWEST ANSWER", "PODS REPLACED"];

/// All faults, a line for each.
pub(super) fn table(effects: &[Effect]) -> String {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(header).chain(effects.iter().map(Effect::row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cell = |(column, cell): (usize, &String)| match column {
            // What was done is text, all else are figures.
            1 => format!("{cell:<width$}", width = widths[column]),
            _ => format!("{cell:>width$}", width = widths[column]),
        };
        format!("{}\n", row.iter().enumerate().map(cell).collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What the whole drill did.
pub(super) struct Total {
    acknowledged: usize,
    lost: usize,
    sent: usize,
    failed: usize,
    /// What the API refused in a way that no client tries again after.
    pub(super) refused: Vec<String>,
}

impl Total {
    pub(super) fn of(seen: &Seen, since: Instant, lost: &[String]) -> Total {
        let requests = seen.requests_since(since);
        Total {
            acknowledged: seen.writes().len(),
            lost: lost.len(),
            sent: requests.len(),
            failed: requests.iter().filter(|request| request.failure.is_some()).count(),
            refused: seen.refused(),
        }
    }

    pub(super) fn line(&self, faults: usize) -> String {
        format!(
            "{faults} faults: {} writes acknowledged, {} lost, {} refused; {} requests, {} failed",
            self.acknowledged,
            self.lost,
            self.refused.len(),
            self.sent,
            self.failed
        )
    }

    pub(super) fn to_json(&self, effects: &[Effect], seed: Option<u64>) -> Value {
        json!({
            "seed": seed,
            "faults": effects.iter().map(Effect::to_json).collect::<Vec<_>>(),
            "writes": { "acknowledged": self.acknowledged, "lost": self.lost, "refused": self.refused },
            "requests": { "sent": self.sent, "failed": self.failed },
        })
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_shown_in_columns() {
        let ms = Duration::from_millis;
        let effect = |what: &str, failed, replaced| Effect {
            what: what.to_owned(),
            at: ms(9_160),
            next_write: ms(247),
            requests: 800,
            failed,
            failure: None,
            longest: ms(31),
            traffic_back: ms(40),
            replaced,
        };
        let effects = [effect("kill -9 member-1", 0, None), effect("kill -9 node-1", 12, Some(ms(3_050)))];
        assert_eq!(
            table(&effects),
            "   AT   WHAT               NEXT WRITE   FAILED   TRAFFIC BACK   SLOWEST ANSWER   PODS REPLACED
9.2 s   kill -9 member-1       247 ms    0/800              -            31 ms               -
9.2 s   kill -9 node-1         247 ms   12/800          40 ms            31 ms         3050 ms
"
        );
    }
}
