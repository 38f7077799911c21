//! Admission: whose turn it is to run. Pure.
//!
//! The next turn goes to the tenant with the fewest running workspaces, within it to the owner with
//! the fewest, then to the workspace that has waited longest. So a class of two hundred does not
//! make everyone else wait until all of it runs, and nobody waits forever.
//!
//! A workspace whose owner or tenant runs as many as the limits allow waits until one of those has
//! ended. It holds nobody back, and neither does one that no free host would have room for.

use std::collections::HashMap;

use protocol::{TenantId, UserId, WorkspaceId};
use time::OffsetDateTime;

use crate::config::Capacity;

/// A workspace in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub tenant: TenantId,
    pub owner: UserId,
    pub workspace: WorkspaceId,
    /// What its owner may use.
    pub of_owner: UsageLimits,
    pub memory_mib: u64,
    pub scratch_mib: u64,
    pub queued_at: OffsetDateTime,
    /// False after a failed attempt until its delay has passed, and while an old runner has not
    /// ended.
    pub is_ready: bool,
}

/// A workspace that has a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub tenant: TenantId,
    pub owner: UserId,
    pub memory_mib: u64,
    pub scratch_mib: u64,
    /// Whether it is provisioning.
    pub is_starting: bool,
}

/// The order of the queue, and which workspaces start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    /// All waiting workspaces, the next one first.
    pub order: Vec<WorkspaceId>,
    /// Those that there is room for now.
    pub admitted: Vec<WorkspaceId>,
}

/// What one owner or one tenant may use at once. None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageLimits {
    /// Workspaces that run.
    pub workspaces: Option<u32>,
    /// Size of their scratch disks together.
    pub scratch_mib: Option<u64>,
}

/// Orders the queue, and admits as many workspaces as there is room for.
pub fn assign_turns(
    waiting: &[Waiting],
    placed: &[Placed],
    capacity: Capacity,
    of_tenant: UsageLimits,
) -> Turns {
    let mut running = RunningCounts::of(placed);
    let mut rest = waiting.to_vec();
    rest.sort_by_key(|waiting| (waiting.queued_at, waiting.workspace));
    let mut order = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let next = (0..rest.len())
            .min_by_key(|&index| running.priority(&rest[index]))
            .expect("the list is not empty");
        let next = rest.remove(next);
        running.add(next.tenant, next.owner, next.scratch_mib);
        order.push(next);
    }
    let admitted = select_fitting(&order, placed, capacity, of_tenant);
    Turns { order: order.into_iter().map(|waiting| waiting.workspace).collect(), admitted }
}

/// As many from the front of the queue as there is room for. One that does not fit holds back those
/// behind it, otherwise a large workspace would be overtaken by small ones forever. One that the
/// limits of its owner or tenant hold back is skipped.
fn select_fitting(
    order: &[Waiting],
    placed: &[Placed],
    capacity: Capacity,
    of_tenant: UsageLimits,
) -> Vec<WorkspaceId> {
    let mut running = RunningCounts::of(placed);
    let booked = |guest_mib: u64| guest_mib + capacity.overhead_mib;
    let mut memory: u64 = placed.iter().map(|workspace| booked(workspace.memory_mib)).sum();
    let starting = placed.iter().filter(|workspace| workspace.is_starting).count();
    let mut admitted = Vec::new();
    for waiting in order.iter().filter(|waiting| waiting.is_ready) {
        let can_ever_fit = booked(waiting.memory_mib) <= capacity.memory_mib;
        if !can_ever_fit || running.is_at_limit(waiting, of_tenant) {
            continue;
        }
        let fits = placed.len() + admitted.len() < capacity.sandboxes
            && starting + admitted.len() < capacity.starting
            && memory + booked(waiting.memory_mib) <= capacity.memory_mib;
        if !fits {
            break;
        }
        memory += booked(waiting.memory_mib);
        running.add(waiting.tenant, waiting.owner, waiting.scratch_mib);
        admitted.push(waiting.workspace);
    }
    admitted
}

/// Running and admitted workspaces by tenant and owner.
#[derive(Default)]
struct RunningCounts {
    tenants: HashMap<TenantId, Usage>,
    owners: HashMap<(TenantId, UserId), Usage>,
}

/// What the running and admitted workspaces of a tenant or an owner use.
#[derive(Clone, Copy, Default)]
struct Usage {
    workspaces: usize,
    scratch_mib: u64,
}

impl Usage {
    fn add(&mut self, scratch_mib: u64) {
        self.workspaces += 1;
        self.scratch_mib += scratch_mib;
    }

