//! Amounts of cpu, memory and other countable resources.
//!
//! The syntax is that of `k8s.io/apimachinery/pkg/api/resource`: a decimal number and a suffix (`100m`, `1.5Gi`,
//! `2e3`). Amounts are exact down to a billionth and capped at 2^63 - 1, never floating point.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Billionths in one.
const NANOS: i128 = 1_000_000_000;

/// The largest amount, in billionths.
const MAX_NANOS: i128 = i64::MAX as i128 * NANOS;

/// Decimal suffixes and the billionths each stands for.
const DECIMAL: [(&str, i128); 10] = [
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("", NANOS),
    ("k", 1_000 * NANOS),
    ("M", 1_000_000 * NANOS),
    ("G", 1_000_000_000 * NANOS),
    ("T", 1_000_000_000_000 * NANOS),
    ("P", 1_000_000_000_000_000 * NANOS),
    ("E", 1_000_000_000_000_000_000 * NANOS),
];

/// Binary suffixes and the billionths each stands for.
const BINARY: [(&str, i128); 6] = [
    ("Ki", NANOS << 10),
    ("Mi", NANOS << 20),
    ("Gi", NANOS << 30),
    ("Ti", NANOS << 40),
    ("Pi", NANOS << 50),
    ("Ei", NANOS << 60),
];

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not begin with a number.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// What follows the number is no suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// Which family of suffixes an amount was written with, and is printed with again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An amount that can be compared and added.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    nanos: i128,
    format: Format,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount { nanos: 0, format: Format::Decimal };

    /// A whole number of units.
    pub fn units(units: i64) -> Amount {
        Amount { nanos: i128::from(units) * NANOS, format: Format::Decimal }
    }

    /// Thousandths: cpu.
    pub fn millis(millis: i64) -> Amount {
        Amount {
            nanos: (i128::from(millis) * 1_000_000).clamp(-MAX_NANOS, MAX_NANOS),
            format: Format::Decimal,
        }
    }

    /// Whole bytes, printed with binary suffixes: memory.
    pub fn bytes(bytes: i64) -> Amount {
        Amount { nanos: i128::from(bytes) * NANOS, format: Format::Binary }
    }

    /// Reads an amount; finer parts than a billionth are rounded up, larger ones than 2^63 - 1 capped.
    pub fn parse(text: &str) -> Result<Amount, ParseError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(ParseError::Form);
        }
        let (unit, format) = unit(suffix)?;
        let magnitude = scale(whole, fraction, &unit);
        Ok(Amount { nanos: if negative { -magnitude } else { magnitude }, format })
    }

    /// The amount in whole units, rounded up.
    pub fn value(self) -> i64 {
        saturate(ceil_div(self.nanos, NANOS))
    }

    /// The amount in thousandths, rounded up and capped: cpu as the scheduler counts it.
    pub fn milli_value(self) -> i64 {
        saturate(ceil_div(self.nanos, 1_000_000))
    }

    /// True below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// True at zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// True when there is no fraction of a unit.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The amount rounded up to thousandths, the finest that objects keep.
    #[must_use]
    pub fn rounded_to_milli(self) -> Amount {
        Amount { nanos: ceil_div(self.nanos, 1_000_000) * 1_000_000, format: self.format }
    }
}

/// How a suffix scales the number before it.
enum Unit {
    /// By so many billionths.
    Nanos(i128),
    /// By a power of ten: the decimal point moves.
    PowerOfTen(i32),
}

