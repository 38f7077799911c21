//! Admission: whose turn it is to run. Pure.
//!
//! The next turn goes to the tenant with the fewest running workspaces, within it to the owner with
//! the fewest, then to the workspace that has waited longest. So a class of two hundred does not
//! make everyone else wait until all of it runs, and nobody waits forever.
//!
//! A workspace that a budget of its owner, class or tenant does not allow waits until others of theirs have
//! ended. It holds nobody back, and neither does one that no free host would have room for.

use std::collections::HashMap;

use protocol::{ClassId, TenantId, UserId, WorkspaceId, api::budget::BudgetResource};
use time::OffsetDateTime;

use crate::{
    budgets::{
        amounts::{Amounts, BudgetLimits},
        decide::{Level, LevelUse, admit},
        usage::Subject,
    },
    config::Capacity,
};

/// A workspace in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub owner: WorkspaceOwner,
    pub workspace: WorkspaceId,
    /// What it uses while it runs.
    pub needs: Amounts,
    pub limits: OwnerLimits,
    pub queued_at: OffsetDateTime,
    /// False after a failed attempt until its delay has passed, and while an old runner has not
    /// ended.
    pub is_ready: bool,
}

/// Whose workspace it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceOwner {
    pub tenant: TenantId,
    pub user: UserId,
    pub class: Option<ClassId>,
}

/// The limits that hold for a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerLimits {
    pub user: BudgetLimits,
    pub class: BudgetLimits,
    pub tenant: BudgetLimits,
}

/// A workspace that has a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub owner: WorkspaceOwner,
    /// What it uses.
    pub needs: Amounts,
    /// Whether it is provisioning.
    pub is_starting: bool,
    /// Whether this host runs it. One of another host counts for budgets only.
    pub is_here: bool,
}

/// The order of the queue, and which workspaces start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    /// All waiting workspaces, the next one first.
    pub order: Vec<WorkspaceId>,
    /// Those that there is room for now.
    pub admitted: Vec<WorkspaceId>,
}

/// Orders the queue, and admits as many workspaces as there is room for.
pub fn assign_turns(waiting: &[Waiting], placed: &[Placed], capacity: Capacity) -> Turns {
    let mut running = Running::of(placed);
    let mut rest = waiting.to_vec();
    rest.sort_by_key(|waiting| (waiting.queued_at, waiting.workspace));
    let mut order = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let next = (0..rest.len())
            .min_by_key(|&index| running.priority(&rest[index]))
            .expect("the list is not empty");
        let next = rest.remove(next);
        running.add(next.owner, &next.needs);
        order.push(next);
    }
    let admitted = select_fitting(&order, placed, capacity);
    Turns { order: order.into_iter().map(|waiting| waiting.workspace).collect(), admitted }
}

/// As many from the front of the queue as there is room for. One that does not fit holds back those
/// behind it, otherwise a large workspace would be overtaken by small ones forever. One that a budget
/// holds back is skipped.
fn select_fitting(order: &[Waiting], placed: &[Placed], capacity: Capacity) -> Vec<WorkspaceId> {
    let mut running = Running::of(placed);
    let here: Vec<&Placed> = placed.iter().filter(|workspace| workspace.is_here).collect();
    let booked = |needs: &Amounts| (needs.get(BudgetResource::Memory) >> 20) + capacity.overhead_mib;
    let mut memory: u64 = here.iter().map(|workspace| booked(&workspace.needs)).sum();
    let starting = here.iter().filter(|workspace| workspace.is_starting).count();
    let mut admitted = Vec::new();
    for waiting in order.iter().filter(|waiting| waiting.is_ready) {
        let can_ever_fit = booked(&waiting.needs) <= capacity.memory_mib;
        if !can_ever_fit || !running.has_budget_for(waiting) {
            continue;
        }
        let fits = here.len() + admitted.len() < capacity.sandboxes
            && starting + admitted.len() < capacity.starting
            && memory + booked(&waiting.needs) <= capacity.memory_mib;
        if !fits {
            break;
        }
        memory += booked(&waiting.needs);
        running.add(waiting.owner, &waiting.needs);
        admitted.push(waiting.workspace);
    }
    admitted
}

/// What the running and admitted workspaces of each tenant, class and user use.
#[derive(Default)]
struct Running(HashMap<(TenantId, Subject), Amounts>);

impl Running {
    fn of(placed: &[Placed]) -> Self {
        let mut running = Self::default();
        for workspace in placed {
            running.add(workspace.owner, &workspace.needs);
        }
        running
    }

    fn used(&self, tenant: TenantId, subject: Subject) -> Amounts {
        self.0.get(&(tenant, subject)).copied().unwrap_or_default()
    }

