//! Schedules: what is read, and when it is due.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The rules of New York, written out: tests must not depend on the machine's database.
fn new_york() -> TimeZone {
    TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()
}

#[test]
fn the_next_time_is_the_first_that_fits_all_fields() {
    // 2026-01-01 was a Thursday.
    for (schedule, after, next) in [
        ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
        ("* * * * *", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z"),
        ("*/15 * * * *", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
        ("5/20 * * * *", "2026-01-01T00:26:00Z", "2026-01-01T00:45:00Z"),
        ("0 9-17/4 * * *", "2026-01-01T09:00:00Z", "2026-01-01T13:00:00Z"),
        ("0,30 3 * * *", "2026-01-01T03:00:00Z", "2026-01-01T03:30:00Z"),
        ("0 0 1 * *", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("0 0 29 feb *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 12 * * MON-FRI", "2026-01-02T12:00:00Z", "2026-01-05T12:00:00Z"),
        ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("0 0 */2 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("0 0 ? * 0", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ] {
        let found = Schedule::parse(schedule).unwrap().next(at(after), &TimeZone::UTC);
        assert_eq!(found, Some(at(next)), "{schedule} after {after}");
    }
    assert_eq!(
        Schedule::parse("0 0 31 feb *").unwrap().next(at("2026-01-01T00:00:00Z"), &TimeZone::UTC),
        None
    );
}

#[test]
fn a_time_zone_moves_the_times_and_its_clock_changes_are_seen() {
    for (schedule, after, next) in [
        ("0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-01T14:00:00Z"),
        ("0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T13:00:00Z"),
        // At 02:00 on the 8th of March it is 03:00 at once.
        ("30 2 * * *", "2026-03-08T00:00:00Z", "2026-03-09T06:30:00Z"),
        // At 02:00 on the 1st of November it is 01:00 again.
        ("30 1 * * *", "2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z"),
        ("30 1 * * *", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
        ("0,30 1 * * *", "2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z"),
    ] {
        let found = Schedule::parse(schedule).unwrap().next(at(after), &new_york());
        assert_eq!(found, Some(at(next)), "{schedule} after {after}");
    }
}

#[test]
fn the_last_time_is_found_and_the_missed_ones_are_counted_up_to_a_bound() {
    let last = |schedule: &str, after: &str, until: &str| {
        Schedule::parse(schedule).unwrap().last(at(after), at(until), &TimeZone::UTC, 100)
    };
    let (after, until) = ("2026-01-01T00:00:00Z", "2026-01-03T12:30:00Z");
    assert_eq!(last("0 12 * * *", after, until), Some((at("2026-01-03T12:00:00Z"), 3)));
    assert_eq!(last("0 0 1 1 *", after, until), None);
    assert_eq!(last("* * * * *", after, until), Some((at(until), 101)));
    assert_eq!(last("30 12 * * *", after, until), Some((at(until), 3)));
}

#[test]
fn what_is_no_schedule_is_told_why() {
    let messages = [
        "",
        "* * * *",
        "@never",
        "60 * * * *",
        "* * 0 * *",
        "a * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "1-2-3 * * * *",
        "* * * * 7",
        "TZ=UTC * * * * *",
    ]
    .map(|text| format!("{text:?}: {}", Schedule::parse(text).unwrap_err()));
    expect_test::expect![[r#"
        "": expected exactly 5 fields, found 0: []
        "* * * *": expected exactly 5 fields, found 4: [* * * *]
        "@never": unrecognized descriptor: @never
        "60 * * * *": 60 is outside of 0 to 59: 60
        "* * 0 * *": 0 is outside of 1 to 31: 0
        "a * * * *": failed to parse int from a
        "5-1 * * * *": not a value, a range or a step: 5-1
        "*/0 * * * *": not a value, a range or a step: */0
        "1-2-3 * * * *": failed to parse int from 2-3
        "* * * * 7": 7 is outside of 0 to 6: 7
        "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#]]
    .assert_eq(&messages.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The next time after a moment is the last one until itself, with none between.
    #[test]
    fn next_and_last_agree(minute in 0..60_u32, hour in 0..24_u32, start in 0..40_000_000_i64) {
        let schedule = Schedule::parse(&format!("{minute} {hour} * * *")).unwrap();
        let after = at("2026-01-01T00:00:00Z") + SignedDuration::from_secs(start);
        let next = schedule.next(after, &new_york()).unwrap();
        prop_assert!(next > after);
        prop_assert_eq!(schedule.last(after, next, &new_york(), 9), Some((next, 1)));
    }

    #[test]
    fn no_text_is_too_odd_to_be_read_or_refused(text in "[-*/,@0-9a-z? ]{0,24}") {
        let _ = Schedule::parse(&text).map(|schedule| schedule.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC));
    }
}
