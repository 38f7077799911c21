//! When a running workspace counts as idle, and what keeps it awake. Pure; the runner warns and the
//! controller stops.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::workspace::ProgramName;

/// How long before the stop of an idle workspace its users are warned.
pub const IDLE_WARNING: Duration = Duration::from_mins(10);
/// For how long a use is shown as what keeps a workspace awake.
pub const RECENT_USE: Duration = Duration::from_mins(5);
/// Most reasons that are reported. A guest may have more jobs.
pub const MAX_AWAKE_REASONS: usize = 8;

/// Something that keeps a workspace awake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AwakeReason {
    /// Somebody typed, or opened or changed files, in the last minutes.
    Use,
    /// A program runs in the foreground of a terminal. The workspace is never stopped while it does.
    Job {
        /// The program.
        #[serde(default)]
        program: Option<ProgramName>,
    },
    /// `burrow exec` runs a program. The workspace is never stopped while it does.
    Exec,
    /// Programs use the CPUs.
    Cpu,
}

impl AwakeReason {
    /// Whether somebody waits for an end that a stop would prevent.
    pub fn is_job(&self) -> bool {
        matches!(self, Self::Job { .. } | Self::Exec)
    }
}

/// What is known about the use of a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleFacts {
    /// How long ago it was last used, or something ran that somebody waits for.
    pub idle: Duration,
    /// Whether a job runs in the foreground.
    pub has_job: bool,
    /// For how much longer a user holds it. Zero if nobody does.
    pub held: Duration,
    /// After which idle time it stops. Zero: never.
    pub limit: Duration,
}

impl IdleFacts {
    /// The facts of a workspace that was last used `idle` ago, is kept awake for these reasons, and is held
    /// until then.
    pub fn new(
        now: OffsetDateTime,
        idle: Duration,
        awake: &[AwakeReason],
        held_until: Option<OffsetDateTime>,
        limit: Duration,
    ) -> Self {
        let held = held_until.and_then(|until| (until - now).try_into().ok()).unwrap_or_default();
        Self { idle, has_job: awake.iter().any(AwakeReason::is_job), held, limit }
    }
}

/// What follows for a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleState {
    /// It is used, or was a while ago.
    Active,
    /// It stops soon, unless it is used.
    Warned,
    /// It is to be stopped.
    Expired,
}

/// The decision about a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleDecision {
    /// What to do now.
    pub state: IdleState,
    /// In which time it stops if nothing happens. None: it does not, or not while a job runs.
    pub stops_in: Option<Duration>,
}

/// Decides whether a workspace stops, and when.
pub fn decide(facts: IdleFacts) -> IdleDecision {
    let IdleFacts { idle, has_job, held, limit } = facts;
    if limit.is_zero() || has_job {
        return IdleDecision { state: IdleState::Active, stops_in: None };
    }
    let stops_in = limit.saturating_sub(idle).max(held);
    let state = if stops_in.is_zero() {
        IdleState::Expired
    } else if stops_in <= IDLE_WARNING.min(limit / 2) {
        IdleState::Warned
    } else {
        IdleState::Active
    };
    IdleDecision { state, stops_in: Some(stops_in) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_decisions() {
        use IdleState::{Active, Expired, Warned};
        let minutes = Duration::from_mins;
        let (hour, none) = (minutes(60), Duration::ZERO);
        for (idle, has_job, held, limit, state, stops_in) in [
            (none, false, none, hour, Active, Some(60)),
            (minutes(49), false, none, hour, Active, Some(11)),
            (minutes(50), false, none, hour, Warned, Some(10)),
            (minutes(59), false, none, hour, Warned, Some(1)),
            (hour, false, none, hour, Expired, Some(0)),
            (hour * 9, false, none, hour, Expired, Some(0)),
            // Never in the middle of a job.
            (hour * 9, true, none, hour, Active, None),
            // A hold postpones the stop and never brings it forward.
            (hour, false, minutes(30), hour, Active, Some(30)),
            (hour, false, minutes(10), hour, Warned, Some(10)),
            (none, false, minutes(30), hour, Active, Some(60)),
            (hour, true, minutes(30), hour, Active, None),
            // Half of a short limit passes without a warning.
            (minutes(1), false, none, minutes(4), Active, Some(3)),
            (minutes(2), false, none, minutes(4), Warned, Some(2)),
            // No limit.
            (hour * 1000, false, none, none, Active, None),
            (hour * 1000, false, hour, none, Active, None),
        ] {
            let decision = decide(IdleFacts { idle, has_job, held, limit });
            let expected = IdleDecision { state, stops_in: stops_in.map(minutes) };
            assert_eq!(decision, expected, "idle {idle:?}, job {has_job}, held {held:?}, limit {limit:?}");
        }
    }
}
