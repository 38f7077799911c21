//! How many machines a host carries. Pure but for reading what the host has.

use crate::arguments::Runtime;

/// What the host itself needs: database, controller, gateway, page cache.
const RESERVED_MIB: u64 = 1024;
/// A machine that does nothing takes a little of everything; this many were never tried.
const MAX_MACHINES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub machines: usize,
    pub memory_mib: u64,
    /// Booting takes a core each.
    pub starting: usize,
}

pub fn of_host(runtime: Runtime) -> Capacity {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = rustix::system::sysinfo();
    let total_mib = memory.totalram.saturating_mul(u64::from(memory.mem_unit)) / (1024 * 1024);
    of(runtime, cores, total_mib)
}

fn of(runtime: Runtime, cores: usize, total_mib: u64) -> Capacity {
    let memory_mib = match runtime {
        // A machine of the smallest size must fit, or there would be no use in starting at all.
        Runtime::Microvm => total_mib.saturating_sub(RESERVED_MIB).max(RESERVED_MIB),
        // Plain processes take what they use.
        Runtime::Fake => u64::from(u32::MAX),
    };
    Capacity { machines: MAX_MACHINES, memory_mib, starting: cores.max(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_keeps_some_memory_for_itself() {
        for (total, expected) in [(24_576, 23_552), (512, 1024), (0, 1024)] {
            assert_eq!(of(Runtime::Microvm, 2, total).memory_mib, expected, "{total}");
        }
    }

    #[test]
    fn two_may_always_start() {
        assert_eq!(of(Runtime::Fake, 1, 1024).starting, 2);
        assert_eq!(of(Runtime::Fake, 8, 1024).starting, 8);
    }
}
