//! Schedules in the five fields of cron, as Kubernetes reads them: names of months and days, lists, ranges, steps, the
//! `@` words; and when they are due, in any time zone.
//!
//! Meaning and messages follow the parser that Kubernetes uses. Two of its rules surprise: when both days (of the month
//! and of the week) are restricted, either will do; a time that the clock skips in spring is not made up for.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Nothing is looked for further ahead than this: the 29th of February comes within eight years.
const DAYS_AHEAD: usize = 8 * 366;

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Too many or too few fields.
    #[error("expected exactly 5 fields, found {found}: [{text}]")]
    Fields {
        /// How many there are.
        found: usize,
        /// All of them.
        text: String,
    },
    /// An `@` word that is none.
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    /// Neither a number nor a name.
    #[error("failed to parse int from {0}")]
    Number(String),
    /// Below or above what the field can be.
    #[error("{value} is outside of {min} to {max}: {text}")]
    Range {
        /// What was asked for.
        value: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
        /// Where.
        text: String,
    },
    /// More than one `-` or `/`, a range from high to low, or a step of nothing.
    #[error("not a value, a range or a step: {0}")]
    Form(String),
    /// A time zone belongs in the field of its own.
    #[error("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")]
    Zone,
}

/// When something is due, in local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether days of the month, and of the week, are all alike.
    any_day: bool,
    any_weekday: bool,
}

/// The values a field can have, and names for them.
struct Field {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTES: Field = Field { min: 0, max: 59, names: &[] };
const HOURS: Field = Field { min: 0, max: 23, names: &[] };
const DAYS: Field = Field { min: 1, max: 31, names: &[] };
const MONTHS: Field = Field {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Field = Field { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Schedule, ScheduleError> {
        let text = text.trim();
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            return Err(ScheduleError::Zone);
        }
        let text = if text.starts_with('@') { word(text)? } else { text };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(ScheduleError::Fields { found: fields.len(), text: fields.join(" ") });
        };
        let ((days, any_day), (weekdays, any_weekday)) = (DAYS.parse(days)?, WEEKDAYS.parse(weekdays)?);
        Ok(Schedule {
            minutes: MINUTES.parse(minutes)?.0,
            hours: HOURS.parse(hours)?.0,
            days,
            months: MONTHS.parse(months)?.0,
            weekdays,
            any_day,
            any_weekday,
        })
    }

    /// The first time after `after`; `None` when there is none in years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let first = zone.to_datetime(after).date();
        let mut days = std::iter::successors(Some(first), |day| day.tomorrow().ok()).take(DAYS_AHEAD);
        days.find_map(|day| self.due_on(day, zone).into_iter().find(|due| *due > after))
    }

    /// The last time that is later than `after` and not later than `until`, and how many such times there are; more
    /// than `count_max` are not counted.
    pub fn last(
        &self,
        after: Timestamp,
        until: Timestamp,
        zone: &TimeZone,
        count_max: usize,
    ) -> Option<(Timestamp, usize)> {
        let (first, last) = (zone.to_datetime(after).date(), zone.to_datetime(until).date());
        let (mut found, mut count) = (None, 0);
        let days = std::iter::successors(Some(last), |day| day.yesterday().ok()).take(DAYS_AHEAD);
        for day in days.take_while(|day| *day >= first) {
            let due = self.due_on(day, zone).into_iter().rev();
            for time in due.filter(|time| *time > after && *time <= until) {
                found = found.or(Some(time));
                count += 1;
                if count > count_max {
                    return found.map(|time| (time, count));
                }
            }
        }
        found.map(|time| (time, count))
    }

    /// The times of one day of the zone's calendar, in order. Where the clock is turned back, an hour comes twice.
    fn due_on(&self, day: Date, zone: &TimeZone) -> Vec<Timestamp> {
        if !self.has_day(day) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for hour in (0..24_i8).filter(|hour| has(self.hours, hour.unsigned_abs().into())) {
            for minute in (0..60_i8).filter(|minute| has(self.minutes, minute.unsigned_abs().into())) {
                let time = DateTime::from_parts(day, Time::constant(hour, minute, 0, 0));
                match zone.to_ambiguous_timestamp(time).offset() {
                    AmbiguousOffset::Unambiguous { offset } => due.extend(offset.to_timestamp(time)),
                    AmbiguousOffset::Gap { .. } => {}
                    AmbiguousOffset::Fold { before, after } => {
                        due.extend(before.to_timestamp(time));
                        due.extend(after.to_timestamp(time));
                    }
                }
            }
        }
        due.sort_unstable();
        due
    }

    fn has_day(&self, day: Date) -> bool {
        let weekday = day.weekday().to_sunday_zero_offset().unsigned_abs().into();
        let of_month = has(self.days, day.day().unsigned_abs().into());
        let of_week = has(self.weekdays, weekday);
        let suits = if self.any_day || self.any_weekday { of_month && of_week } else { of_month || of_week };
        suits && has(self.months, day.month().unsigned_abs().into())
    }
}

fn has(set: u64, value: u32) -> bool {
    set & (1 << value) != 0
}

/// What an `@` word stands for.
fn word(text: &str) -> Result<&'static str, ScheduleError> {
    match text {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(ScheduleError::Descriptor(text.to_owned())),
    }
}

impl Field {
    /// The values, as bits, and whether they are all that there can be.
    fn parse(&self, text: &str) -> Result<(u64, bool), ScheduleError> {
        let (mut set, mut any) = (0, false);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (bits, all) = self.part(part)?;
            set |= bits;
            any |= all;
        }
        if set == 0 { Err(ScheduleError::Form(text.to_owned())) } else { Ok((set, any)) }
    }

    /// `*`, `a`, `a-b`, each with `/step`; `a/step` goes on to the end.
    fn part(&self, text: &str) -> Result<(u64, bool), ScheduleError> {
        let wrong = || ScheduleError::Form(text.to_owned());
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        let (first, last, any) = match range.split_once('-') {
            None if range == "*" || range == "?" => (self.min, self.max, step.is_none_or(|step| step <= 1)),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.max } else { value }, false)
            }
            Some((first, last)) => (self.value(first)?, self.value(last)?, false),
        };
        for value in [first, last] {
            if !(self.min..=self.max).contains(&value) {
                let (min, max, text) = (self.min, self.max, text.to_owned());
                return Err(ScheduleError::Range { value, min, max, text });
            }
        }
        let step = step.unwrap_or(1);
        if first > last || step == 0 {
            return Err(wrong());
        }
        let bits = (first..=last).step_by(usize::try_from(step).map_err(|_| wrong())?);
        Ok((bits.fold(0, |set, value| set | 1 << value), any))
    }

    fn value(&self, text: &str) -> Result<u32, ScheduleError> {
        let name = text.to_ascii_lowercase();
        match self.names.iter().position(|own| *own == name) {
            Some(position) => Ok(self.min + u32::try_from(position).expect("there are few names")),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u32, ScheduleError> {
    text.parse().map_err(|_| ScheduleError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests;