    /// Whether all budgets allow this workspace to run beside those that are counted.
    fn has_budget_for(&self, waiting: &Waiting) -> bool {
        let WorkspaceOwner { tenant, user, class } = waiting.owner;
        let OwnerLimits { user: of_user, class: of_class, tenant: of_tenant } = waiting.limits;
        let level = |level, limits, subject| LevelUse { level, limits, used: self.used(tenant, subject) };
        let class = class.map(|class| level(Level::Class, of_class, Subject::Class(class)));
        let levels = [
            level(Level::User, of_user, Subject::User(user)),
            level(Level::Tenant, of_tenant, Subject::Tenant),
        ];
        admit(levels.iter().chain(&class), &waiting.needs).is_ok()
    }

    fn add(&mut self, owner: WorkspaceOwner, needs: &Amounts) {
        let class = owner.class.map(Subject::Class);
        for subject in [Subject::Tenant, Subject::User(owner.user)].into_iter().chain(class) {
            self.0.entry((owner.tenant, subject)).or_default().add(needs);
        }
    }

    /// Smaller is served first.
    fn priority(&self, waiting: &Waiting) -> (u64, u64, OffsetDateTime) {
        let count = |subject| self.used(waiting.owner.tenant, subject).get(BudgetResource::Running);
        (count(Subject::Tenant), count(Subject::User(waiting.owner.user)), waiting.queued_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Capacity = Capacity { sandboxes: 100, memory_mib: 1 << 20, overhead_mib: 0, starting: 100 };

    fn needs(memory_mib: u64, scratch_mib: u64) -> Amounts {
        Amounts::default()
            .with(BudgetResource::Running, 1)
            .with(BudgetResource::Memory, memory_mib << 20)
            .with(BudgetResource::Scratch, scratch_mib << 20)
    }

    fn waiting(tenant: TenantId, user: UserId, second: i64) -> Waiting {
        Waiting {
            owner: WorkspaceOwner { tenant, user, class: None },
            workspace: WorkspaceId::random(),
            needs: needs(1024, 1024),
            limits: OwnerLimits::default(),
            queued_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second),
            is_ready: true,
        }
    }

    fn running(tenant: TenantId, user: UserId) -> Placed {
        let owner = WorkspaceOwner { tenant, user, class: None };
        Placed { owner, needs: needs(1024, 1024), is_starting: false, is_here: true }
    }

    fn max_running(count: u64) -> BudgetLimits {
        BudgetLimits::NONE.with(BudgetResource::Running, count)
    }

    #[test]
    fn oldest_of_owner_is_first() {
        let (tenant, owner) = (TenantId::random(), UserId::random());
        let (late, early) = (waiting(tenant, owner, 2), waiting(tenant, owner, 1));
        assert_eq!(assign_turns(&[late, early], &[], ROOMY).order, [early.workspace, late.workspace]);
    }

    #[test]
    fn class_does_not_delay_other_tenant() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let mut queue: Vec<Waiting> =
            (0..50).map(|second| waiting(school, UserId::random(), second)).collect();
        let late = waiting(firm, UserId::random(), 100);
        queue.push(late);
        let turns = assign_turns(&queue, &[], Capacity { sandboxes: 2, ..ROOMY });
        assert_eq!(turns.admitted, [queue[0].workspace, late.workspace]);
    }

    #[test]
    fn owner_without_workspaces_is_first() {
        let tenant = TenantId::random();
        let (busy, idle) = (UserId::random(), UserId::random());
        let (first, second) = (waiting(tenant, busy, 1), waiting(tenant, idle, 2));
        assert_eq!(
            assign_turns(&[first, second], &[running(tenant, busy)], ROOMY).order,
            [second.workspace, first.workspace]
        );
    }

    #[test]
    fn capacity_limits_admission() {
        let tenant = TenantId::random();
        let queue: Vec<Waiting> = (0..10).map(|second| waiting(tenant, UserId::random(), second)).collect();
        let placed = [Placed { is_starting: true, ..running(tenant, UserId::random()) }; 2];
        let count = |capacity| assign_turns(&queue, &placed, capacity).admitted.len();
        assert_eq!(count(ROOMY), 10);
        assert_eq!(count(Capacity { sandboxes: 5, ..ROOMY }), 3);
        assert_eq!(count(Capacity { memory_mib: 6 * 1024, ..ROOMY }), 4);
        let with_overhead = Capacity { memory_mib: 6 * 1024, overhead_mib: 256, ..ROOMY };
        assert_eq!(count(with_overhead), 2, "the overhead of running sandboxes counts too");
        assert_eq!(count(Capacity { starting: 3, ..ROOMY }), 1);
        assert_eq!(count(Capacity { sandboxes: 1, ..ROOMY }), 0);
        let elsewhere = placed.map(|placed| Placed { is_here: false, ..placed });
        let here = Capacity { sandboxes: 5, ..ROOMY };
        assert_eq!(assign_turns(&queue, &elsewhere, here).admitted.len(), 5, "another host has its own room");
    }

