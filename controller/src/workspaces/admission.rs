//! Whose turn it is: pure.
//!
//! The next place goes to the tenant that holds the fewest, within it to the owner who holds the fewest, then to whoever has
//! waited longest. So one class of two hundred does not make everyone else wait until all of it runs, and nobody waits for ever:
//! a tenant or owner with fewer machines than the others is served first.

use std::collections::HashMap;

use protocol::{TenantId, UserId, WorkspaceId};
use time::OffsetDateTime;

/// What the engine can hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub machines: usize,
    pub memory_mib: u64,
    /// Machines that boot at the same time: more make all of them late.
    pub starting: usize,
}

/// A workspace in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub tenant: TenantId,
    pub owner: UserId,
    pub workspace: WorkspaceId,
    pub memory_mib: u64,
    pub queued_at: OffsetDateTime,
    /// A failed attempt's pause, or an old runner that still ends.
    pub ready: bool,
}

/// A workspace that holds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub tenant: TenantId,
    pub owner: UserId,
    pub memory_mib: u64,
    pub starting: bool,
}

/// The queue's order, and how many from its front may start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    pub order: Vec<WorkspaceId>,
    pub now: Vec<WorkspaceId>,
}

pub fn turns(waiting: &[Waiting], placed: &[Placed], capacity: Capacity) -> Turns {
    let mut held = Held::default();
    for place in placed {
        held.add(place.tenant, place.owner);
    }
    let mut rest = waiting.to_vec();
    rest.sort_by_key(|one| (one.queued_at, one.workspace));
    let mut order = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let next = (0..rest.len()).min_by_key(|&index| held.of(&rest[index])).expect("the list is not empty");
        let next = rest.remove(next);
        held.add(next.tenant, next.owner);
        order.push(next);
    }
    let now = fitting(&order, placed, capacity);
    Turns { order: order.into_iter().map(|one| one.workspace).collect(), now }
}

/// From the front on, as many as there is room for. One that does not fit holds back those behind it: a large machine would
/// otherwise wait for ever behind small ones.
fn fitting(order: &[Waiting], placed: &[Placed], capacity: Capacity) -> Vec<WorkspaceId> {
    let mut memory: u64 = placed.iter().map(|place| place.memory_mib).sum();
    let starting = placed.iter().filter(|place| place.starting).count();
    let mut now = Vec::new();
    for one in order.iter().filter(|one| one.ready) {
        let fits = placed.len() + now.len() < capacity.machines
            && starting + now.len() < capacity.starting
            && memory + one.memory_mib <= capacity.memory_mib;
        if !fits {
            break;
        }
        memory += one.memory_mib;
        now.push(one.workspace);
    }
    now
}

#[derive(Default)]
struct Held {
    tenants: HashMap<TenantId, usize>,
    owners: HashMap<(TenantId, UserId), usize>,
}

impl Held {
    fn add(&mut self, tenant: TenantId, owner: UserId) {
        *self.tenants.entry(tenant).or_default() += 1;
        *self.owners.entry((tenant, owner)).or_default() += 1;
    }

    fn of(&self, one: &Waiting) -> (usize, usize, OffsetDateTime) {
        let tenant = self.tenants.get(&one.tenant).copied().unwrap_or_default();
        let owner = self.owners.get(&(one.tenant, one.owner)).copied().unwrap_or_default();
        (tenant, owner, one.queued_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Capacity = Capacity { machines: 100, memory_mib: 1 << 20, starting: 100 };

    fn waiting(tenant: TenantId, owner: UserId, second: i64) -> Waiting {
        Waiting {
            tenant,
            owner,
            workspace: WorkspaceId::random(),
            memory_mib: 1024,
            queued_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second),
            ready: true,
        }
    }

    #[test]
    fn within_an_owner_the_oldest_is_first() {
        let (tenant, owner) = (TenantId::random(), UserId::random());
        let (late, early) = (waiting(tenant, owner, 2), waiting(tenant, owner, 1));
        assert_eq!(turns(&[late, early], &[], ROOMY).order, [early.workspace, late.workspace]);
    }

    #[test]
    fn a_class_does_not_hold_up_another_tenant() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let mut queue: Vec<Waiting> =
            (0..50).map(|second| waiting(school, UserId::random(), second)).collect();
        let late = waiting(firm, UserId::random(), 100);
        queue.push(late);
        let turns = turns(&queue, &[], Capacity { machines: 2, ..ROOMY });
        assert_eq!(turns.now, [queue[0].workspace, late.workspace]);
    }

    #[test]
    fn who_holds_machines_waits_for_who_holds_none() {
        let tenant = TenantId::random();
        let (rich, poor) = (UserId::random(), UserId::random());
        let placed = [Placed { tenant, owner: rich, memory_mib: 1024, starting: false }];
        let (first, second) = (waiting(tenant, rich, 1), waiting(tenant, poor, 2));
        assert_eq!(turns(&[first, second], &placed, ROOMY).order, [second.workspace, first.workspace]);
    }

    #[test]
    fn capacity_is_kept() {
        let tenant = TenantId::random();
        let queue: Vec<Waiting> = (0..10).map(|second| waiting(tenant, UserId::random(), second)).collect();
        let placed = [Placed { tenant, owner: UserId::random(), memory_mib: 1024, starting: true }; 2];
        let count = |capacity| turns(&queue, &placed, capacity).now.len();
        assert_eq!(count(ROOMY), 10);
        assert_eq!(count(Capacity { machines: 5, ..ROOMY }), 3);
        assert_eq!(count(Capacity { memory_mib: 6 * 1024, ..ROOMY }), 4);
        assert_eq!(count(Capacity { starting: 3, ..ROOMY }), 1);
        assert_eq!(count(Capacity { machines: 1, ..ROOMY }), 0);
    }

    #[test]
    fn a_pause_keeps_the_place_and_holds_nobody_up() {
        let tenant = TenantId::random();
        let paused = Waiting { ready: false, ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        let turns = turns(&[paused, next], &[], ROOMY);
        assert_eq!(turns.order, [paused.workspace, next.workspace]);
        assert_eq!(turns.now, [next.workspace]);
    }

    #[test]
    fn a_large_machine_is_not_overtaken_for_ever() {
        let tenant = TenantId::random();
        let large = Waiting { memory_mib: 4096, ..waiting(tenant, UserId::random(), 1) };
        let small = waiting(tenant, UserId::random(), 2);
        let placed = [Placed { tenant, owner: UserId::random(), memory_mib: 1024, starting: false }];
        assert_eq!(turns(&[large, small], &placed, Capacity { memory_mib: 4096, ..ROOMY }).now, []);
    }
}
