//! For how long a request may be worked on.

use std::time::Duration;

use super::query::Query;

/// How long one request may take, unless it asks for less: upstream's bound.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

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
}
