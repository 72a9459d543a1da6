//! How long to wait before trying again what failed: ten seconds, doubled each time up to five minutes, and forgotten
//! once things went well for twice that. The same rule for containers that exit and images that cannot be pulled.

use std::time::Duration;

use jiff::Timestamp;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// Success for this long forgets the failures before it.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The back-off of one thing that is tried again and again. The first failure is followed by a try at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backoff {
    last: Option<Step>,
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    delay: Duration,
    at: Timestamp,
}

impl Backoff {
    /// The wait in force for a failure that happened at `failed_at`: its length and its end. `None` when there is
    /// nothing to wait for.
    pub fn wait(&self, failed_at: Timestamp) -> Option<(Duration, Timestamp)> {
        let step = self.last.as_ref().filter(|step| !step.is_forgotten(failed_at))?;
        Some((step.delay, failed_at.saturating_add(step.delay).unwrap_or(Timestamp::MAX)))
    }

    /// Notes a new try at `now`, after a failure at `failed_at`: the next failure waits longer.
    pub fn advance(&mut self, failed_at: Timestamp, now: Timestamp) {
        let delay = match self.last.as_ref().filter(|step| !step.is_forgotten(failed_at)) {
            Some(step) => (step.delay * 2).min(LONGEST),
            None => FIRST,
        };
        self.last = Some(Step { delay, at: now });
    }
}

impl Step {
    fn is_forgotten(&self, failed_at: Timestamp) -> bool {
        failed_at.duration_since(self.at) > FORGET_AFTER.try_into().expect("ten minutes fit")
    }
}

/// A duration as Kubernetes' messages show it: `20s`, `1m20s`, `5m0s`. Whole seconds only.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.wait(at(0)), None, "the first failure is tried again at once");
        let mut waits = Vec::new();
        let mut now = at(0);
        for _ in 0..7 {
            backoff.advance(now, now);
            let (delay, until) = backoff.wait(now).unwrap();
            waits.push(in_words(delay));
            assert_eq!(until, now + delay);
            now = until;
        }
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
    }

    #[test]
    fn ten_good_minutes_are_a_fresh_start() {
        let mut backoff = Backoff::default();
        backoff.advance(at(0), at(0));
        backoff.advance(at(10), at(10));
        assert!(backoff.wait(at(610)).is_some());
        assert_eq!(backoff.wait(at(611)), None);
        backoff.advance(at(611), at(611));
        assert_eq!(backoff.wait(at(612)).unwrap().0, FIRST);
    }

    #[test]
    fn durations_read_as_in_kubernetes() {
        for (seconds, want) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (3723, "1h2m3s")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), want);
        }
    }
}
