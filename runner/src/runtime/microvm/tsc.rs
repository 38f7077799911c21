//! Measures the host's time stamp counter. An emulated guest sees that counter and needs its
//! frequency on the command line.

use std::time::{Duration, Instant};

/// Long enough for a precision of one in ten thousand.
const MEASUREMENT_TIME: Duration = Duration::from_millis(20);

/// The frequency in kHz; `None` on hosts without such a counter. Blocks for [`MEASUREMENT_TIME`].
#[cfg(target_arch = "x86_64")]
pub fn measure_khz() -> Option<u64> {
    let (start, first) = (Instant::now(), read_counter());
    std::thread::sleep(MEASUREMENT_TIME);
    let (elapsed, ticks) = (start.elapsed(), read_counter().wrapping_sub(first));
    let micros = u64::try_from(elapsed.as_micros()).ok()?;
    ticks.checked_mul(1000)?.checked_div(micros).filter(|khz| *khz > 0)
}

#[cfg(target_arch = "x86_64")]
fn read_counter() -> u64 {
    // SAFETY: reads a register that every x86-64 processor has.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
}

/// Only x86-64 hosts have this counter.
#[cfg(not(target_arch = "x86_64"))]
pub fn measure_khz() -> Option<u64> {
    None
}
