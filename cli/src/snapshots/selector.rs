//! How users name a snapshot, and which one they mean. Pure: the time and the list of snapshots are
//! arguments.
//!
//! An age (`10m`, `2h ago`), a local time (`14:03`, `yesterday 14:03`, `2026-01-31`), an RFC 3339
//! time, or `latest` means the newest snapshot that is not later. Anything else is the identifier
//! of a snapshot, the beginning of it, or its name.

use protocol::api::snapshot::Snapshot;
use time::{
    Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, format_description::well_known::Rfc3339,
    macros::format_description,
};

use crate::output::{clock::Clock, suggest::did_you_mean};

/// Examples of times, for error messages.
pub const TIME_EXAMPLES: &str = "2h, 14:03 or 2026-01-31";
/// Shorter text is not taken for the beginning of an identifier.
const MIN_PREFIX_CHARS: usize = 4;
/// Most snapshots that an error message suggests.
const MAX_SUGGESTIONS: usize = 3;

/// A parsed selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest snapshot.
    Latest,
    /// The newest one before this instant.
    Before(OffsetDateTime),
    /// The identifier, its beginning, or the name.
    Named(String),
}

/// Why a selector matches no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound<'a> {
    /// There are no snapshots.
    Empty,
    /// All snapshots are later. This is the oldest.
    TooOld(&'a Snapshot),
    /// No snapshot has this name. These have a similar name, or are the newest.
    Unknown(Vec<&'a Snapshot>),
    /// The identifiers of all these begin with it.
    Ambiguous(Vec<&'a Snapshot>),
}

impl Selector {
    /// Parses what a user typed. Everything that is not a time is a name.
    pub fn parse(text: &str, clock: &Clock) -> Self {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "latest" | "now" => Self::Latest,
            lower => parse_instant(lower, clock).map_or_else(|| Self::Named(text.to_owned()), Self::Before),
        }
    }

    /// The snapshot that it means among `snapshots`, which are sorted newest first.
    pub fn select<'a>(&self, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot, NotFound<'a>> {
        let Some(oldest) = snapshots.last() else { return Err(NotFound::Empty) };
        match self {
            Self::Latest => Ok(&snapshots[0]),
            Self::Before(instant) => {
                let found = snapshots.iter().find(|snapshot| snapshot.created_at < *instant);
                found.ok_or(NotFound::TooOld(oldest))
            }
            Self::Named(name) => select_named(name, snapshots),
        }
    }
}

fn select_named<'a>(name: &str, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot, NotFound<'a>> {
    let has_name = |snapshot: &&Snapshot| snapshot.name.as_deref() == Some(name);
    let lower = name.to_ascii_lowercase();
    let has_prefix = |snapshot: &&Snapshot| snapshot.id.to_string().starts_with(&lower);
    let mut matching: Vec<&Snapshot> = snapshots.iter().filter(has_name).collect();
    if matching.is_empty() && lower.len() >= MIN_PREFIX_CHARS {
        matching = snapshots.iter().filter(has_prefix).collect();
    }
    match matching.as_slice() {
        [one] => Ok(one),
        [] => Err(NotFound::Unknown(suggestions(name, snapshots))),
        [..] => {
            matching.truncate(MAX_SUGGESTIONS);
            Err(NotFound::Ambiguous(matching))
        }
    }
}

/// The snapshot with a similar name; if there is none, the newest snapshots.
fn suggestions<'a>(name: &str, snapshots: &'a [Snapshot]) -> Vec<&'a Snapshot> {
    let names = snapshots.iter().filter_map(|snapshot| snapshot.name.as_deref());
    match did_you_mean(name, names) {
        Some(meant) => {
            snapshots.iter().filter(|snapshot| snapshot.name.as_deref() == Some(meant)).take(1).collect()
        }
        None => snapshots.iter().take(MAX_SUGGESTIONS).collect(),
    }
}

