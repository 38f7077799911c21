//! What a sandbox may take of the host, and the files of a cgroup that say so. Pure.

use protocol::workspace::Resources;

use super::{
    disks::Disks,
    hierarchy::{Controller, Version},
};

/// What a microVM needs beside the guest's memory, in MiB. Measured: the VMM's translated code (at most
/// 128) and its own memory, the runner (21), and a part of the page cache for the home.
pub const MICROVM_OVERHEAD_MIB: u32 = 224;
/// Threads of a VMM: processors, and those that wait for disks.
const MICROVM_THREADS: u32 = 256;
/// CPU time that a VMM may use beside the guest's processors, in percent of a CPU: for disks and the
/// network.
const MICROVM_CPU_PERCENT: u32 = 50;
/// Threads of an agent that are not counted as its user's.
const AGENT_THREADS: u32 = 64;
/// What gVisor needs beside a container's programs and their memory: its kernel and the process that opens
/// files for it, in MiB and in threads.
const GVISOR_OVERHEAD_MIB: u32 = 128;
const GVISOR_THREADS: u32 = 512;

/// Share of CPU time for each virtual CPU when CPU time is scarce. The kernel's default of a cgroup.
const WEIGHT_PER_CPU: u32 = 100;
const SHARES_PER_CPU: u32 = 1024;
const MAX_WEIGHT: u32 = 10_000;
const MAX_SHARES: u32 = 262_144;
/// In which a quota is used up and renewed, in microseconds. The kernel's default.
const QUOTA_PERIOD: u32 = 100_000;

/// What one sandbox may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Share of CPU time when it is scarce, in virtual CPUs.
    pub cpu_weight: u32,
    /// CPU time, in percent of one CPU.
    pub cpu_percent: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Disks, and what may be asked of each.
    pub disks: Disks,
}

/// A file of a cgroup, and what is written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The file's name.
    pub file: &'static str,
    /// Its new content.
    pub value: String,
    /// Whether a kernel may have no such file.
    pub is_optional: bool,
}

impl Limits {
    /// The limits of a VMM.
    pub fn of_microvm(resources: &Resources, disks: Disks) -> Self {
        Self {
            cpu_weight: resources.vcpus.into(),
            cpu_percent: u32::from(resources.vcpus) * 100 + MICROVM_CPU_PERCENT,
            memory_bytes: mebibytes(resources.memory_mib + MICROVM_OVERHEAD_MIB),
            pids: MICROVM_THREADS,
            disks,
        }
    }

    /// The limits of a container. Its programs and its agent share them.
    pub fn of_container(resources: &Resources, disks: Disks) -> Self {
        Self {
            cpu_weight: resources.vcpus.into(),
            cpu_percent: u32::from(resources.vcpus) * 100,
            memory_bytes: mebibytes(resources.memory_mib),
            pids: resources.pids.saturating_add(AGENT_THREADS),
            disks,
        }
    }

    /// The limits of a container with gVisor's kernel, which is in the cgroup too. Each of its threads is
    /// one of the host.
    pub fn of_gvisor(resources: &Resources, disks: Disks) -> Self {
        let container = Self::of_container(resources, disks);
        Self {
            memory_bytes: mebibytes(resources.memory_mib + GVISOR_OVERHEAD_MIB),
            pids: container.pids.saturating_add(GVISOR_THREADS),
            ..container
        }
    }

