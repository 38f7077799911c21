//! The options of `burrow up` that limit what one user and one tenant may use.

use std::time::Duration;

use clap::Args;
use controller::{BudgetLimits, DiskConfig, IdleLimits, Limits};
use protocol::{
    api::budget::BudgetResource,
    network::{DEFAULT_MBIT_PER_SECOND, DEFAULT_PACKETS_PER_SECOND, NetworkBounds, PrivateNetwork},
    runner::{DEFAULT_DISK_IOPS, DEFAULT_DISK_MIB_PER_SECOND, DiskLimits},
};

use crate::commands::wait::parse_duration;

/// What one user and one tenant may use. 0: no limit.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Workspaces of one member that run at once; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_RUNNING_PER_MEMBER", value_name = "COUNT", default_value_t = 2)]
    pub max_running_per_member: u32,
    /// Workspaces of one teacher or owner that run at once; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_RUNNING_PER_TEACHER", value_name = "COUNT", default_value_t = 10)]
    pub max_running_per_teacher: u32,
    /// Workspaces of one tenant that run at once; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_RUNNING_PER_TENANT", value_name = "COUNT", default_value_t = 0)]
    pub max_running_per_tenant: u32,
    /// Size of all homes of one member, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_HOMES_PER_MEMBER", value_name = "GIB", default_value_t = 64)]
    pub max_homes_per_member: u32,
    /// Size of all homes of one teacher or owner, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_HOMES_PER_TEACHER", value_name = "GIB", default_value_t = 1024)]
    pub max_homes_per_teacher: u32,
    /// Size of all homes of one tenant, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_HOMES_PER_TENANT", value_name = "GIB", default_value_t = 0)]
    pub max_homes_per_tenant: u32,
    /// Size of all scratch disks of one member's running workspaces, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_SCRATCH_PER_MEMBER", value_name = "GIB", default_value_t = 32)]
    pub max_scratch_per_member: u32,
    /// Size of all scratch disks of one teacher's or owner's running workspaces, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_SCRATCH_PER_TEACHER", value_name = "GIB", default_value_t = 256)]
    pub max_scratch_per_teacher: u32,
    /// Size of all scratch disks of one tenant's running workspaces, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_SCRATCH_PER_TENANT", value_name = "GIB", default_value_t = 0)]
    pub max_scratch_per_tenant: u32,
    /// Starts of one member's workspaces in one minute; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_STARTS_PER_MEMBER", value_name = "COUNT", default_value_t = 20)]
    pub max_starts_per_member: u32,
    /// Starts of one teacher's or owner's workspaces in one minute; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_STARTS_PER_TEACHER", value_name = "COUNT", default_value_t = 0)]
    pub max_starts_per_teacher: u32,
    /// Starts of one tenant's workspaces in one minute; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_STARTS_PER_TENANT", value_name = "COUNT", default_value_t = 0)]
    pub max_starts_per_tenant: u32,
    /// Time after which a workspace that nobody uses is stopped, such as 90m or 8h; 0 never stops one
    #[arg(
        long,
        env = "BURROW_IDLE_STOP",
        value_name = "TIME",
        value_parser = parse_duration,
        default_value = "8h"
    )]
    pub idle_stop: Duration,
    /// Longest time for which a user can keep a workspace running that nobody uses, such as 24h
    #[arg(
        long,
        env = "BURROW_MAX_HOLD",
        value_name = "TIME",
        value_parser = parse_duration,
        default_value = "24h"
    )]
    pub max_hold: Duration,
    /// What the snapshots of one home may have stored, in GiB; beyond that the oldest automatic ones are
    /// pruned; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_HISTORY", value_name = "GIB", default_value_t = 64)]
    pub max_history: u32,
    /// What automatic snapshots of one home may store in an hour, in MiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_UPLOADS_PER_HOUR", value_name = "MIB", default_value_t = 2048)]
    pub max_uploads_per_hour: u32,
    /// Size of the local caches of stopped workspaces, in GiB; their content is in the object store
    #[arg(long, env = "BURROW_MAX_CACHE", value_name = "GIB", default_value_t = 32)]
    pub max_cache: u32,
    /// The most that Burrow may take of the disk of the data directory, in GiB; 0 sets no limit but the
    /// reserve
    #[arg(long, env = "BURROW_DISK_BUDGET", value_name = "GIB", default_value_t = 0)]
    pub disk_budget: u32,
    /// Free space of that disk that is kept for the database, in MiB; 0 keeps 1.25 % of the disk, at most
    /// 512 MiB
    #[arg(long, env = "BURROW_DISK_RESERVE", value_name = "MIB", default_value_t = 0)]
    pub disk_reserve: u32,
    /// Caches, scratch disks and objects of one member on that disk, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_DISK_PER_MEMBER", value_name = "GIB", default_value_t = 0)]
    pub max_disk_per_member: u32,
    /// Caches, scratch disks and objects of one teacher or owner on that disk, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_DISK_PER_TEACHER", value_name = "GIB", default_value_t = 0)]
    pub max_disk_per_teacher: u32,
    /// Caches, scratch disks and objects of one tenant on that disk, in GiB; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_DISK_PER_TENANT", value_name = "GIB", default_value_t = 0)]
    pub max_disk_per_tenant: u32,
    /// Packets that one workspace may send in a second, and receive; 0 sets no limit
    #[arg(
        long,
        env = "BURROW_MAX_NETWORK_PACKETS",
        value_name = "COUNT",
        default_value_t = DEFAULT_PACKETS_PER_SECOND,
        value_parser = clap::value_parser!(u32).range(..=MAX_PACKETS_PER_SECOND),
    )]
    pub max_network_packets: u32,
    /// Megabits that one workspace may send in a second, and receive; 0 sets no limit
    #[arg(
        long,
        env = "BURROW_MAX_NETWORK_MBIT",
        value_name = "MBIT",
        default_value_t = DEFAULT_MBIT_PER_SECOND,
        value_parser = clap::value_parser!(u32).range(..=MAX_MBIT_PER_SECOND),
    )]
    pub max_network_mbit: u32,
    /// Reads, and as many writes, that one workspace may ask of a disk in a second; 0 sets no limit
    #[arg(long, env = "BURROW_MAX_DISK_IOPS", value_name = "COUNT", default_value_t = DEFAULT_DISK_IOPS)]
    pub max_disk_iops: u32,
    /// MiB that one workspace may read from a disk in a second, and as many that it may write; 0 sets no
    /// limit
    #[arg(
        long,
        env = "BURROW_MAX_DISK_MIB",
        value_name = "MIB",
        default_value_t = DEFAULT_DISK_MIB_PER_SECOND
    )]
    pub max_disk_mib: u32,
}