/// Parses a time. The result is the first instant that is too late, so that "14:03" includes the
/// whole second.
pub fn parse_instant(text: &str, clock: &Clock) -> Option<OffsetDateTime> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(age) = parse_age(text.strip_suffix("ago").unwrap_or(&text)) {
        return clock.now.checked_sub(age);
    }
    if let Ok(instant) = OffsetDateTime::parse(&text.to_ascii_uppercase(), &Rfc3339) {
        return instant.checked_add(precision(instant));
    }
    if let Some(time) = parse_time_of_day(&text) {
        return last_occurrence(time, clock);
    }
    let (day, time) = text.split_once([' ', 't']).unwrap_or((&text, ""));
    // The t in "today" and "yesterday" is not a separator.
    let (day, time) = match text.strip_prefix("today").or_else(|| text.strip_prefix("yesterday")) {
        Some(time) => (&text[..text.len() - time.len()], time.trim_start()),
        None => (day, time),
    };
    let day = match day {
        "today" => clock.today(),
        "yesterday" => clock.today().previous_day()?,
        day => Date::parse(day, format_description!("[year]-[month]-[day]")).ok()?,
    };
    if time.is_empty() {
        // A day without a time means its end.
        return Some(clock.instant(PrimitiveDateTime::new(day.next_day()?, Time::MIDNIGHT)));
    }
    clock.instant(PrimitiveDateTime::new(day, parse_time_of_day(time)?)).checked_add(Duration::SECOND)
}

/// The end of the last occurrence of this local time.
fn last_occurrence(time: Time, clock: &Clock) -> Option<OffsetDateTime> {
    let on = |day: Date| clock.instant(PrimitiveDateTime::new(day, time));
    let today = on(clock.today());
    let last = if today <= clock.now { today } else { on(clock.today().previous_day()?) };
    last.checked_add(Duration::SECOND)
}

/// A time without a fraction means the whole second, because that is how the times of snapshots are
/// shown.
fn precision(instant: OffsetDateTime) -> Duration {
    if instant.nanosecond() == 0 { Duration::SECOND } else { Duration::MICROSECOND }
}

fn parse_time_of_day(text: &str) -> Option<Time> {
    let mut parts = text.split(':').map(|part| {
        let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u8>().ok()).flatten()
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() {
        return None;
    }
    Time::from_hms(hour, minute, second).ok()
}

/// Parses "10m", "2 h", "1h30m" or "3 days".
pub fn parse_age(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = None;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = number.parse::<i64>().ok()?.checked_mul(unit_seconds(unit)?)?;
        sum = Some(sum.unwrap_or(Duration::ZERO).checked_add(Duration::seconds(seconds))?);
        rest = after.trim_start();
    }
    sum
}