fn unit(suffix: &str) -> Result<(Unit, Format), ParseError> {
    if let Some((_, nanos)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Unit::Nanos(*nanos), Format::Decimal));
    }
    if let Some((_, nanos)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((Unit::Nanos(*nanos), Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
    let exponent: i32 = exponent.parse().map_err(|_| ParseError::Suffix)?;
    Ok((Unit::PowerOfTen(exponent), Format::Exponent))
}

/// `whole.fraction` times the unit, in billionths, rounded away from zero and capped.
fn scale(whole: &str, fraction: &str, unit: &Unit) -> i128 {
    match *unit {
        Unit::Nanos(nanos) => in_nanos(whole, fraction, nanos),
        Unit::PowerOfTen(exponent) => {
            // Beyond this everything is capped or vanishes, whatever the digits.
            let shift = exponent.clamp(-64, 64);
            let zeros = "0".repeat(shift.unsigned_abs() as usize);
            let digits = match shift < 0 {
                true => format!("{zeros}{whole}{fraction}"),
                false => format!("{whole}{fraction}{zeros}"),
            };
            let point = match shift < 0 {
                true => whole.len(),
                false => whole.len() + zeros.len(),
            };
            in_nanos(&digits[..point], &digits[point..], NANOS)
        }
    }
}

fn in_nanos(whole: &str, fraction: &str, unit: i128) -> i128 {
    /// More digits than these are far below a billionth of the largest unit.
    const PLACES: usize = 18;
    const TEN_TO_PLACES: i128 = 1_000_000_000_000_000_000;
    let mut nanos: i128 = 0;
    for digit in whole.bytes() {
        // Capping each step keeps an endless row of digits from overflowing.
        nanos = (nanos * 10 + i128::from(digit - b'0')).min(MAX_NANOS);
    }
    nanos = nanos.saturating_mul(unit).min(MAX_NANOS);
    let mut part: i128 = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(PLACES) {
        part = part * 10 + i128::from(digit - b'0');
    }
    // Anything in the digits that were cut still rounds up.
    let rest = fraction.bytes().skip(PLACES).any(|digit| digit != b'0');
    let part = match unit % NANOS {
        0 => ceil_div(part * (unit / NANOS) + i128::from(rest), TEN_TO_PLACES / NANOS),
        _ => ceil_div(part * unit + i128::from(rest), TEN_TO_PLACES),
    };
    (nanos + part).min(MAX_NANOS)
}

fn ceil_div(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    // Away from zero, as upstream rounds.
    match value % by {
        0 => quotient,
        rest if rest > 0 => quotient + 1,
        _ => quotient - 1,
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Amount {
    fn eq(&self, other: &Amount) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Amount) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Amount) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// Zero takes the format of the other operand, so that sums print as their parts do.
fn common_format(a: Amount, b: Amount) -> Format {
    if a.is_zero() { b.format } else { a.format }
}

impl Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        let nanos = (self.nanos + other.nanos).clamp(-MAX_NANOS, MAX_NANOS);
        Amount { nanos, format: common_format(self, other) }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        *self = *self + other;
    }
}

impl Sub for Amount {
    type Output = Amount;

    fn sub(self, other: Amount) -> Amount {
        let nanos = (self.nanos - other.nanos).clamp(-MAX_NANOS, MAX_NANOS);
        Amount { nanos, format: common_format(self, other) }
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Amount {
        amounts.fold(Amount::ZERO, Add::add)
    }
}

/// The canonical form: no fraction, the largest suffix that needs none.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Small amounts print the same in both families, and only decimal suffixes can say a fraction.
        if self.format == Format::Binary && self.nanos.abs() >= 1024 * NANOS {
            let whole = ceil_div(self.nanos, NANOS) * NANOS;
            return match BINARY.iter().rev().find(|(_, nanos)| whole % nanos == 0) {
                Some((suffix, nanos)) => write!(f, "{}{suffix}", whole / nanos),
                None => write!(f, "{}", whole / NANOS),
            };
        }
        let place = DECIMAL.iter().rposition(|(_, nanos)| self.nanos % nanos == 0).unwrap_or(0);
        let (suffix, nanos) = DECIMAL[place];
        let number = self.nanos / nanos;
        match self.format {
            Format::Exponent if nanos != NANOS => {
                let exponent = 3 * (i64::try_from(place).unwrap_or(0) - 3);
                write!(f, "{number}e{exponent}")
            }
            Format::Exponent => write!(f, "{number}"),
            _ => write!(f, "{number}{suffix}"),
        }
    }
}

impl TryFrom<&Quantity> for Amount {
    type Error = ParseError;

    fn try_from(quantity: &Quantity) -> Result<Amount, ParseError> {
        Amount::parse(&quantity.0)
    }
}

impl From<Amount> for Quantity {
    fn from(amount: Amount) -> Quantity {
        Quantity(amount.to_string())
    }
}