    /// Whether one more workspace exceeds a limit.
    fn is_at_limit(self, more: &Waiting, limits: UsageLimits) -> bool {
        limits.workspaces.is_some_and(|max| self.workspaces >= max as usize)
            || limits.scratch_mib.is_some_and(|max| self.scratch_mib + more.scratch_mib > max)
    }
}

impl RunningCounts {
    fn of(placed: &[Placed]) -> Self {
        let mut running = Self::default();
        for workspace in placed {
            running.add(workspace.tenant, workspace.owner, workspace.scratch_mib);
        }
        running
    }

    /// Whether a limit forbids this workspace to run beside those that are counted.
    fn is_at_limit(&self, waiting: &Waiting, of_tenant: UsageLimits) -> bool {
        let (tenant, owner) = self.usage(waiting);
        owner.is_at_limit(waiting, waiting.of_owner) || tenant.is_at_limit(waiting, of_tenant)
    }

    /// What its tenant and its owner use.
    fn usage(&self, waiting: &Waiting) -> (Usage, Usage) {
        let tenant = self.tenants.get(&waiting.tenant).copied().unwrap_or_default();
        let owner = self.owners.get(&(waiting.tenant, waiting.owner)).copied().unwrap_or_default();
        (tenant, owner)
    }

    fn add(&mut self, tenant: TenantId, owner: UserId, scratch_mib: u64) {
        self.tenants.entry(tenant).or_default().add(scratch_mib);
        self.owners.entry((tenant, owner)).or_default().add(scratch_mib);
    }

    /// Smaller is served first.
    fn priority(&self, waiting: &Waiting) -> (usize, usize, OffsetDateTime) {
        let (tenant, owner) = self.usage(waiting);
        (tenant.workspaces, owner.workspaces, waiting.queued_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Capacity = Capacity { sandboxes: 100, memory_mib: 1 << 20, overhead_mib: 0, starting: 100 };
    const UNLIMITED: UsageLimits = UsageLimits { workspaces: None, scratch_mib: None };

    fn waiting(tenant: TenantId, owner: UserId, second: i64) -> Waiting {
        Waiting {
            tenant,
            owner,
            workspace: WorkspaceId::random(),
            of_owner: UsageLimits::default(),
            memory_mib: 1024,
            scratch_mib: 1024,
            queued_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second),
            is_ready: true,
        }
    }

    #[test]
    fn oldest_of_owner_is_first() {
        let (tenant, owner) = (TenantId::random(), UserId::random());
        let (late, early) = (waiting(tenant, owner, 2), waiting(tenant, owner, 1));
        assert_eq!(
            assign_turns(&[late, early], &[], ROOMY, UNLIMITED).order,
            [early.workspace, late.workspace]
        );
    }

    #[test]
    fn class_does_not_delay_other_tenant() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let mut queue: Vec<Waiting> =
            (0..50).map(|second| waiting(school, UserId::random(), second)).collect();
        let late = waiting(firm, UserId::random(), 100);
        queue.push(late);
        let turns = assign_turns(&queue, &[], Capacity { sandboxes: 2, ..ROOMY }, UNLIMITED);
        assert_eq!(turns.admitted, [queue[0].workspace, late.workspace]);
    }

    #[test]
    fn owner_without_workspaces_is_first() {
        let tenant = TenantId::random();
        let (busy, idle) = (UserId::random(), UserId::random());
        let placed =
            [Placed { tenant, owner: busy, memory_mib: 1024, scratch_mib: 1024, is_starting: false }];
        let (first, second) = (waiting(tenant, busy, 1), waiting(tenant, idle, 2));
        assert_eq!(
            assign_turns(&[first, second], &placed, ROOMY, UNLIMITED).order,
            [second.workspace, first.workspace]
        );
    }

    #[test]
    fn capacity_limits_admission() {
        let tenant = TenantId::random();
        let queue: Vec<Waiting> = (0..10).map(|second| waiting(tenant, UserId::random(), second)).collect();
        let placed = [Placed {
            tenant,
            owner: UserId::random(),
            memory_mib: 1024,
            scratch_mib: 1024,
            is_starting: true,
        }; 2];
        let count = |capacity| assign_turns(&queue, &placed, capacity, UNLIMITED).admitted.len();
        assert_eq!(count(ROOMY), 10);
        assert_eq!(count(Capacity { sandboxes: 5, ..ROOMY }), 3);
        assert_eq!(count(Capacity { memory_mib: 6 * 1024, ..ROOMY }), 4);
        let with_overhead = Capacity { memory_mib: 6 * 1024, overhead_mib: 256, ..ROOMY };
        assert_eq!(count(with_overhead), 2, "the overhead of running sandboxes counts too");
        assert_eq!(count(Capacity { starting: 3, ..ROOMY }), 1);
        assert_eq!(count(Capacity { sandboxes: 1, ..ROOMY }), 0);
    }

