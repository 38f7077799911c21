//! A point of a home's past as a person names it, and the snapshot that it means. Pure: what the clock shows and which
//! snapshots there are comes in.
//!
//! An age (`10m`, `2h ago`), the wall's time (`14:03`, `yesterday 14:03`, `2026-01-31`), RFC 3339, or `latest` mean the newest
//! snapshot that is not later. Anything else is a snapshot's identifier, the beginning of it, or its name.

use protocol::api::snapshot::Snapshot;
use time::{
    Date, Duration, OffsetDateTime, PrimitiveDateTime, Time, format_description::well_known::Rfc3339,
    macros::format_description,
};

use crate::clock::Clock;

/// Times as they can be written, for who wrote something else.
pub const TIMES: &str = "2h, 14:03 or 2026-01-31";
/// Fewer characters of an identifier are no sign of meaning it.
const MIN_BEGINNING: usize = 4;
/// Snapshots that are named where one must be chosen.
const CHOICES: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    Latest,
    /// The newest one before this instant.
    Before(OffsetDateTime),
    /// Identifier, beginning of it, or name.
    Named(String),
}

/// Why a point means no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent<'a> {
    /// There is none at all.
    Empty,
    /// All are later; this is the oldest.
    Later(&'a Snapshot),
    /// None is called so; these are called almost so, or are the newest.
    Unknown(Vec<&'a Snapshot>),
    /// It is the beginning of all these.
    Several(Vec<&'a Snapshot>),
}

impl Point {
    pub fn parse(text: &str, clock: &Clock) -> Self {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "latest" | "now" => Self::Latest,
            lower => instant(lower, clock).map_or_else(|| Self::Named(text.to_owned()), Self::Before),
        }
    }

    /// The snapshot that it means among these, newest first.
    pub fn choose<'a>(&self, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot, Absent<'a>> {
        let Some(oldest) = snapshots.last() else { return Err(Absent::Empty) };
        match self {
            Self::Latest => Ok(&snapshots[0]),
            Self::Before(instant) => {
                let found = snapshots.iter().find(|snapshot| snapshot.created_at < *instant);
                found.ok_or(Absent::Later(oldest))
            }
            Self::Named(name) => named(name, snapshots),
        }
    }
}

fn named<'a>(name: &str, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot, Absent<'a>> {
    let called = |snapshot: &&Snapshot| snapshot.name.as_deref() == Some(name);
    let lower = name.to_ascii_lowercase();
    let begins = |snapshot: &&Snapshot| snapshot.id.to_string().starts_with(&lower);
    let mut matching: Vec<&Snapshot> = snapshots.iter().filter(called).collect();
    if matching.is_empty() && lower.len() >= MIN_BEGINNING {
        matching = snapshots.iter().filter(begins).collect();
    }
    match matching.as_slice() {
        [one] => Ok(one),
        [] => Err(Absent::Unknown(near(name, snapshots))),
        [..] => {
            matching.truncate(CHOICES);
            Err(Absent::Several(matching))
        }
    }
}

/// The named one that may have been meant; else the newest.
fn near<'a>(name: &str, snapshots: &'a [Snapshot]) -> Vec<&'a Snapshot> {
    let names = snapshots.iter().filter_map(|snapshot| snapshot.name.as_deref());
    match crate::commands::did_you_mean(name, names) {
        Some(meant) => {
            snapshots.iter().filter(|snapshot| snapshot.name.as_deref() == Some(meant)).take(1).collect()
        }
        None => snapshots.iter().take(CHOICES).collect(),
    }
}

