//! Many times of the same thing.

use std::time::Duration;

/// Durations in order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut durations: Vec<Duration>) -> Latencies {
        durations.sort_unstable();
        Latencies(durations)
    }

    /// The time that half of them took at most, in milliseconds.
    pub(crate) fn p50_ms(&self) -> f64 {
        self.percentile_ms(50)
    }

    /// The time that 99 of 100 took at most, in milliseconds.
    pub(crate) fn p99_ms(&self) -> f64 {
        self.percentile_ms(99)
    }

    fn percentile_ms(&self, percent: usize) -> f64 {
        let index = self.0.len().saturating_sub(1) * percent / 100;
        self.0.get(index).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latencies = Latencies::new((1..=101).rev().map(Duration::from_millis).collect());
        assert_eq!((latencies.p50_ms(), latencies.p99_ms()), (51.0, 100.0));
        assert_eq!(Latencies::new(vec![Duration::from_millis(7)]).p99_ms(), 7.0);
        assert!(Latencies::new(vec![]).p50_ms().is_nan());
    }
}
