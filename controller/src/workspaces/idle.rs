//! What a running workspace's idle time means for it. Pure: [`super::reports`] and the API apply it.

use std::time::Duration;

use protocol::{
    idle::{self, AwakeReason, IdleDecision, IdleFacts, MAX_AWAKE_REASONS},
    workspace::HomeNotice,
};
use time::OffsetDateTime;

use crate::lifecycle::record::{HomeStatus, IdleStatus};

/// A stop that moves by less than this is not worth a write.
const MIN_CHANGE: Duration = Duration::from_secs(60);

/// What a runner reports about the use of its workspace.
#[derive(Clone, Debug, Default)]
pub struct UseReport {
    pub idle: Duration,
    pub awake: Vec<AwakeReason>,
}

/// Decides after a report. Returns what users see, and what to do.
pub fn observe(
    before: &IdleStatus,
    now: OffsetDateTime,
    limit: Duration,
    report: UseReport,
) -> (IdleStatus, IdleDecision) {
    let held_until = before.held_until.filter(|until| *until > now);
    let decision = idle::decide(IdleFacts::new(now, report.idle, &report.awake, held_until, limit));
    let mut awake = report.awake;
    awake.truncate(MAX_AWAKE_REASONS);
    let stops_at = decision.stops_in.and_then(|stops_in| now.checked_add(stops_in.try_into().ok()?));
    let is_warned = decision.state != idle::IdleState::Active;
    let stops_at =
        settle(before.stops_at, stops_at, if is_warned { Duration::from_secs(5) } else { MIN_CHANGE });
    (IdleStatus { stops_at, awake, held_until }, decision)
}

/// The time that is shown: the one of before, unless it has moved by this much.
fn settle(
    before: Option<OffsetDateTime>,
    present: Option<OffsetDateTime>,
    min_change: Duration,
) -> Option<OffsetDateTime> {
    match (before, present) {
        (Some(before), Some(present)) if (present - before).unsigned_abs() < min_change => Some(before),
        (_, present) => present,
    }
}

/// Until when a workspace is held that a user holds for this long. `None` asks for as long as it would run
/// if it was used now. The error is the longest hold that is allowed.
pub fn hold_until(
    now: OffsetDateTime,
    wanted: Option<Duration>,
    limit: Duration,
    max_hold: Duration,
) -> Result<Option<OffsetDateTime>, Duration> {
    let wanted = wanted.unwrap_or_else(|| limit.min(max_hold));
    if wanted > max_hold {
        return Err(max_hold);
    }
    let until = time::Duration::try_from(wanted).ok().and_then(|wanted| now.checked_add(wanted));
    Ok(until.filter(|until| *until > now))
}

/// Shows a hold, or the end of one, before the next report of the runner.
pub fn apply_hold(home: &mut HomeStatus, held_until: Option<OffsetDateTime>) {
    home.idle.held_until = held_until;
    if home.idle.stops_at.is_some() && held_until > home.idle.stops_at {
        home.idle.stops_at = held_until;
        home.notice = home.notice.filter(|notice| *notice != HomeNotice::IdleStop);
    }
}

#[cfg(test)]
mod tests {
    use protocol::idle::IdleState;
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-03-02 08:00 UTC);
    const LIMIT: Duration = Duration::from_hours(1);

    fn at(minutes: i64) -> OffsetDateTime {
        START + time::Duration::minutes(minutes)
    }

    fn report(idle_minutes: u64, awake: &[AwakeReason]) -> UseReport {
        UseReport { idle: Duration::from_mins(idle_minutes), awake: awake.to_vec() }
    }

    /// A day in virtual time: the last use, a job, a hold and the reports of each minute.
    #[test]
    fn day_ends_after_work_and_hold() {
        let job = AwakeReason::Job { program: None };
        let mut status = IdleStatus::default();
        let (mut last_use, mut warned_at, mut stopped_at) = (0, Vec::new(), None);
        for minute in 0..24 * 60 {
            // Keys until 8:30, a job from 9:00 to 12:00, then nothing; at 12:55 a hold until 15:00.
            let awake = if (60..240).contains(&minute) { vec![job.clone()] } else { vec![] };
            if minute <= 30 || !awake.is_empty() {
                last_use = minute;
            }
            if minute == 295 {
                let until =
                    hold_until(at(minute), Some(Duration::from_mins(125)), LIMIT, Duration::from_hours(24));
                status.held_until = until.expect("allowed");
            }
            let idle = (minute - last_use).unsigned_abs();
            let (next, decision) = observe(&status, at(minute), LIMIT, report(idle, &awake));
            status = next;
            match decision.state {
                IdleState::Active => {}
                IdleState::Warned => warned_at.push(minute),
                IdleState::Expired => {
                    stopped_at = Some(minute);
                    break;
                }
            }
            assert_eq!(status.stops_at.is_none(), !awake.is_empty(), "{minute}");
        }
        assert_eq!(stopped_at, Some(7 * 60), "at 15:00");
        // Before the hold, and before the end. Not at 9:30, because of the job.
        let expected: Vec<i64> = (289..295).chain(410..420).collect();
        assert_eq!(warned_at, expected);
        assert_eq!(status.held_until, None);
    }

    #[test]
    fn small_moves_are_not_shown() {
        let (first, _) = observe(&IdleStatus::default(), START, LIMIT, report(0, &[]));
        assert_eq!(first.stops_at, Some(at(60)));
        let later = START + time::Duration::seconds(59);
        assert_eq!(observe(&first, later, LIMIT, report(0, &[])).0, first);
        assert_eq!(observe(&first, at(1), LIMIT, report(0, &[])).0.stops_at, Some(at(61)));
        // Close to the end the time is exact.
        let (warned, _) = observe(&first, at(51), LIMIT, report(50, &[]));
        assert_eq!(warned.stops_at, Some(at(61)));
    }

    #[test]
    fn reasons_of_a_guest_are_bounded() {
        let many = vec![AwakeReason::Exec; 100];
        let (status, _) = observe(&IdleStatus::default(), START, LIMIT, report(0, &many));
        assert_eq!(status.awake.len(), MAX_AWAKE_REASONS);
    }

    #[test]
    fn holds_are_bounded() {
        let (hours, day) = (Duration::from_hours, Duration::from_hours(24));
        for (wanted, limit, max, expected) in [
            (Some(hours(2)), LIMIT, day, Ok(Some(at(120)))),
            (Some(day), LIMIT, day, Ok(Some(at(24 * 60)))),
            (Some(hours(25)), LIMIT, day, Err(day)),
            (Some(Duration::MAX), LIMIT, day, Err(day)),
            (Some(Duration::ZERO), LIMIT, day, Ok(None)),
            (None, LIMIT, day, Ok(Some(at(60)))),
            (None, hours(48), day, Ok(Some(at(24 * 60)))),
            (None, LIMIT, Duration::ZERO, Ok(None)),
        ] {
            assert_eq!(hold_until(START, wanted, limit, max), expected, "{wanted:?}");
        }
    }
}