/// The first instant that is too late, if the words mean a time.
pub fn instant(text: &str, clock: &Clock) -> Option<OffsetDateTime> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(age) = age(text.strip_suffix("ago").unwrap_or(&text)) {
        return clock.now.checked_sub(age);
    }
    if let Ok(instant) = OffsetDateTime::parse(&text.to_ascii_uppercase(), &Rfc3339) {
        return instant.checked_add(precision(instant));
    }
    if let Some(time) = time_of_day(&text) {
        return last_time(time, clock);
    }
    let (day, time) = text.split_once([' ', 't']).unwrap_or((&text, ""));
    // "today" and "yesterday" have a t of their own.
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
        // A day alone: as it was when the day was over.
        return Some(clock.instant(PrimitiveDateTime::new(day.next_day()?, Time::MIDNIGHT)));
    }
    clock.instant(PrimitiveDateTime::new(day, time_of_day(time)?)).checked_add(Duration::SECOND)
}

/// The last time that the wall showed this.
fn last_time(time: Time, clock: &Clock) -> Option<OffsetDateTime> {
    let on = |day: Date| clock.instant(PrimitiveDateTime::new(day, time));
    let today = on(clock.today());
    let last = if today <= clock.now { today } else { on(clock.today().previous_day()?) };
    last.checked_add(Duration::SECOND)
}

/// A time without a fraction stands for the whole second: so are snapshots' times shown.
fn precision(instant: OffsetDateTime) -> Duration {
    if instant.nanosecond() == 0 { Duration::SECOND } else { Duration::MICROSECOND }
}

fn time_of_day(text: &str) -> Option<Time> {
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

/// "10m", "2 h", "1h30m", "3 days".
fn age(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = None;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let behind = behind.trim_start();
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let seconds = number.parse::<i64>().ok()?.checked_mul(unit_seconds(unit)?)?;
        sum = Some(sum.unwrap_or(Duration::ZERO).checked_add(Duration::seconds(seconds))?);
        rest = behind.trim_start();
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
    use crate::clock::tests::clock;

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

    /// Three, newest first; the two newest begin alike.
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
    fn times_are_understood() {
        // The wall shows 2026-01-20 15:00:30, an hour before UTC.
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
            // It has not been so late today.
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
            assert_eq!(Point::parse(text, &clock()), Point::Before(expected), "{text}");
        }
        for text in ["latest", "now", " Latest "] {
            assert_eq!(Point::parse(text, &clock()), Point::Latest, "{text}");
        }
    }

    #[test]
    fn other_words_are_names() {
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
            assert_eq!(Point::parse(text, &clock()), Point::Named(text.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn a_point_means_the_newest_that_is_not_later() {
        let snapshots = snapshots();
        for (text, index) in [
            ("latest", 0),
            ("0s", 0),
            ("10m", 1),
            // Shown as 14:03:20, and so it can be written back.
            ("14:03:20", 1),
            ("14:03:19", 2),
            ("yesterday", 2),
            ("2026-01-19T13:00:00Z", 2),
            ("before exam", 1),
            ("01900000-2", 1),
            ("018F", 2),
            ("018fffff-1111-7000-8000-000000000001", 2),
        ] {
            let chosen = Point::parse(text, &clock()).choose(&snapshots);
            assert_eq!(chosen, Ok(&snapshots[index]), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_comes_with_the_nearest() {
        let snapshots = snapshots();
        let newest: Vec<&Snapshot> = snapshots.iter().collect();
        for (text, expected) in [
            ("7d", Absent::Later(&snapshots[2])),
            ("before exma", Absent::Unknown(vec![&snapshots[1]])),
            ("nothing of the kind", Absent::Unknown(newest.clone())),
            // Too short to be the beginning of an identifier.
            ("019", Absent::Unknown(newest)),
            ("0190", Absent::Several(vec![&snapshots[0], &snapshots[1]])),
        ] {
            assert_eq!(Point::parse(text, &clock()).choose(&snapshots), Err(expected), "{text}");
        }
        assert_eq!(Point::Latest.choose(&[]), Err(Absent::Empty));
    }

    #[test]
    fn what_the_wall_shows_leads_back() {
        let clock = clock();
        for snapshot in &snapshots() {
            let shown = clock.wall(snapshot.created_at);
            assert_eq!(Point::parse(&shown, &clock).choose(&snapshots()), Ok(snapshot), "{shown}");
        }
    }
}
