//! When a running workspace counts as idle. Pure; the runner warns and the controller stops.

use std::time::Duration;

/// How long before the stop of an idle workspace its users are warned.
pub const IDLE_WARNING: Duration = Duration::from_mins(10);

/// What follows from how long a workspace has been idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleState {
    /// It is used, or was a while ago.
    Active,
    /// It stops soon, unless it is used.
    Warned,
    /// It is to be stopped.
    Expired,
}

/// Decides for a workspace that has been idle for `idle`. `limit`: after which time it stops; zero
/// means never.
pub fn decide(idle: Duration, limit: Duration) -> IdleState {
    if limit.is_zero() || idle < limit.saturating_sub(IDLE_WARNING.min(limit / 2)) {
        IdleState::Active
    } else if idle < limit {
        IdleState::Warned
    } else {
        IdleState::Expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_workspace_is_warned_then_stopped() {
        const HOUR: Duration = Duration::from_hours(1);
        let minutes = Duration::from_mins;
        for (idle, limit, expected) in [
            (Duration::ZERO, HOUR, IdleState::Active),
            (minutes(49), HOUR, IdleState::Active),
            (minutes(50), HOUR, IdleState::Warned),
            (minutes(59), HOUR, IdleState::Warned),
            (HOUR, HOUR, IdleState::Expired),
            (minutes(1), minutes(4), IdleState::Active),
            (minutes(2), minutes(4), IdleState::Warned),
            (1000 * HOUR, Duration::ZERO, IdleState::Active),
        ] {
            assert_eq!(decide(idle, limit), expected, "{idle:?} of {limit:?}");
        }
    }
}