fn unit_seconds(unit: &str) -> Option<i64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 60 * 60,
        "d" | "day" | "days" => 24 * 60 * 60,
        "w" | "week" | "weeks" => 7 * 24 * 60 * 60,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use protocol::{
        Epoch,
        api::snapshot::{Consistency, SnapshotKind},
    };
    use time::macros::datetime;

    use super::*;
    use crate::output::clock::tests::clock;

    const SECOND: Duration = Duration::SECOND;

    fn snapshot(id: &str, name: Option<&str>, created_at: OffsetDateTime) -> Snapshot {
        Snapshot {
            id: id.parse().expect("an identifier"),
            name: name.map(str::to_owned),
            kind: SnapshotKind::Stream,
            consistency: Consistency::Crash,
            epoch: Epoch(1),
            changed_bytes: 0,
            uploaded_bytes: 0,
            stored_bytes: 0,
            created_at,
        }
    }

    /// Three snapshots, newest first. The identifiers of the two newest begin alike.
    fn snapshots() -> Vec<Snapshot> {
        vec![
            snapshot("01900000-3333-7000-8000-000000000003", None, datetime!(2026-01-20 13:59:50.5 UTC)),
            snapshot(
                "01900000-2222-7000-8000-000000000002",
                Some("before exam"),
                datetime!(2026-01-20 13:03:20.25 UTC),
            ),
            snapshot("018fffff-1111-7000-8000-000000000001", None, datetime!(2026-01-19 13:00:00 UTC)),
        ]
    }

    #[test]
    fn times_are_parsed() {
        // Local time is 2026-01-20 15:00:30, one hour ahead of UTC.
        let now = datetime!(2026-01-20 14:00:30 UTC);
        for (text, expected) in [
            ("10m", now - Duration::minutes(10)),
            ("10 min ago", now - Duration::minutes(10)),
            ("2h ago", now - Duration::hours(2)),
            ("1h30m", now - Duration::minutes(90)),
            ("3d", now - Duration::days(3)),
            ("3 days ago", now - Duration::days(3)),
            ("1w", now - Duration::weeks(1)),
            ("0s", now),
            ("14:03", datetime!(2026-01-20 13:03:00 UTC) + SECOND),
            ("14:03:20", datetime!(2026-01-20 13:03:20 UTC) + SECOND),
            ("9:05", datetime!(2026-01-20 08:05:00 UTC) + SECOND),
            // This time of today is in the future.
            ("23:00", datetime!(2026-01-19 22:00:00 UTC) + SECOND),
            ("today 14:03", datetime!(2026-01-20 13:03:00 UTC) + SECOND),
            ("Yesterday 14:03", datetime!(2026-01-19 13:03:00 UTC) + SECOND),
            ("yesterday", datetime!(2026-01-19 23:00:00 UTC)),
            ("2026-01-18", datetime!(2026-01-18 23:00:00 UTC)),
            ("2026-01-18 14:03", datetime!(2026-01-18 13:03:00 UTC) + SECOND),
            ("2026-01-18T14:03:20", datetime!(2026-01-18 13:03:20 UTC) + SECOND),
            ("2025-07-01 14:03", datetime!(2025-07-01 12:03:00 UTC) + SECOND),
            ("2026-01-18T14:03:20Z", datetime!(2026-01-18 14:03:20 UTC) + SECOND),
            ("2026-01-18T14:03:20+05:00", datetime!(2026-01-18 09:03:20 UTC) + SECOND),
            ("2026-01-18T14:03:20.5Z", datetime!(2026-01-18 14:03:20.5 UTC) + Duration::MICROSECOND),
        ] {
            assert_eq!(Selector::parse(text, &clock()), Selector::Before(expected), "{text}");
        }
        for text in ["latest", "now", " Latest "] {
            assert_eq!(Selector::parse(text, &clock()), Selector::Latest, "{text}");
        }
    }

    #[test]
    fn other_text_is_a_name() {
        for text in [
            "",
            "before exam",
            "m",
            "10",
            "10x",
            "m10",
            "ago",
            "24:00",
            "14:60",
            "14:",
            "1:2:3:4",
            "+4:03",
            "014:03",
            "2026-02-30",
            "tomorrow",
            "todayish",
            "yesterday noon",
            "99999999999999999999d",
            "9223372036854775807w",
            "01900000-3333",
            "deadbeef",
        ] {
            assert_eq!(Selector::parse(text, &clock()), Selector::Named(text.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn selects_newest_that_is_not_later() {
        let snapshots = snapshots();
        for (text, index) in [
            ("latest", 0),
            ("0s", 0),
            ("10m", 1),
            // The list shows 14:03:20, so that must find it.
            ("14:03:20", 1),
            ("14:03:19", 2),
            ("yesterday", 2),
            ("2026-01-19T13:00:00Z", 2),
            ("before exam", 1),
            ("01900000-2", 1),
            ("018F", 2),
            ("018fffff-1111-7000-8000-000000000001", 2),
        ] {
            let chosen = Selector::parse(text, &clock()).select(&snapshots);
            assert_eq!(chosen, Ok(&snapshots[index]), "{text}");
        }
    }

    #[test]
    fn not_found_suggests_nearest() {
        let snapshots = snapshots();
        let newest: Vec<&Snapshot> = snapshots.iter().collect();
        for (text, expected) in [
            ("7d", NotFound::TooOld(&snapshots[2])),
            ("before exma", NotFound::Unknown(vec![&snapshots[1]])),
            ("nothing of the kind", NotFound::Unknown(newest.clone())),
            // Too short to be the beginning of an identifier.
            ("019", NotFound::Unknown(newest)),
            ("0190", NotFound::Ambiguous(vec![&snapshots[0], &snapshots[1]])),
        ] {
            assert_eq!(Selector::parse(text, &clock()).select(&snapshots), Err(expected), "{text}");
        }
        assert_eq!(Selector::Latest.select(&[]), Err(NotFound::Empty));
    }

    #[test]
    fn shown_times_select_their_snapshot() {
        let clock = clock();
        for snapshot in &snapshots() {
            let shown = clock.wall(snapshot.created_at);
            assert_eq!(Selector::parse(&shown, &clock).select(&snapshots()), Ok(snapshot), "{shown}");
        }
    }
}