    /// The files of one controller of a sandbox's cgroup, in the order in which they are written.
    pub fn settings(&self, version: Version, controller: Controller) -> Vec<Setting> {
        let quota = u64::from(self.cpu_percent) * u64::from(QUOTA_PERIOD) / 100;
        let weight = |per_cpu: u32, max: u32| self.cpu_weight.max(1).saturating_mul(per_cpu).min(max);
        match (version, controller) {
            (Version::V2, Controller::Cpu) => vec![
                required("cpu.weight", weight(WEIGHT_PER_CPU, MAX_WEIGHT)),
                required("cpu.max", format!("{quota} {QUOTA_PERIOD}")),
            ],
            (Version::V1, Controller::Cpu) => vec![
                required("cpu.shares", weight(SHARES_PER_CPU, MAX_SHARES)),
                required("cpu.cfs_period_us", QUOTA_PERIOD),
                required("cpu.cfs_quota_us", quota),
            ],
            // No swap: a sandbox that has used up its memory must not make the host's disk busy.
            (Version::V2, Controller::Memory) => {
                vec![required("memory.max", self.memory_bytes), optional("memory.swap.max", 0)]
            }
            // Memory and swap together.
            (Version::V1, Controller::Memory) => vec![
                required("memory.limit_in_bytes", self.memory_bytes),
                optional("memory.memsw.limit_in_bytes", self.memory_bytes),
            ],
            (_, Controller::Pids) => vec![required("pids.max", self.pids)],
            // All sandboxes have the same share.
            (_, Controller::Io) => disk_settings(version, &self.disks),
        }
    }
}

/// Limits of what is asked of disks. They are optional, because a kernel may be built without them.
fn disk_settings(version: Version, disks: &Disks) -> Vec<Setting> {
    let Disks { numbers, iops, bytes_per_second } = disks;
    if iops.is_none() && bytes_per_second.is_none() {
        return vec![];
    }
    let settings = numbers.iter().flat_map(|number| match version {
        Version::V2 => {
            let bytes = bytes_per_second.map(|bytes| format!(" rbps={bytes} wbps={bytes}"));
            let iops = iops.map(|iops| format!(" riops={iops} wiops={iops}"));
            let value = [Some(number.clone()), bytes, iops].into_iter().flatten().collect::<String>();
            vec![optional("io.max", value)]
        }
        Version::V1 => {
            let bytes = ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"];
            let operations = ["blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"];
            let bytes =
                bytes_per_second.map(|limit| bytes.map(|file| optional(file, format!("{number} {limit}"))));
            let operations =
                iops.map(|limit| operations.map(|file| optional(file, format!("{number} {limit}"))));
            bytes.into_iter().chain(operations).flatten().collect()
        }
    });
    settings.collect()
}

/// Memory of a runner and its helpers, in bytes: 21 MiB of its own, what it uploads at once, and the page
/// cache of the home, which the kernel shrinks first.
pub const RUNNER_MEMORY_BYTES: u64 = 512 << 20;
/// Threads and processes of a runner: at most 512 wait for disks.
pub const RUNNER_PIDS: u32 = 1024;

/// The files of one controller of a runner's cgroup.
pub fn runner_settings(version: Version, controller: Controller, disks: &Disks) -> Vec<Setting> {
    match (version, controller) {
        (Version::V2, Controller::Memory) => vec![required("memory.max", RUNNER_MEMORY_BYTES)],
        (Version::V1, Controller::Memory) => vec![required("memory.limit_in_bytes", RUNNER_MEMORY_BYTES)],
        (_, Controller::Pids) => vec![required("pids.max", RUNNER_PIDS)],
        // It writes the home.
        (_, Controller::Io) => disk_settings(version, disks),
        // Its CPU time is a share of that of all sandboxes and runners.
        (_, Controller::Cpu) => vec![],
    }
}

/// The files of the cgroup of all sandboxes. Together they have half of the share of disks that the
/// host's own programs have, the database among them.
pub fn shared_settings(version: Version, controller: Controller) -> Vec<Setting> {
    match (version, controller) {
        (Version::V2, Controller::Io) => vec![optional("io.weight", 50), optional("io.bfq.weight", 50)],
        (Version::V1, Controller::Io) => {
            vec![optional("blkio.weight", 250), optional("blkio.bfq.weight", 50)]
        }
        _ => vec![],
    }
}

fn required(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), is_optional: false }
}

fn optional(file: &'static str, value: impl ToString) -> Setting {
    Setting { is_optional: true, ..required(file, value) }
}

