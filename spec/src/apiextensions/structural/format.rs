//! The formats of texts that are checked; others say something to people only.
//!
//! The list is that of `pkg/apiserver/validation/formats.go`; numbers' formats are checked nowhere.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::Date;

use crate::meta;

/// Whether `text` is of the format; true for formats that are not known.
pub(super) fn matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<Date>().is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "byte" => STANDARD.decode(text).is_ok(),
        "uri" | "url" => is_uri(text),
        "email" => is_email(text),
        "hostname" => meta::dns_1123_subdomain_faults(&text.to_lowercase()).is_empty(),
        "duration" => is_duration(text),
        "hexcolor" => is_hex_color(text),
        "k8s-short-name" => meta::dns_1123_label_faults(text).is_empty(),
        "k8s-long-name" => meta::dns_1123_subdomain_faults(text).is_empty(),
        _ => true,
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let bits: Option<u8> = bits.parse().ok();
    let max = match (address.parse::<Ipv4Addr>().is_ok(), address.parse::<Ipv6Addr>().is_ok()) {
        (true, _) => 32,
        (_, true) => 128,
        _ => return false,
    };
    bits.is_some_and(|bits| bits <= max)
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut parts = text.split(separator);
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.clone().count() == 6 && parts.all(is_byte)
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let has_version = version.is_none_or(|version| text.chars().nth(14) == Some(version));
    matches!(text.len(), 32 | 36) && has_version && uuid::Uuid::try_parse(text).is_ok()
}

/// A scheme and something after it.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return text.starts_with('/') };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        && !rest.is_empty()
        && !rest.contains(char::is_whitespace)
}

fn is_email(text: &str) -> bool {
    let Some((user, host)) = text.rsplit_once('@') else { return false };
    !user.is_empty() && !user.contains(char::is_whitespace) && !host.is_empty() && !host.contains([' ', '@'])
}

/// As Go writes durations: `1h30m`, `1.5s`, `-3ms`.
fn is_duration(text: &str) -> bool {
    go_duration_nanos(text).is_some()
}

/// The nanoseconds of a duration as Go writes it; `None` when it is none.
pub(in super::super) fn go_duration_nanos(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("h", 3.6e12),
        ("m", 6e10),
        ("s", 1e9),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let (unit, size) = UNITS.iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        nanos += number * size;
        rest = &rest[end + unit.len()..];
    }
    let is_empty = text.trim_start_matches(['-', '+']).is_empty();
    (!is_empty && nanos < i64::MAX as f64).then_some((sign * nanos) as i64)
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_of_a_format_or_not() {
        for (format, good, bad) in [
            ("date-time", "2026-01-01T00:00:00Z", "2026-01-01"),
            ("date", "2026-01-01", "2026-13-01"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fe80::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:1b:44:11:3a:b7", "00:1b:44:11:3a"),
            ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810"),
            ("uuid4", "9b2f1d0e-8f5a-4c1c-9b7e-2f3c1d0e8f5a", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("byte", "aGVsbG8=", "a"),
            ("uri", "https://example.com/a", "example com"),
            ("email", "a@example.com", "example.com"),
            ("hostname", "a.example.com", "a_b"),
            ("duration", "1h30m0.5s", "1 hour"),
            ("hexcolor", "#a0b1c2", "#a0b1c"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            assert!(matches(format, good), "{format}: {good}");
            assert!(!matches(format, bad), "{format}: {bad}");
        }
        assert!(matches("password", "anything"));
        assert_eq!(go_duration_nanos("1h30m"), Some(5_400_000_000_000));
        assert_eq!(go_duration_nanos("-1.5ms"), Some(-1_500_000));
        for text in ["", "-", "1", "h", "1h2"] {
            assert_eq!(go_duration_nanos(text), None, "{text}");
        }
    }
}
