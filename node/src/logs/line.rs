//! One line of a log file: `<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <bytes>`, the format of the
//! container runtime interface. `P` marks a part of a line that goes on in the next record of that stream.

use jiff::Timestamp;

/// An output stream of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Full,
    Partial,
}

/// A record as it was read back; the text is without the newline that ends the record.
#[derive(Debug, PartialEq)]
pub(super) struct Record<'a> {
    /// As written, so that it can be handed on without formatting it again.
    pub time: &'a str,
    pub stream: Stream,
    pub part: Part,
    pub text: &'a [u8],
}

impl Record<'_> {
    pub(super) fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Appends one record to `out`.
pub(super) fn format(time: Timestamp, stream: Stream, part: Part, text: &[u8], out: &mut Vec<u8>) {
    let tag = match part {
        Part::Full => 'F',
        Part::Partial => 'P',
    };
    out.extend_from_slice(format!("{time:.9} {} {tag} ", stream.name()).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Reads a record without its newline; `None` for what this node did not write (a file cut by a crash).
pub(super) fn parse(record: &[u8]) -> Option<Record<'_>> {
    let mut fields = record.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let part = match fields.next()? {
        b"F" => Part::Full,
        b"P" => Part::Partial,
        _ => return None,
    };
    Some(Record { time, stream, part, text: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_written() {
        let time: Timestamp = "2026-01-02T03:04:05.000000006Z".parse().unwrap();
        let mut out = Vec::new();
        format(time, Stream::Stderr, Part::Partial, b"a b  c", &mut out);
        assert_eq!(out, b"2026-01-02T03:04:05.000000006Z stderr P a b  c\n");
        let record = parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(record.timestamp(), Some(time));
        assert_eq!(
            (record.stream, record.part, record.text),
            (Stream::Stderr, Part::Partial, &b"a b  c"[..])
        );
    }

    #[test]
    fn what_is_not_a_record_is_none() {
        for text in ["", "x", "2026-01-02T03:04:05Z stdin F x", "2026-01-02T03:04:05Z stdout X x"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
