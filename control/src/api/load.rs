//! How much is worked on at once, and for how long: beyond it, clients are asked to come back.
//!
//! Reading and writing have shares of their own, so that a flood of one leaves room for the other. Health,
//! discovery and metrics are always answered; watches and followed logs have a bound of their own.

use std::future::Future;
use std::time::Duration;

use isopod_spec::status::Status;
use tokio::sync::Semaphore;

use super::query::Query;

/// Requests of each share that are worked on at once. One costs its body, of which the largest has 3 MiB.
const READS_MAX: usize = 1024;
const WRITES_MAX: usize = 512;

/// How long a request waits for its turn before it is turned away.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one request may take, unless it asks for less: upstream's bound.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What a request does to the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// Room for requests.
pub(crate) struct Load {
    reads: Semaphore,
    writes: Semaphore,
    queue_timeout: Duration,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            reads: Semaphore::new(READS_MAX),
            writes: Semaphore::new(WRITES_MAX),
            queue_timeout: QUEUE_TIMEOUT,
        }
    }
}

impl Load {
    /// Runs `work` when its turn comes, for as long as it may take.
    pub(crate) async fn run<T>(
        &self,
        share: Share,
        allowed: Duration,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let room = match share {
            Share::Read => &self.reads,
            Share::Write => &self.writes,
        };
        let turn = tokio::time::timeout(self.queue_timeout, room.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Status::too_many_requests("too many requests, please try again later", 1));
        };
        match tokio::time::timeout(allowed, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::timeout("request did not complete within the allotted timeout", 1)),
        }
    }
}

/// `timeout` of the query as Go writes durations (`32s`, `1m30s`, `500ms`); what is none, or too long, is ignored.
pub(crate) fn time_allowed(query: &Query) -> Duration {
    let asked = query.text("timeout").and_then(go_duration).filter(|asked| !asked.is_zero());
    asked.map_or(REQUEST_TIMEOUT, |asked| asked.min(REQUEST_TIMEOUT))
}

fn go_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..unit_end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = &rest[unit_end..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_go_durations_below_the_bound() {
        for (raw, expected) in [
            ("", 60_000),
            ("timeout=32s", 32_000),
            ("timeout=500ms", 500),
            ("timeout=1s500ms", 1_500),
            ("timeout=2h", 60_000),
            ("timeout=0s", 60_000),
            ("timeout=soon", 60_000),
            ("timeout=5", 60_000),
            ("timeout=99999999999s", 60_000),
        ] {
            assert_eq!(time_allowed(&Query::parse(Some(raw))), Duration::from_millis(expected), "{raw}");
        }
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_and_the_other_share_still_served() {
        let short = Duration::from_millis(5);
        let load = Load { queue_timeout: short, ..Load::default() };
        let _flood = load.writes.acquire_many(u32::try_from(WRITES_MAX).expect("a small number")).await;
        let refused = load.run(Share::Write, REQUEST_TIMEOUT, async { Ok(()) }).await.expect_err("no room");
        assert_eq!((refused.code, refused.retry_after_seconds()), (429, Some(1)));
        assert_eq!(load.run(Share::Read, REQUEST_TIMEOUT, async { Ok(1) }).await, Ok(1));
        let stuck = std::future::pending::<Result<(), Status>>();
        assert_eq!(load.run(Share::Read, short, stuck).await.expect_err("too slow").code, 504);
    }
}