    #[test]
    fn delayed_retry_keeps_its_position() {
        let tenant = TenantId::random();
        let paused = Waiting { is_ready: false, ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        let turns = assign_turns(&[paused, next], &[], ROOMY);
        assert_eq!(turns.order, [paused.workspace, next.workspace]);
        assert_eq!(turns.admitted, [next.workspace]);
    }

    #[test]
    fn large_workspace_is_not_overtaken() {
        let tenant = TenantId::random();
        let large = Waiting { needs: needs(4096, 1024), ..waiting(tenant, UserId::random(), 1) };
        let small = waiting(tenant, UserId::random(), 2);
        let placed = [running(tenant, UserId::random())];
        let capacity = Capacity { memory_mib: 4096, ..ROOMY };
        assert_eq!(assign_turns(&[large, small], &placed, capacity).admitted, []);
    }

    #[test]
    fn owner_at_limit_waits_and_delays_nobody() {
        let tenant = TenantId::random();
        let (greedy, modest) = (UserId::random(), UserId::random());
        let limits = OwnerLimits { user: max_running(2), ..OwnerLimits::default() };
        let limited = |second| Waiting { limits, ..waiting(tenant, greedy, second) };
        let mut queue: Vec<Waiting> = (0..199).map(limited).collect();
        let late = waiting(tenant, modest, 500);
        queue.push(late);
        let capacity = Capacity { sandboxes: 3, ..ROOMY };
        let turns = assign_turns(&queue, &[], capacity);
        assert_eq!(turns.admitted, [queue[0].workspace, late.workspace, queue[1].workspace]);
        let placed = [running(tenant, greedy); 2];
        assert_eq!(assign_turns(&queue, &placed, capacity).admitted, [late.workspace]);
        assert_eq!(assign_turns(&queue[..199], &placed, ROOMY).admitted, []);
        let elsewhere = placed.map(|placed| Placed { is_here: false, ..placed });
        assert_eq!(assign_turns(&queue[..199], &elsewhere, ROOMY).admitted, [], "other hosts count");
    }

    #[test]
    fn class_at_limit_waits_and_delays_nobody() {
        let (tenant, class) = (TenantId::random(), ClassId::random());
        let limits = OwnerLimits { class: max_running(1), ..OwnerLimits::default() };
        let of_class = |second| {
            let plain = waiting(tenant, UserId::random(), second);
            let owner = WorkspaceOwner { class: Some(class), ..plain.owner };
            Waiting { owner, limits, ..plain }
        };
        let queue = [of_class(0), of_class(1), waiting(tenant, UserId::random(), 2)];
        assert_eq!(assign_turns(&queue, &[], ROOMY).admitted, [queue[0].workspace, queue[2].workspace]);
    }

    #[test]
    fn tenant_at_limit_waits_and_delays_nobody() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let limits = OwnerLimits { tenant: max_running(2), ..OwnerLimits::default() };
        let of_school = [0, 1, 2, 3, 4].map(|second| Waiting {
            limits,
            ..waiting(school, UserId::random(), second)
        });
        let late = waiting(firm, UserId::random(), 100);
        let queue = [&of_school[..], &[late]].concat();
        let turns = assign_turns(&queue, &[], ROOMY);
        assert_eq!(turns.admitted, [of_school[0].workspace, late.workspace, of_school[1].workspace]);
    }

    #[test]
    fn scratch_at_limit_waits_and_delays_nobody() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let greedy = UserId::random();
        let scratch = |mib: u64| BudgetLimits::NONE.with(BudgetResource::Scratch, mib << 20);
        let limits = OwnerLimits { user: scratch(2048), ..OwnerLimits::default() };
        let limited = |second| Waiting { limits, ..waiting(school, greedy, second) };
        let late = waiting(firm, UserId::random(), 500);
        let queue = [limited(0), limited(1), limited(2), late];
        let placed = [running(school, greedy)];
        assert_eq!(assign_turns(&queue, &placed, ROOMY).admitted, [late.workspace, queue[0].workspace]);
        let limits = OwnerLimits { tenant: scratch(1024), ..OwnerLimits::default() };
        let queue = [Waiting { limits, ..queue[0] }, late];
        assert_eq!(assign_turns(&queue, &placed, ROOMY).admitted, [late.workspace]);
    }

    #[test]
    fn owners_take_turns() {
        let tenant = TenantId::random();
        let (first, second) = (UserId::random(), UserId::random());
        let of = |owner, from: i64| [from, from + 1].map(|second| waiting(tenant, owner, second));
        let ([a, b], [c, d]) = (of(first, 0), of(second, 10));
        let order = assign_turns(&[a, b, c, d], &[], ROOMY).order;
        assert_eq!(order, [a, c, b, d].map(|waiting| waiting.workspace));
    }

    #[test]
    fn workspace_larger_than_host_delays_nobody() {
        let tenant = TenantId::random();
        let huge = Waiting { needs: needs(1 << 30, 1024), ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        assert_eq!(assign_turns(&[huge, next], &[], ROOMY).admitted, [next.workspace]);
    }
}
