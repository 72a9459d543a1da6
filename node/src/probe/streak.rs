//! When results in a row become a verdict.

/// One result, or the verdict of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Good,
    Bad,
}

/// The last results in a row.
#[derive(Debug)]
pub(super) struct Streak {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<Turn>,
    length: u32,
}

impl Streak {
    pub(super) fn new(success_threshold: u32, failure_threshold: u32) -> Self {
        Self { success_threshold, failure_threshold, last: None, length: 0 }
    }

    /// Notes a result. `Some` when exactly enough of them came in a row.
    pub(super) fn record(&mut self, result: Turn) -> Option<Turn> {
        if self.last == Some(result) {
            self.length = self.length.saturating_add(1);
        } else {
            (self.last, self.length) = (Some(result), 1);
        }
        let threshold = match result {
            Turn::Good => self.success_threshold,
            Turn::Bad => self.failure_threshold,
        };
        (self.length == threshold).then_some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_enough_results_in_a_row() {
        let mut streak = Streak::new(2, 3);
        let verdicts: String = "gbggbbgbbbbg"
            .chars()
            .map(|c| match streak.record(if c == 'g' { Turn::Good } else { Turn::Bad }) {
                Some(Turn::Good) => 'G',
                Some(Turn::Bad) => 'B',
                None => '.',
            })
            .collect();
        assert_eq!(verdicts, "...G.....B..");
    }
}
