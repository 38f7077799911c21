//! What administrators see of the disk.

use protocol::{
    TenantId,
    api::disk::{DiskKind, DiskKindUsage, DiskReport, DiskUserUsage, DiskWrites},
};

use super::{DiskMonitor, budget::writes};
use crate::config::Config;

impl DiskMonitor {
    /// The disk, and what the users of a tenant take of it. None before the first measurement.
    pub fn report(&self, config: &Config, tenant: TenantId) -> Option<DiskReport> {
        let disk = self.measure(config).ok()?;
        let state = self.state();
        let usage = state.usage.as_ref()?;
        let mut users: Vec<DiskUserUsage> = usage
            .users
            .iter()
            .filter(|((its, _), _)| *its == tenant)
            .map(|((_, user), of_user)| {
                let homes = state.homes.iter().filter(|home| (home.tenant, home.user) == (tenant, *user));
                let shares = homes.clone().map(|home| {
                    (home.unsaved, state.shares.get(&home.workspace).copied().unwrap_or_default())
                });
                DiskUserUsage {
                    user: *user,
                    name: of_user.name.clone(),
                    cache_bytes: of_user.caches,
                    scratch_bytes: of_user.scratch,
                    object_bytes: of_user.objects,
                    used_bytes: of_user.total(),
                    limit_bytes: config.disk.of(of_user.role),
                    unsaved_bytes: homes.map(|home| home.unsaved).sum(),
                    max_unsaved_bytes: shares
                        .clone()
                        .map(|(_, share)| share)
                        .reduce(|sum, share| sum + share),
                    writes: shares
                        .map(|(unsaved, share)| writes(unsaved, share))
                        .max_by_key(|writes| *writes as u8)
                        .unwrap_or(DiskWrites::Free),
                }
            })
            .collect();
        users.sort_by_key(|user| (std::cmp::Reverse(user.used_bytes), user.user));
        let bytes_of = |kind| usage.disk.kinds.get(&kind).copied().unwrap_or_default();
        Some(DiskReport {
            measured_at: usage.at,
            total_bytes: disk.total,
            free_bytes: disk.free,
            reserve_bytes: disk.reserve,
            budget_bytes: disk.budget,
            used_bytes: usage.disk.total(),
            room_bytes: disk.room(),
            kinds: DiskKind::ALL.map(|kind| DiskKindUsage { kind, bytes: bytes_of(kind) }).into(),
            used_by_tenant_bytes: usage.of_tenant(tenant),
            tenant_limit_bytes: config.disk.tenant_bytes,
            users,
        })
    }

    /// What each kind takes, what each tenant takes, and the room: for metrics. None before the first
    /// measurement.
    pub fn gauges(&self, config: &Config) -> Option<DiskGauges> {
        let disk = self.measure(config).ok()?;
        let state = self.state();
        let usage = state.usage.as_ref()?;
        let mut tenants: Vec<TenantId> = usage.users.keys().map(|(tenant, _)| *tenant).collect();
        tenants.dedup();
        let waiting = state.homes.iter().filter(|home| {
            let share = state.shares.get(&home.workspace).copied().unwrap_or_default();
            writes(home.unsaved, share) != DiskWrites::Free
        });
        Some(DiskGauges {
            kinds: usage.disk.kinds.iter().map(|(kind, bytes)| (*kind, *bytes)).collect(),
            tenants: tenants.into_iter().map(|tenant| (tenant, usage.of_tenant(tenant))).collect(),
            free: disk.free,
            room: disk.room(),
            slowed: waiting.count(),
        })
    }
}

/// See [`DiskMonitor::gauges`]. In bytes.
#[derive(Clone, Debug)]
pub struct DiskGauges {
    pub kinds: Vec<(DiskKind, u64)>,
    pub tenants: Vec<(TenantId, u64)>,
    pub free: u64,
    pub room: u64,
    /// Number of homes whose writes are slowed or wait.
    pub slowed: usize,
}
