//! How many sandboxes this host can run at once. Pure, except for reading the host's cores and
//! memory.

use super::options::Runtime;

/// Memory for the host itself: database, controller, gateway and page cache.
const RESERVED_MIB: u64 = 1024;
/// What a microVM may take beside the guest's memory: as much as its cgroup allows.
const MICROVM_OVERHEAD_MIB: u64 = runner::cgroup::MICROVM_OVERHEAD_MIB as u64;
/// Even idle sandboxes need resources. More than this were never tested.
const MAX_MACHINES: usize = 1024;

/// The limits of admission on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sandboxes at once.
    pub machines: usize,
    /// Memory of all sandboxes together.
    pub memory_mib: u64,
    /// Memory that each sandbox needs beside the guest's.
    pub overhead_mib: u64,
    /// Sandboxes that boot at once. Each needs a core.
    pub starting: usize,
}

/// The capacity of this host.
pub fn of_host(runtime: Runtime) -> Capacity {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = rustix::system::sysinfo();
    let total_mib = memory.totalram.saturating_mul(u64::from(memory.mem_unit)) / (1024 * 1024);
    of(runtime, cores, total_mib)
}

fn of(runtime: Runtime, cores: usize, total_mib: u64) -> Capacity {
    let (memory_mib, overhead_mib) = match runtime {
        // A sandbox of the smallest size must fit. Otherwise there would be no point in starting.
        Runtime::Microvm => {
            let memory_mib = total_mib.saturating_sub(RESERVED_MIB);
            (memory_mib.max(RESERVED_MIB + MICROVM_OVERHEAD_MIB), MICROVM_OVERHEAD_MIB)
        }
        // Plain processes have no reservation.
        Runtime::Fake => (u64::from(u32::MAX), 0),
    };
    Capacity { machines: MAX_MACHINES, memory_mib, overhead_mib, starting: cores.max(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keeps_some_memory() {
        for (total, expected) in [(24_576, 23_552), (512, 1248), (0, 1248)] {
            assert_eq!(of(Runtime::Microvm, 2, total).memory_mib, expected, "{total}");
        }
    }

    #[test]
    fn two_can_always_start() {
        assert_eq!(of(Runtime::Fake, 1, 1024).starting, 2);
        assert_eq!(of(Runtime::Fake, 8, 1024).starting, 8);
    }
}
