//! Messages of the wire whose JSON is not an object: amounts, ports, times, and JSON carried as bytes.

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::wire::Reader;
use crate::decode::DecodeError;
use crate::schema::Type;

/// `{1: string}`; an unset amount is zero.
pub(super) fn quantity(bytes: &[u8]) -> Result<String, DecodeError> {
    let mut text = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        if tag == 1 {
            text = value.text("string")?;
        }
    }
    Ok(if text.is_empty() { "0".to_owned() } else { text })
}

/// `{1: which, 2: number, 3: string}`
pub(super) fn int_or_string(bytes: &[u8]) -> Result<Result<i32, String>, DecodeError> {
    let (mut which, mut number, mut text) = (0, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        match tag {
            1 => which = value.varint("type")?,
            2 => number = value.varint("intVal")? as i32,
            3 => text = value.text("strVal")?,
            _ => {}
        }
    }
    match which {
        0 => Ok(Ok(number)),
        1 => Ok(Err(text)),
        _ => Err(DecodeError::protobuf("impossible IntOrString.Type")),
    }
}

/// `{1: seconds, 2: nanoseconds}`; a message without fields is the zero time, which is none.
pub(super) fn time(bytes: &[u8], kind: &Type) -> Result<Option<String>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        match tag {
            1 => seconds = value.varint("seconds")?.cast_signed(),
            2 => nanos = value.varint("nanos")? as i32,
            _ => {}
        }
    }
    let form = if *kind == Type::MicroTime { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    let time = Timestamp::new(seconds, nanos).map_err(|_| DecodeError::protobuf("time out of range"))?;
    let text = strtime::format(form, time).map_err(|_| DecodeError::protobuf("time out of range"))?;
    Ok(Some(text))
}

/// `{1: nanoseconds}`, as Go prints a duration: `1m30.5s`.
pub(super) fn duration(bytes: &[u8]) -> Result<String, DecodeError> {
    let mut nanos = 0_i64;
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        if tag == 1 {
            nanos = value.varint("duration")?.cast_signed();
        }
    }
    Ok(go_duration(nanos))
}

fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let fraction = |unit: u64, word: &str, value: u64| {
        let digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        format!("{}{point}{digits}{word}", value / unit)
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}", fraction(1_000, "µs", total)),
        1_000_000..1_000_000_000 => format!("{sign}{}", fraction(1_000_000, "ms", total)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(1_000_000_000, "s", total % 60_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// `{1: bytes}`, which hold JSON; none if empty.
pub(super) fn raw(bytes: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    let mut json: &[u8] = &[];
    let mut reader = Reader::new(bytes);
    while let Some((tag, value)) = reader.next()? {
        if tag == 1 {
            json = value.bytes("raw")?;
        }
    }
    Ok(Some(json).filter(|json| !json.is_empty()))
}
