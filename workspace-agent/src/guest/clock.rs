//! The guest's clock: set at bootstrap, and kept in step with the host's afterwards.

use anyhow::Context as _;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// A clock that is slow by less is left alone: programs notice every correction.
const MAX_SLOW_NANOS: i64 = NANOS_PER_SECOND / 4;
/// A clock that seems fast by less is left alone: the host's time was sent a while ago, and time that
/// runs backwards harms programs more.
const MAX_FAST_NANOS: i64 = 5 * NANOS_PER_SECOND;

/// Sets the clock.
pub fn set(unix_nanos: i64) -> anyhow::Result<()> {
    let time = Timespec {
        tv_sec: unix_nanos.div_euclid(NANOS_PER_SECOND),
        tv_nsec: unix_nanos.rem_euclid(NANOS_PER_SECOND),
    };
    clock_settime(ClockId::Realtime, time).context("cannot set the clock")
}

/// Sets the clock to the host's time if it differs too much.
pub fn correct(host_unix_nanos: i64) -> anyhow::Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let guest_unix_nanos = now.tv_sec.saturating_mul(NANOS_PER_SECOND).saturating_add(now.tv_nsec);
    if needs_correction(guest_unix_nanos, host_unix_nanos) { set(host_unix_nanos) } else { Ok(()) }
}

fn needs_correction(guest_unix_nanos: i64, host_unix_nanos: i64) -> bool {
    let slow = host_unix_nanos.saturating_sub(guest_unix_nanos);
    !(-MAX_FAST_NANOS..=MAX_SLOW_NANOS).contains(&slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_are_left_alone() {
        let now = 1_800_000_000 * NANOS_PER_SECOND;
        for (slow_ms, expected) in
            [(0, false), (200, false), (300, true), (360_000, true), (-1_000, false), (-6_000, true)]
        {
            assert_eq!(needs_correction(now - slow_ms * 1_000_000, now), expected, "{slow_ms} ms slow");
        }
        assert!(needs_correction(i64::MIN, i64::MAX));
    }
}