/// 2^20 bytes are a MiB, 2^30 are a GiB.
const MIB_SHIFT: u32 = 20;
const GIB_SHIFT: u32 = 30;

/// More than any host handles. Limits up to here are exact in the kernel's arithmetic.
const MAX_PACKETS_PER_SECOND: i64 = 100_000_000;
const MAX_MBIT_PER_SECOND: i64 = 100_000;

impl LimitOptions {
    /// Most bytes of the caches of workspaces at rest.
    pub fn max_cache_bytes(self) -> u64 {
        u64::from(self.max_cache) << 30
    }

    /// Most bytes that the snapshots of one home may have stored.
    pub fn max_history_bytes(self) -> Option<u64> {
        (self.max_history > 0).then(|| u64::from(self.max_history) << 30)
    }

    /// What holds for the networks of all sandboxes, with the private networks that they may reach.
    pub fn network_bounds(self, private_networks: Vec<PrivateNetwork>) -> NetworkBounds {
        let limit = |limit: u32| (limit > 0).then_some(limit);
        NetworkBounds {
            packets_per_second: limit(self.max_network_packets),
            mbit_per_second: limit(self.max_network_mbit),
            private_networks,
        }
    }

    /// What each sandbox may ask of the disks of this host.
    pub fn disk_limits(self) -> DiskLimits {
        let limit = |limit: u32| (limit > 0).then_some(limit);
        DiskLimits { iops: limit(self.max_disk_iops), mib_per_second: limit(self.max_disk_mib) }
    }

    /// What may be used of the disk of this host, without what lies on it.
    pub fn disk(self) -> DiskConfig {
        let bytes = |amount: u32, unit: u32| (amount > 0).then(|| u64::from(amount) << unit);
        DiskConfig {
            budget_bytes: bytes(self.disk_budget, GIB_SHIFT),
            reserve_bytes: bytes(self.disk_reserve, MIB_SHIFT),
            member_bytes: bytes(self.max_disk_per_member, GIB_SHIFT),
            teacher_bytes: bytes(self.max_disk_per_teacher, GIB_SHIFT),
            tenant_bytes: bytes(self.max_disk_per_tenant, GIB_SHIFT),
            ..DiskConfig::default()
        }
    }