/// Rewrites a quantity in its canonical form, rounded up to thousandths, as it is stored. One that cannot be read
/// is left for validation to refuse.
pub fn canonicalize(quantity: &mut Quantity) {
    if let Ok(amount) = Amount::parse(&quantity.0) {
        let canonical = amount.rounded_to_milli().to_string();
        if canonical != quantity.0 {
            quantity.0 = canonical;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_printed_in_canonical_form() {
        for (text, canonical, value, milli) in [
            ("0", "0", 0, 0),
            ("0m", "0", 0, 0),
            ("1", "1", 1, 1000),
            ("+1", "1", 1, 1000),
            ("-1", "-1", -1, -1000),
            ("0.5", "500m", 1, 500),
            (".5", "500m", 1, 500),
            ("5.", "5", 5, 5000),
            ("1.5", "1500m", 2, 1500),
            ("100m", "100m", 1, 100),
            ("1000m", "1", 1, 1000),
            ("1500m", "1500m", 2, 1500),
            ("0.0001", "100u", 1, 1),
            ("1n", "1n", 1, 1),
            ("0.1n", "1n", 1, 1),
            ("1000", "1k", 1000, 1_000_000),
            ("1500", "1500", 1500, 1_500_000),
            ("1e3", "1e3", 1000, 1_000_000),
            ("1E3", "1e3", 1000, 1_000_000),
            ("0.5e19", "5e18", 5_000_000_000_000_000_000, i64::MAX),
            ("5000000000000e-12", "5", 5, 5000),
            ("1e99", "9223372036854775807", i64::MAX, i64::MAX),
            ("1e-99", "1e-9", 1, 1),
            ("12e-3", "12e-3", 1, 12),
            ("15e2", "1500", 1500, 1_500_000),
            ("1E", "1E", 1_000_000_000_000_000_000, i64::MAX),
            ("1Ki", "1Ki", 1024, 1_024_000),
            ("1024", "1024", 1024, 1_024_000),
            ("1.5Gi", "1536Mi", 1_610_612_736, 1_610_612_736_000),
            ("0.5Ki", "512", 512, 512_000),
            ("1536Ki", "1536Ki", 1_572_864, 1_572_864_000),
            ("64Mi", "64Mi", 67_108_864, 67_108_864_000),
            ("128M", "128M", 128_000_000, 128_000_000_000),
            ("9999999999999999999999999", "9223372036854775807", i64::MAX, i64::MAX),
            ("16Ei", "9223372036854775807", i64::MAX, i64::MAX),
            ("0.00000000000000000000000000000000000000001", "1n", 1, 1),
            ("0.3333333333333333333333333333333333333333333", "333333334n", 1, 334),
        ] {
            let amount = Amount::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(amount.to_string(), canonical, "{text}");
            assert_eq!(amount.value(), value, "{text}");
            assert_eq!(amount.milli_value(), milli, "{text}");
            let again = Amount::parse(canonical).unwrap();
            assert_eq!(again, amount, "{text}");
        }
    }

    #[test]
    fn malformed_amounts_are_refused() {
        for (text, error) in [
            ("", ParseError::Form),
            ("abc", ParseError::Form),
            ("-", ParseError::Form),
            (".", ParseError::Form),
            ("1.2.3", ParseError::Form),
            (" 1", ParseError::Form),
            ("1 ", ParseError::Suffix),
            ("1MB", ParseError::Suffix),
            ("1K", ParseError::Suffix),
            ("1ki", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("1ee3", ParseError::Suffix),
        ] {
            assert_eq!(Amount::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn amounts_compare_and_add_whatever_they_were_written_with() {
        let amount = |text| Amount::parse(text).unwrap();
        assert_eq!(amount("1Gi"), amount("1073741824"));
        assert!(amount("1G") < amount("1Gi"));
        assert!(amount("-1") < Amount::ZERO);
        assert_eq!((amount("250m") + amount("0.75")).to_string(), "1");
        assert_eq!((Amount::ZERO + amount("64Mi")).to_string(), "64Mi");
        assert_eq!((amount("1Gi") - amount("512Mi")).to_string(), "512Mi");
        assert_eq!([amount("1"), amount("2")].into_iter().sum::<Amount>(), Amount::units(3));
        assert_eq!(amount("8E") + amount("8E"), amount("9223372036854775807"));
        assert_eq!(Amount::bytes(2048).to_string(), "2Ki");
        assert_eq!(Amount::millis(1500).to_string(), "1500m");
    }

    #[test]
    fn stored_quantities_are_canonical_and_no_finer_than_thousandths() {
        for (given, stored) in [("0.5", "500m"), ("1u", "1m"), ("1024Ki", "1Mi"), ("junk", "junk")] {
            let mut quantity = Quantity(given.to_owned());
            canonicalize(&mut quantity);
            assert_eq!(quantity.0, stored);
        }
    }
}
