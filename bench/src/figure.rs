//! Figures, and the table that they are printed as.

use std::fmt::Write as _;

/// What a figure counts, and with it whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Milliseconds,
    Microseconds,
    Mebibytes,
    PercentOfCore,
}

impl Unit {
    fn suffix(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Milliseconds => " ms",
            Unit::Microseconds => " µs",
            Unit::Mebibytes => " MiB",
            Unit::PercentOfCore => " %",
        }
    }

    fn more_is_better(self) -> bool {
        self == Unit::PerSecond
    }
}

/// One measured value, with what stands beside it.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    what: String,
    unit: Unit,
    measured: f64,
    beside: Option<(&'static str, f64)>,
    goal: Option<f64>,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, measured: f64, unit: Unit) -> Figure {
        Figure { what: what.into(), unit, measured, beside: None, goal: None }
    }

    /// The same, as somebody else does it.
    pub(crate) fn beside(self, whose: &'static str, value: f64) -> Figure {
        Figure { beside: Some((whose, value)), ..self }
    }

    /// What we want it to be at least, or at most.
    pub(crate) fn goal(self, goal: f64) -> Figure {
        Figure { goal: Some(goal), ..self }
    }

    /// How many times better than what is beside it; below 1 it is worse.
    fn ratio(&self) -> Option<f64> {
        let (_, other) = self.beside?;
        Some(if self.unit.more_is_better() { self.measured / other } else { other / self.measured })
    }

    fn cells(&self) -> [String; 6] {
        let value = |value: f64| format!("{}{}", number(value), self.unit.suffix());
        let (sign, reached) = match self.goal {
            Some(goal) if self.unit.more_is_better() => ("≥", self.measured >= goal),
            Some(goal) => ("≤", self.measured <= goal),
            None => ("", false),
        };
        let verdict = if reached { "reached" } else { "missed" };
        [
            self.what.clone(),
            value(self.measured),
            self.beside.map(|(_, other)| value(other)).unwrap_or_default(),
            self.beside.map(|(whose, _)| whose.to_owned()).unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default(),
            self.goal.map(|goal| format!("{sign} {} {verdict}", value(goal))).unwrap_or_default(),
        ]
    }
}

/// An aligned table; numbers to the right, words to the left.
pub(crate) fn table(figures: &[Figure]) -> String {
    let head = ["what", "isopod", "beside", "of", "better", "goal"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let written = match column {
                1 | 2 | 4 => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
            written.expect("writing to a string");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number with as many digits as mean something, in groups of three.
pub(crate) fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let cases = [
            (0.0, "0.00"),
            (3.456, "3.46"),
            (42.16, "42.2"),
            (198.4, "198"),
            (2167.0, "2,167"),
            (1234567.0, "1,234,567"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn ratios_say_how_many_times_better() {
        let rate = Figure::new("creates", 6500.0, Unit::PerSecond).beside("k", 2000.0);
        assert_eq!(rate.ratio(), Some(3.25));
        let time = Figure::new("list", 50.0, Unit::Milliseconds).beside("k", 200.0);
        assert_eq!(time.ratio(), Some(4.0));
        assert_eq!(Figure::new("alone", 1.0, Unit::Milliseconds).ratio(), None);
    }

    #[test]
    fn columns_line_up() {
        let figures = [
            Figure::new("creates/s", 6500.0, Unit::PerSecond).beside("Kubernetes", 2167.0).goal(7000.0),
            Figure::new("list", 40.0, Unit::Milliseconds).goal(50.0),
        ];
        let expected = "\
what        isopod   beside  of          better  goal
creates/s  6,500/s  2,167/s  Kubernetes  3.00 ×  ≥ 7,000/s missed
list       40.0 ms                               ≤ 50.0 ms reached
";
        assert_eq!(table(&figures), expected);
    }
}
