//! The host's time stamp counter, measured: an emulated guest sees it, and must be told its speed.

use std::time::{Duration, Instant};

/// Long enough for one part in ten thousand.
const MEASURE: Duration = Duration::from_millis(20);

/// In kHz; none where there is no such counter. Blocks for a moment.
#[cfg(target_arch = "x86_64")]
pub fn tsc_khz() -> Option<u64> {
    let (start, first) = (Instant::now(), counter());
    std::thread::sleep(MEASURE);
    let (elapsed, ticks) = (start.elapsed(), counter().wrapping_sub(first));
    let micros = u64::try_from(elapsed.as_micros()).ok()?;
    ticks.checked_mul(1000)?.checked_div(micros).filter(|khz| *khz > 0)
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: reads a register that every x86-64 processor has.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn tsc_khz() -> Option<u64> {
    None
}