fn mebibytes(mib: u32) -> u64 {
    u64::from(mib) << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCES: Resources =
        Resources { vcpus: 2, memory_mib: 1024, home_mib: 1, scratch_mib: 1, pids: 4096 };

    fn lines(settings: Vec<Setting>) -> Vec<String> {
        let mark = |setting: &Setting| if setting.is_optional { "?" } else { "" };
        settings.iter().map(|it| format!("{}{}={}", it.file, mark(it), it.value)).collect()
    }

    #[test]
    fn each_version_gets_its_own_files() {
        let limits = Limits::of_microvm(&RESOURCES, Disks::default());
        let memory = 1_308_622_848_u64;
        for (version, controller, expected) in [
            (Version::V2, Controller::Cpu, vec!["cpu.weight=200".to_owned(), "cpu.max=250000 100000".into()]),
            (
                Version::V1,
                Controller::Cpu,
                vec![
                    "cpu.shares=2048".to_owned(),
                    "cpu.cfs_period_us=100000".into(),
                    "cpu.cfs_quota_us=250000".into(),
                ],
            ),
            (
                Version::V2,
                Controller::Memory,
                vec![format!("memory.max={memory}"), "memory.swap.max?=0".into()],
            ),
            (
                Version::V1,
                Controller::Memory,
                vec![
                    format!("memory.limit_in_bytes={memory}"),
                    format!("memory.memsw.limit_in_bytes?={memory}"),
                ],
            ),
            (Version::V2, Controller::Pids, vec!["pids.max=256".to_owned()]),
            (Version::V1, Controller::Pids, vec!["pids.max=256".to_owned()]),
            (Version::V2, Controller::Io, vec![]),
        ] {
            assert_eq!(lines(limits.settings(version, controller)), expected, "{version:?} {controller:?}");
        }
    }

    #[test]
    fn container_gets_what_its_template_says() {
        let limits = Limits::of_container(&RESOURCES, Disks::default());
        let disks = Disks::default();
        let expected = Limits { cpu_weight: 2, cpu_percent: 200, memory_bytes: 1 << 30, pids: 4160, disks };
        assert_eq!(limits, expected);
    }

    #[test]
    fn disks_are_limited_in_both_versions() {
        let numbers = vec!["8:0".to_owned(), "259:0".to_owned()];
        let disks = Disks { numbers, iops: Some(100), bytes_per_second: Some(5000) };
        assert_eq!(
            lines(disk_settings(Version::V2, &disks)),
            [
                "io.max?=8:0 rbps=5000 wbps=5000 riops=100 wiops=100",
                "io.max?=259:0 rbps=5000 wbps=5000 riops=100 wiops=100"
            ]
        );
        let first = Disks { numbers: vec!["8:0".to_owned()], ..disks.clone() };
        assert_eq!(
            lines(disk_settings(Version::V1, &first)),
            [
                "blkio.throttle.read_bps_device?=8:0 5000",
                "blkio.throttle.write_bps_device?=8:0 5000",
                "blkio.throttle.read_iops_device?=8:0 100",
                "blkio.throttle.write_iops_device?=8:0 100"
            ]
        );
        let only_iops = Disks { bytes_per_second: None, ..first };
        assert_eq!(lines(disk_settings(Version::V2, &only_iops)), ["io.max?=8:0 riops=100 wiops=100"]);
        let free = Disks { iops: None, bytes_per_second: None, ..disks };
        assert_eq!(disk_settings(Version::V2, &free), []);
    }

    #[test]
    fn weights_stay_within_the_kernels_bounds() {
        for (vcpus, weight, shares) in [(0, "100", "1024"), (1, "100", "1024"), (1000, "10000", "262144")] {
            let limits = Limits { cpu_weight: vcpus, ..Limits::of_microvm(&RESOURCES, Disks::default()) };
            assert_eq!(limits.settings(Version::V2, Controller::Cpu)[0].value, weight);
            assert_eq!(limits.settings(Version::V1, Controller::Cpu)[0].value, shares);
        }
    }

    #[test]
    fn only_disks_are_shared_by_all() {
        assert_eq!(
            lines(shared_settings(Version::V2, Controller::Io)),
            ["io.weight?=50", "io.bfq.weight?=50"]
        );
        assert!(shared_settings(Version::V2, Controller::Cpu).is_empty());
    }
}
