//! The user's local time: now, and the offset of their time zone. The only place that reads either.

use std::time::SystemTime;

use chrono::{Local, TimeZone as _};
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset, macros::format_description};

/// The present instant and the user's time zone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The instant at which the clock was read, in local time.
    pub now: OffsetDateTime,
    /// The zone's offset from UTC at an instant. It changes with daylight saving time.
    offset_at: fn(OffsetDateTime) -> UtcOffset,
}

impl Clock {
    /// The system's clock and time zone.
    pub fn read() -> Self {
        Self::new(SystemTime::now().into(), local_offset)
    }

    /// A clock that stands at `now`.
    pub fn new(now: OffsetDateTime, offset_at: fn(OffsetDateTime) -> UtcOffset) -> Self {
        Self { now: now.to_offset(offset_at(now)), offset_at }
    }

    /// An instant in local time.
    pub fn local(&self, instant: OffsetDateTime) -> OffsetDateTime {
        instant.to_offset((self.offset_at)(instant))
    }

    /// The local date.
    pub fn today(&self) -> Date {
        self.now.date()
    }

    /// The instant of a local date and time.
    pub fn instant(&self, wall: PrimitiveDateTime) -> OffsetDateTime {
        let near = wall.assume_offset(self.now.offset());
        wall.assume_offset((self.offset_at)(near))
    }

    /// "14:03:20", "yesterday 14:03:20" or "2026-01-31 14:03:20". A snapshot selector understands
    /// all of them.
    pub fn wall(&self, instant: OffsetDateTime) -> String {
        let local = self.local(instant);
        let time = text(local, format_description!("[hour]:[minute]:[second]"));
        if local.date() == self.today() {
            time
        } else if Some(local.date()) == self.today().previous_day() {
            format!("yesterday {time}")
        } else {
            format!("{} {time}", local.date())
        }
    }

    /// "2026-01-31 14:03:20 +01:00".
    pub fn exact(&self, instant: OffsetDateTime) -> String {
        text(
            self.local(instant),
            format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]"
            ),
        )
    }

    /// "20260131-140320", for file names.
    pub fn stamp(&self) -> String {
        text(self.now, format_description!("[year][month][day]-[hour][minute][second]"))
    }
}

fn text(instant: OffsetDateTime, format: &(impl time::formatting::Formattable + ?Sized)) -> String {
    instant.format(format).unwrap_or_else(|_| instant.to_string())
}

fn local_offset(instant: OffsetDateTime) -> UtcOffset {
    let offset = Local
        .timestamp_opt(instant.unix_timestamp(), 0)
        .single()
        .map(|local| local.offset().local_minus_utc())
        .and_then(|seconds| UtcOffset::from_whole_seconds(seconds).ok());
    offset.unwrap_or(UtcOffset::UTC)
}

#[cfg(test)]
pub mod tests {
    use time::macros::{datetime, offset};

    use super::*;

    /// A Tuesday afternoon in January, an hour before UTC; in summer it would be two.
    pub fn clock() -> Clock {
        Clock::new(datetime!(2026-01-20 15:00:30 +1), |instant| {
            if (4..10).contains(&u8::from(instant.month())) { offset!(+2) } else { offset!(+1) }
        })
    }

    #[test]
    fn times_are_as_short_as_possible() {
        for (instant, text) in [
            (datetime!(2026-01-20 13:03:20 UTC), "14:03:20"),
            (datetime!(2026-01-19 23:30:00 UTC), "00:30:00"),
            (datetime!(2026-01-19 22:30:00 UTC), "yesterday 23:30:00"),
            (datetime!(2025-07-01 12:00:00 UTC), "2025-07-01 14:00:00"),
        ] {
            assert_eq!(clock().wall(instant), text);
        }
        assert_eq!(clock().exact(datetime!(2025-07-01 12:00 UTC)), "2025-07-01 14:00:00 +02:00");
        assert_eq!(clock().stamp(), "20260120-150030");
    }

    #[test]
    fn offset_is_that_of_the_day() {
        assert_eq!(clock().instant(datetime!(2025-07-01 14:00)), datetime!(2025-07-01 12:00 UTC));
        assert_eq!(clock().instant(datetime!(2026-01-01 14:00)), datetime!(2026-01-01 13:00 UTC));
    }
}