    /// The limits for the controller.
    pub fn limits(self) -> Limits {
        let budget = |base: BudgetLimits, [running, homes_gib, scratch_gib, starts]: [u32; 4]| {
            let limit = |amount: u32, shift: u32| (amount > 0).then(|| u64::from(amount) << shift);
            let mut limits = base;
            limits.set(BudgetResource::Running, limit(running, 0));
            limits.set(BudgetResource::Homes, limit(homes_gib, GIB_SHIFT));
            limits.set(BudgetResource::Scratch, limit(scratch_gib, GIB_SHIFT));
            limits.set(BudgetResource::Starts, limit(starts, 0));
            limits
        };
        let base = Limits::default();
        Limits {
            member: budget(
                base.member,
                [
                    self.max_running_per_member,
                    self.max_homes_per_member,
                    self.max_scratch_per_member,
                    self.max_starts_per_member,
                ],
            ),
            teacher: budget(
                base.teacher,
                [
                    self.max_running_per_teacher,
                    self.max_homes_per_teacher,
                    self.max_scratch_per_teacher,
                    self.max_starts_per_teacher,
                ],
            ),
            tenant: budget(
                base.tenant,
                [
                    self.max_running_per_tenant,
                    self.max_homes_per_tenant,
                    self.max_scratch_per_tenant,
                    self.max_starts_per_tenant,
                ],
            ),
            idle: IdleLimits { stop_after: self.idle_stop, max_hold: self.max_hold },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: LimitOptions,
    }

    fn parse(arguments: &[&str]) -> Limits {
        Program::parse_from([&["up"], arguments].concat()).limits.limits()
    }

    fn bounds(arguments: &[&str]) -> NetworkBounds {
        Program::parse_from([&["up"], arguments].concat()).limits.network_bounds(vec![])
    }

    #[test]
    fn defaults_are_those_of_the_controller() {
        assert_eq!(parse(&[]), Limits::default());
        assert_eq!(bounds(&[]), NetworkBounds::default());
        assert_eq!(Program::parse_from(["up"]).limits.disk_limits(), DiskLimits::default());
    }

    #[test]
    fn zero_sets_no_limit() {
        let limits = parse(&["--max-running-per-member", "0", "--max-homes-per-member=0"]);
        let limit = |limits: &BudgetLimits, resource| limits.get(resource);
        assert_eq!(limit(&limits.member, BudgetResource::Running), None);
        assert_eq!(limit(&limits.member, BudgetResource::Homes), None);
        assert_eq!(parse(&["--idle-stop", "0"]).idle.stop_after, Duration::ZERO);
        assert_eq!(parse(&["--idle-stop", "90m"]).idle.stop_after, Duration::from_mins(90));
        let bounds = bounds(&["--max-network-packets=0", "--max-network-mbit", "0"]);
        assert_eq!((bounds.packets_per_second, bounds.mbit_per_second), (None, None));
        assert!(Program::try_parse_from(["up", "--max-network-mbit", "100001"]).is_err());
        let disks = Program::parse_from(["up", "--max-disk-iops=0", "--max-disk-mib=5"]).limits.disk_limits();
        assert_eq!(disks, DiskLimits { iops: None, mib_per_second: Some(5) });
        let disk = |arguments: &[&str]| Program::parse_from([&["up"], arguments].concat()).limits.disk();
        assert_eq!((disk(&[]).budget_bytes, disk(&[]).reserve_bytes), (None, None));
        let limited = disk(&["--disk-budget=2", "--disk-reserve=100", "--max-disk-per-teacher=3"]);
        assert_eq!((limited.budget_bytes, limited.reserve_bytes), (Some(2 << 30), Some(100 << 20)));
        assert_eq!((limited.member_bytes, limited.teacher_bytes), (None, Some(3 << 30)));
        let limits =
            parse(&["--max-homes-per-tenant=3", "--max-scratch-per-teacher=0", "--max-starts-per-tenant=9"]);
        assert_eq!(limit(&limits.tenant, BudgetResource::Homes), Some(3 << 30));
        assert_eq!(limit(&limits.tenant, BudgetResource::Starts), Some(9));
        assert_eq!(limit(&limits.teacher, BudgetResource::Scratch), None);
    }
}
