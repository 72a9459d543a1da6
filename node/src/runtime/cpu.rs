//! The processor time of one container: counted turn by turn, and held to its limit.
//!
//! A turn is one poll of a guest's future, which the epoch ends after a few milliseconds at most. All instances of a
//! container draw on the same account. One that is overdrawn waits by a timer, not by a thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::ticker::Ticker;

/// A container that was idle may run at full speed for the time this long a period grants it, as with the kernel's
/// own quota.
const PERIOD: Duration = Duration::from_millis(100);

/// One container's account.
pub(super) struct Cpu {
    opened: Instant,
    used_ns: AtomicU64,
    limit: Option<Limit>,
}

/// A share of a core, kept by the moment up to which the time used is paid for: with half a core, a millisecond
/// used pays for two.
#[derive(Debug)]
struct Limit {
    millis: u64,
    paid_until_ns: AtomicU64,
}

impl Cpu {
    /// An account that grants so many thousandths of a core; `None` or 0 sets no limit.
    pub(super) fn new(limit_millis: Option<u32>) -> Self {
        let limit = limit_millis
            .filter(|millis| *millis > 0)
            .map(|millis| Limit { millis: millis.into(), paid_until_ns: AtomicU64::new(0) });
        Self { opened: Instant::now(), used_ns: AtomicU64::new(0), limit }
    }

    /// All that was used so far.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    /// Gives a guest its turn, if the account allows one now. `waiting` belongs to the guest.
    pub(super) fn turn<F: Future + ?Sized>(
        &self,
        ticker: &Ticker,
        waiting: &mut Option<Pin<Box<Sleep>>>,
        guest: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let mut start = Instant::now();
        while let Some(limit) = &self.limit {
            let Some(wait) = limit.wait(ns(start - self.opened)) else { break };
            let sleep = waiting.insert(Box::pin(tokio::time::sleep(wait)));
            std::task::ready!(sleep.as_mut().poll(cx));
            start = Instant::now();
        }
        *waiting = None;
        ticker.guest_runs();
        let polled = guest.poll(cx);
        let end = Instant::now();
        let used_ns = ns(end - start);
        self.used_ns.fetch_add(used_ns, Ordering::Relaxed);
        if let Some(limit) = &self.limit {
            limit.charge(ns(end - self.opened), used_ns);
        }
        polled
    }

    /// Runs a guest to its end, turn by turn.
    pub(super) async fn run<F: Future>(&self, ticker: &Ticker, guest: F) -> F::Output {
        let mut guest = std::pin::pin!(guest);
        let mut waiting = None;
        std::future::poll_fn(|cx| self.turn(ticker, &mut waiting, guest.as_mut(), cx)).await
    }
}

impl Limit {
    fn charge(&self, now_ns: u64, used_ns: u64) {
        let cost = used_ns.saturating_mul(1000) / self.millis;
        // What was not used longer ago than a period is lost.
        let oldest = now_ns.saturating_sub(ns(PERIOD));
        let paid = |paid: u64| Some(paid.max(oldest).saturating_add(cost));
        // The closure always gives a value, so there is no failure to look at.
        let _ = self.paid_until_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
    }

    fn wait(&self, now_ns: u64) -> Option<Duration> {
        let ahead = self.paid_until_ns.load(Ordering::Relaxed).checked_sub(now_ns)?;
        (ahead > 0).then(|| Duration::from_nanos(ahead))
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn limit(millis: u64) -> Limit {
        Limit { millis, paid_until_ns: AtomicU64::new(0) }
    }

    #[test]
    fn time_used_is_granted_again_at_the_rate_of_the_limit() {
        // Half a core, and nothing used for long.
        let half = limit(500);
        let now = 10_000 * MS;
        assert_eq!(half.wait(now), None);
        // 50 ms in one go are what a period of 100 ms grants.
        half.charge(now, 50 * MS);
        assert_eq!(half.wait(now), None);
        half.charge(now, 10 * MS);
        assert_eq!(half.wait(now), Some(Duration::from_millis(20)));
        assert_eq!(half.wait(now + 20 * MS), None);
    }

    #[test]
    fn idle_time_is_not_saved_beyond_a_period() {
        let tenth = limit(100);
        tenth.charge(1_000 * MS, 10 * MS);
        assert_eq!(tenth.wait(1_000 * MS), None);
        tenth.charge(100_000 * MS, 10 * MS);
        tenth.charge(100_000 * MS, 10 * MS);
        assert_eq!(tenth.wait(100_000 * MS), Some(Duration::from_millis(100)));
    }

    #[test]
    fn several_cores_may_be_used_at_once() {
        // Two guests on two cores for 10 ms are within a limit of two cores.
        let two = limit(2000);
        for now in (1..=100).map(|turn| 1_000 * MS + turn * 10 * MS) {
            two.charge(now, 10 * MS);
            two.charge(now, 10 * MS);
            assert_eq!(two.wait(now), None);
        }
    }
}
