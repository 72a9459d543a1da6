//! Columns and cells of server-made tables, and the human durations in them.
//!
//! Shapes follow `meta.k8s.io/v1` Table; durations follow `k8s.io/apimachinery/pkg/util/duration`.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::{Serialize, Serializer};

/// The JSON type of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text.
    String,
    /// Whole number.
    Integer,
    /// Truth value.
    Boolean,
    /// Fraction (custom resources only).
    Number,
    /// Point in time, shown as age (custom resources only).
    Date,
}

/// A column's definition, in the shape a Table carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// The heading (clients upper-case it).
    pub name: Cow<'static, str>,
    /// Type of the cells.
    #[serde(rename = "type")]
    pub cell_type: ColumnType,
    /// `name` for the column that names the object, else empty.
    pub format: Cow<'static, str>,
    /// One sentence for people.
    pub description: Cow<'static, str>,
    /// 0 is always shown, 1 only in wide output.
    pub priority: i32,
}

impl Column {
    const fn of(
        cell_type: ColumnType,
        name: &'static str,
        format: &'static str,
        description: &'static str,
    ) -> Column {
        Column {
            name: Cow::Borrowed(name),
            cell_type,
            format: Cow::Borrowed(format),
            description: Cow::Borrowed(description),
            priority: 0,
        }
    }

    /// A column of text, always shown.
    pub const fn text(name: &'static str, description: &'static str) -> Column {
        Column::of(ColumnType::String, name, "", description)
    }

    /// A column of whole numbers, always shown.
    pub const fn integer(name: &'static str, description: &'static str) -> Column {
        Column::of(ColumnType::Integer, name, "", description)
    }

    /// The same column, shown in wide output only.
    pub const fn wide(mut self) -> Column {
        self.priority = 1;
        self
    }

    /// The first column of most kinds.
    pub const NAME: Column =
        Column::of(ColumnType::String, "Name", "name", "Name is unique within a namespace.");

    /// Time since creation.
    pub const AGE: Column = Column::text("Age", "Time since the object was created.");
}

/// One cell of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A fraction (custom resources only).
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// No value (custom resources without the column's field).
    Null,
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Integer(number) => serializer.serialize_i64(*number),
            Cell::Number(number) => serializer.serialize_f64(*number),
            Cell::Boolean(truth) => serializer.serialize_bool(*truth),
            Cell::Null => serializer.serialize_unit(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Cell {
        Cell::Text(text.unwrap_or_default().to_owned())
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Cell {
        Cell::Integer(number.into())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Integer(number)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Cell {
        Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// What a row says about its object beyond the cells; clients hide or grey rows by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowCondition {
    /// `Completed` is the only one in use.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `True`.
    pub status: &'static str,
    /// Why.
    pub reason: &'static str,
    /// For people.
    pub message: &'static str,
}

/// The first items with commas between them, and how many more there are.
pub(crate) fn first_and_more(items: &[&str], shown: usize) -> String {
    match items.len() {
        count if count > shown => format!("{} + {} more...", items[..shown].join(","), count - shown),
        _ => items.join(","),
    }
}

/// The text of an age cell: time since `then`, or `<unknown>` when it is absent.
pub fn age(then: Option<&Time>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| human_duration(now.as_second() - then.0.as_second()))
}

/// A duration as people read it in tables: two units at most, the second only while it matters.
pub fn human_duration(seconds: i64) -> String {
    // The clocks of two machines may differ a little; more than that is not a duration.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two_units(minutes, 'm', seconds % 60, 's'),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => two_units(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two_units(days, 'd', hours % 24, 'h'),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => two_units(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

fn two_units(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_worded_as_in_upstream_tables() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 3600;
        const DAY: i64 = 86400;
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (10 * MINUTE - 1, "9m59s"),
            (10 * MINUTE, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR - 1, "7h59m"),
            (8 * HOUR, "8h"),
            (48 * HOUR - 1, "47h"),
            (48 * HOUR, "2d"),
            (50 * HOUR, "2d2h"),
            (8 * DAY - 1, "7d23h"),
            (8 * DAY, "8d"),
            (2 * 365 * DAY - 1, "729d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + DAY, "2y1d"),
            (8 * 365 * DAY - 1, "7y364d"),
            (8 * 365 * DAY, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds} s");
        }
    }

    #[test]
    fn an_absent_time_has_no_age() {
        assert_eq!(age(None, Timestamp::UNIX_EPOCH), "<unknown>");
        assert_eq!(age(Some(&Time(Timestamp::UNIX_EPOCH)), Timestamp::UNIX_EPOCH), "0s");
    }

    #[test]
    fn cells_are_json_scalars() {
        let cells = [Cell::from("a"), Cell::from(3), Cell::Boolean(true), Cell::Null];
        assert_eq!(serde_json::to_string(&cells).unwrap(), r#"["a",3,true,null]"#);
    }
}
