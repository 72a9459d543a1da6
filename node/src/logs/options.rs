//! What a reader may ask for: the query parameters of `pods/log`.

use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::Stream;

/// Which part of a log to read and how to show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// Go on with new lines until the container ends.
    pub follow: bool,
    /// The run before the current one.
    pub previous: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines at or after this time.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
    /// Of which stream.
    pub selection: Selection,
}

/// Which streams to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Both, in the order they were written.
    #[default]
    All,
    /// Only this one.
    Only(Stream),
}

impl Selection {
    pub(super) fn takes(self, stream: Stream) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == stream,
        }
    }
}

/// A query parameter that cannot be understood.
#[derive(Debug, Error, PartialEq)]
#[error("invalid value {value:?} of parameter {parameter}: {reason}")]
pub struct OptionsError {
    /// Its name.
    pub parameter: &'static str,
    /// What was given.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ReadOptions {
    /// Reads the parameters of a query string; unknown ones are ignored, as in all of the API.
    pub fn from_query(query: &str, now: Timestamp) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            options.take(name, &value, now)?;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), OptionsError> {
        match name {
            "follow" => self.follow = boolean("follow", value)?,
            "previous" => self.previous = boolean("previous", value)?,
            "timestamps" => self.timestamps = boolean("timestamps", value)?,
            "tailLines" => self.tail_lines = Some(number("tailLines", value)?),
            "limitBytes" => self.limit_bytes = Some(number("limitBytes", value)?),
            "sinceSeconds" => {
                let ago = Duration::from_secs(number("sinceSeconds", value)?);
                self.since = Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN));
            }
            "sinceTime" => {
                let time = value.parse();
                self.since = Some(time.map_err(|_| invalid("sinceTime", value, "not an RFC 3339 time"))?);
            }
            "stream" => {
                self.selection = match value {
                    "" | "All" => Selection::All,
                    "Stdout" => Selection::Only(Stream::Stdout),
                    "Stderr" => Selection::Only(Stream::Stderr),
                    _ => return Err(invalid("stream", value, "not one of All, Stdout, Stderr")),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Undoes the escapes of a query value.
fn decode(value: &str) -> String {
    let spaced = value.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn boolean(parameter: &'static str, value: &str) -> Result<bool, OptionsError> {
    match value {
        "1" | "t" | "true" | "T" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "false" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(parameter, value, "not a boolean")),
    }
}

fn number(parameter: &'static str, value: &str) -> Result<u64, OptionsError> {
    value.parse().map_err(|_| invalid(parameter, value, "not a whole number"))
}

fn invalid(parameter: &'static str, value: &str, reason: &'static str) -> OptionsError {
    OptionsError { parameter, value: value.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    #[test]
    fn reads_what_kubectl_sends() {
        let query =
            "container=c&follow=true&tailLines=3&timestamps=1&sinceSeconds=60&limitBytes=9&stream=Stderr";
        let options = ReadOptions::from_query(query, now()).unwrap();
        let want = ReadOptions {
            follow: true,
            previous: false,
            timestamps: true,
            tail_lines: Some(3),
            since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            limit_bytes: Some(9),
            selection: Selection::Only(Stream::Stderr),
        };
        assert_eq!(options, want);
    }

    #[test]
    fn times_may_be_escaped() {
        let options = ReadOptions::from_query("sinceTime=2026-01-01T02%3A00%3A00%2B02%3A00", now()).unwrap();
        assert_eq!(options.since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn names_the_parameter_that_is_wrong() {
        for (query, parameter) in
            [("tailLines=-1", "tailLines"), ("follow=maybe", "follow"), ("sinceTime=noon", "sinceTime")]
        {
            assert_eq!(ReadOptions::from_query(query, now()).unwrap_err().parameter, parameter);
        }
    }
}