    #[test]
    fn delayed_retry_keeps_its_position() {
        let tenant = TenantId::random();
        let paused = Waiting { is_ready: false, ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        let turns = assign_turns(&[paused, next], &[], ROOMY, UNLIMITED);
        assert_eq!(turns.order, [paused.workspace, next.workspace]);
        assert_eq!(turns.admitted, [next.workspace]);
    }

    #[test]
    fn large_workspace_is_not_overtaken() {
        let tenant = TenantId::random();
        let large = Waiting { memory_mib: 4096, ..waiting(tenant, UserId::random(), 1) };
        let small = waiting(tenant, UserId::random(), 2);
        let placed = [Placed {
            tenant,
            owner: UserId::random(),
            memory_mib: 1024,
            scratch_mib: 1024,
            is_starting: false,
        }];
        assert_eq!(
            assign_turns(&[large, small], &placed, Capacity { memory_mib: 4096, ..ROOMY }, UNLIMITED)
                .admitted,
            []
        );
    }

    #[test]
    fn owner_at_limit_waits_and_delays_nobody() {
        let tenant = TenantId::random();
        let (greedy, modest) = (UserId::random(), UserId::random());
        let of_owner = UsageLimits { workspaces: Some(2), scratch_mib: None };
        let limited = |second| Waiting { of_owner, ..waiting(tenant, greedy, second) };
        let mut queue: Vec<Waiting> = (0..199).map(limited).collect();
        let late = waiting(tenant, modest, 500);
        queue.push(late);
        let turns = assign_turns(&queue, &[], Capacity { sandboxes: 3, ..ROOMY }, UNLIMITED);
        assert_eq!(turns.admitted, [queue[0].workspace, late.workspace, queue[1].workspace]);
        let running =
            Placed { tenant, owner: greedy, memory_mib: 1024, scratch_mib: 1024, is_starting: false };
        let turns = assign_turns(&queue, &[running; 2], Capacity { sandboxes: 3, ..ROOMY }, UNLIMITED);
        assert_eq!(turns.admitted, [late.workspace]);
        assert_eq!(assign_turns(&queue[..199], &[running; 2], ROOMY, UNLIMITED).admitted, []);
    }

    #[test]
    fn tenant_at_limit_waits_and_delays_nobody() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let of_school: Vec<Waiting> =
            (0..5).map(|second| waiting(school, UserId::random(), second)).collect();
        let late = waiting(firm, UserId::random(), 100);
        let queue = [&of_school[..], &[late]].concat();
        let turns = assign_turns(&queue, &[], ROOMY, UsageLimits { workspaces: Some(2), ..UNLIMITED });
        assert_eq!(turns.admitted, [of_school[0].workspace, late.workspace, of_school[1].workspace]);
    }

    #[test]
    fn scratch_at_limit_waits_and_delays_nobody() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let greedy = UserId::random();
        let of_owner = UsageLimits { workspaces: None, scratch_mib: Some(2048) };
        let limited = |second| Waiting { of_owner, ..waiting(school, greedy, second) };
        let late = waiting(firm, UserId::random(), 500);
        let queue = [limited(0), limited(1), limited(2), late];
        let running =
            Placed { tenant: school, owner: greedy, memory_mib: 1, scratch_mib: 1024, is_starting: false };
        let turns = assign_turns(&queue, &[running], ROOMY, UNLIMITED);
        assert_eq!(turns.admitted, [late.workspace, queue[0].workspace]);
        let of_tenant = UsageLimits { scratch_mib: Some(1024), ..UNLIMITED };
        assert_eq!(assign_turns(&queue, &[running], ROOMY, of_tenant).admitted, [late.workspace]);
    }

    #[test]
    fn owners_take_turns() {
        let tenant = TenantId::random();
        let (first, second) = (UserId::random(), UserId::random());
        let of = |owner, from: i64| [from, from + 1].map(|second| waiting(tenant, owner, second));
        let ([a, b], [c, d]) = (of(first, 0), of(second, 10));
        let order = assign_turns(&[a, b, c, d], &[], ROOMY, UNLIMITED).order;
        assert_eq!(order, [a, c, b, d].map(|waiting| waiting.workspace));
    }

    #[test]
    fn workspace_larger_than_host_delays_nobody() {
        let tenant = TenantId::random();
        let huge = Waiting { memory_mib: 1 << 30, ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        assert_eq!(assign_turns(&[huge, next], &[], ROOMY, UNLIMITED).admitted, [next.workspace]);
    }
}
