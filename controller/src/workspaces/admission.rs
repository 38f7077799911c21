//! Admission: whose turn it is to run. Pure.
//!
//! **Order.** The next turn goes to the tenant with the smallest dominant share of this host, divided by
//! its weight: dominant-resource fairness. In the tenant, interactive starts come before those of classes,
//! and those before batch; a start that waits moves up one class every ten minutes. Among equals the user
//! with the fewest running workspaces is next, then the start that has waited longest. So a class of two
//! hundred or a thousand batch jobs do not make anyone else wait until all of them run.
//!
//! **No starvation.** The first start that finds no room is *reserved*: it stays the first in all later
//! passes until it has its room, whatever comes after it.
//!
//! **No idling.** A start that fits goes ahead of a reserved one only if that cannot delay it: the memory
//! that it takes is left over for sure when enough of the running workspaces have ended for the reserved
//! one, whichever end first, and one place to start stays free.
//!
//! A workspace that a budget of its owner, class or tenant does not allow waits until others of theirs have
//! ended. It is *held*: it has no place in the queue and holds nobody back, and neither does one that no
//! free host would have room for.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    ops::Range,
};

use protocol::{
    ClassId, TenantId, UserId, WorkspaceId, api::budget::BudgetResource, workspace::StartPriority,
};
use time::{Duration, OffsetDateTime};

use crate::{
    budgets::{
        amounts::{Amounts, BudgetLimits},
        decide::{Level, LevelUse, admit},
        usage::Subject,
    },
    config::Capacity,
};

/// After each of these, a waiting start moves up one class.
const PROMOTION_INTERVAL: Duration = Duration::minutes(10);
/// A share of the whole host.
const WHOLE: u128 = 1 << 32;
/// Sums of memory that are compared to find room for a start that goes ahead. With more, none does.
const MAX_SUMS: usize = 4096;

/// A workspace in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub owner: WorkspaceOwner,
    pub workspace: WorkspaceId,
    /// What it uses while it runs.
    pub needs: Amounts,
    pub limits: OwnerLimits,
    pub priority: StartPriority,
    /// How much larger than other tenants' the share of its tenant may be; 1 or more.
    pub weight: u32,
    pub queued_at: OffsetDateTime,
    /// False after a failed attempt until its delay has passed, and while an old runner has not
    /// ended.
    pub is_ready: bool,
    /// Whether an earlier pass has reserved the next room for it.
    pub is_reserved: bool,
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
    /// Whether this host runs it. One of another host counts for budgets and shares only.
    pub is_here: bool,
}

/// The order of the queue, and which workspaces start now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// All that wait for room, the next one first, with those that are admitted.
    pub order: Vec<WorkspaceId>,
    /// Those that there is room for now.
    pub admitted: Vec<WorkspaceId>,
    /// Those that a budget holds back, or that are larger than this host.
    pub held: Vec<WorkspaceId>,
    /// The first one that there is no room for. Pass it as reserved the next time.
    pub reserved: Option<WorkspaceId>,
}

/// Orders the queue, and admits as many workspaces as there is room for.
pub fn assign_turns(
    now: OffsetDateTime,
    waiting: &[Waiting],
    placed: &[Placed],
    capacity: Capacity,
) -> Turns {
    let mut running = Running::of(placed, capacity);
    let mut room = Room::of(placed, capacity);
    let mut queue = Queue::new(now, waiting, &running);
    let mut turns = Turns::default();
    while let Some(next) = queue.pop() {
        let booked = booked_mib(&next.needs, capacity);
        if booked > capacity.memory_mib || !running.has_budget_for(next) {
            turns.held.push(next.workspace);
        } else {
            turns.order.push(next.workspace);
            if next.is_ready {
                match room.take(booked) {
                    Fit::Now => turns.admitted.push(next.workspace),
                    Fit::First => turns.reserved = Some(next.workspace),
                    Fit::Later => {}
                }
            }
            running.add(next.owner, &next.needs);
        }
        queue.update(next.owner, &running);
    }
    turns
}

/// Memory of the host that a workspace takes.
fn booked_mib(needs: &Amounts, capacity: Capacity) -> u64 {
    (needs.get(BudgetResource::Memory) >> 20) + capacity.overhead_mib
}

/// What the running and admitted workspaces of each tenant, class and user use.
struct Running {
    used: HashMap<(TenantId, Subject), Amounts>,
    capacity: Capacity,
}

impl Running {
    fn of(placed: &[Placed], capacity: Capacity) -> Self {
        let mut running = Self { used: HashMap::new(), capacity };
        for workspace in placed {
            running.add(workspace.owner, &workspace.needs);
        }
        running
    }

    fn used(&self, tenant: TenantId, subject: Subject) -> Amounts {
        self.used.get(&(tenant, subject)).copied().unwrap_or_default()
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
            self.used.entry((owner.tenant, subject)).or_default().add(needs);
        }
    }

    fn count(&self, owner: WorkspaceOwner) -> u64 {
        self.used(owner.tenant, Subject::User(owner.user)).get(BudgetResource::Running)
    }

    /// The largest share of places or memory that a tenant has, divided by its weight.
    fn dominant_share(&self, tenant: TenantId, weight: u32) -> u128 {
        let used = self.used(tenant, Subject::Tenant);
        let count = used.get(BudgetResource::Running);
        let memory = (used.get(BudgetResource::Memory) >> 20) + count * self.capacity.overhead_mib;
        let share = |used: u64, all: u64| u128::from(used) * WHOLE / u128::from(all.max(1));
        let places = share(count, self.capacity.sandboxes as u64);
        places.max(share(memory, self.capacity.memory_mib)) / u128::from(weight.max(1))
    }
}

/// Whether there is room for the next one in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Now,
    /// It is the first for which there is none.
    First,
    Later,
}

/// The room of this host.
struct Room {
    capacity: Capacity,
    starting: usize,
    /// Memory of each workspace that runs or is admitted.
    sizes: Vec<u64>,
    memory_mib: u64,
    /// Once there is no room for the first in order: what may be taken without delaying it.
    spare_mib: Option<u64>,
}

impl Room {
    fn of(placed: &[Placed], capacity: Capacity) -> Self {
        let here = || placed.iter().filter(|workspace| workspace.is_here);
        let sizes: Vec<u64> = here().map(|workspace| booked_mib(&workspace.needs, capacity)).collect();
        Self {
            capacity,
            starting: here().filter(|workspace| workspace.is_starting).count(),
            memory_mib: sizes.iter().sum(),
            sizes,
            spare_mib: None,
        }
    }

    fn take(&mut self, booked_mib: u64) -> Fit {
        let reserved_starts = usize::from(self.spare_mib.is_some());
        let has_place = self.sizes.len() < self.capacity.sandboxes
            && self.starting + reserved_starts < self.capacity.starting;
        let has_memory = self.memory_mib + booked_mib <= self.capacity.memory_mib;
        if has_place && has_memory && self.spare_mib.is_none_or(|spare| booked_mib <= spare) {
            self.spare_mib = self.spare_mib.map(|spare| spare - booked_mib);
            self.sizes.push(booked_mib);
            self.memory_mib += booked_mib;
            self.starting += 1;
            return Fit::Now;
        }
        if self.spare_mib.is_some() {
            return Fit::Later;
        }
        // What waits for a place, and not for memory, gets the next one that is free.
        self.spare_mib = Some(if has_place { self.find_spare(booked_mib) } else { 0 });
        Fit::First
    }

    /// The memory that is left over for sure once enough workspaces have ended for one of this size,
    /// whichever they are: the smallest excess of any sum of sizes over what is short.
    fn find_spare(&self, first_mib: u64) -> u64 {
        let missing_mib = (self.memory_mib + first_mib).saturating_sub(self.capacity.memory_mib);
        let mut too_small = BTreeSet::from([0]);
        let mut spare = u64::MAX;
        for size in &self.sizes {
            let more: Vec<u64> = too_small.iter().map(|sum| sum + size).collect();
            for sum in more {
                if sum >= missing_mib {
                    spare = spare.min(sum - missing_mib);
                } else {
                    too_small.insert(sum);
                }
            }
            if spare == 0 || too_small.len() > MAX_SUMS {
                return 0;
            }
        }
        if spare == u64::MAX { 0 } else { spare }
    }
}

/// The waiting workspaces, each taken in its turn.
struct Queue<'a> {
    reserved: Option<&'a Waiting>,
    tenants: HashMap<TenantId, TenantQueue<'a>>,
    /// The next turn of each tenant that has one.
    turns: BTreeSet<TenantTurn>,
}

/// The order of the next turns of all tenants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TenantTurn {
    share: u128,
    level: usize,
    queued_at: OffsetDateTime,
    workspace: WorkspaceId,
    tenant: TenantId,
}

/// The order of the next turns of the users of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UserTurn {
    level: usize,
    running: u64,
    queued_at: OffsetDateTime,
    workspace: WorkspaceId,
    user: UserId,
}

/// The waiting workspaces of a tenant.
#[derive(Default)]
struct TenantQueue<'a> {
    weight: u32,
    /// By level and user, the oldest first.
    waiting: HashMap<(usize, UserId), VecDeque<&'a Waiting>>,
    /// The next turn of each user in each level.
    turns: BTreeSet<UserTurn>,
    /// The turns that are in `turns`.
    keys: HashMap<(usize, UserId), UserTurn>,
    key: Option<TenantTurn>,
}

/// 0 is served first.
const LEVELS: Range<usize> = 0..3;

/// The class of a start, after its promotions.
fn level(now: OffsetDateTime, waiting: &Waiting) -> usize {
    let level = match waiting.priority {
        StartPriority::Interactive => 0,
        StartPriority::Class => 1,
        StartPriority::Batch => 2,
    };
    let waited = (now - waiting.queued_at).max(Duration::ZERO).unsigned_abs();
    let promotions = waited.as_secs() / PROMOTION_INTERVAL.unsigned_abs().as_secs();
    usize::saturating_sub(level, usize::try_from(promotions).unwrap_or(usize::MAX))
}

impl<'a> Queue<'a> {
    fn new(now: OffsetDateTime, waiting: &'a [Waiting], running: &Running) -> Self {
        let reserved = waiting.iter().find(|waiting| waiting.is_reserved && waiting.is_ready);
        let mut sorted: Vec<&Waiting> = waiting
            .iter()
            .filter(|waiting| reserved.is_none_or(|reserved| reserved.workspace != waiting.workspace))
            .collect();
        sorted.sort_by_key(|waiting| (waiting.queued_at, waiting.workspace));
        let mut queue = Self { reserved, tenants: HashMap::new(), turns: BTreeSet::new() };
        let mut owners = HashMap::new();
        for waiting in sorted {
            let tenant = queue.tenants.entry(waiting.owner.tenant).or_default();
            tenant.weight = waiting.weight;
            let key = (level(now, waiting), waiting.owner.user);
            tenant.waiting.entry(key).or_default().push_back(waiting);
            owners.insert((waiting.owner.tenant, waiting.owner.user), waiting.owner);
        }
        for owner in owners.into_values() {
            queue.update(owner, running);
        }
        queue
    }

    /// Takes the next one. Call [`Self::update`] once it is counted.
    fn pop(&mut self) -> Option<&'a Waiting> {
        if let Some(reserved) = self.reserved.take() {
            return Some(reserved);
        }
        let turn = self.turns.pop_first()?;
        let tenant = self.tenants.get_mut(&turn.tenant).expect("a turn of a tenant that waits");
        tenant.key = None;
        let next = tenant.turns.pop_first().expect("a tenant's turn is a user's");
        tenant.keys.remove(&(next.level, next.user));
        tenant.waiting.get_mut(&(next.level, next.user)).and_then(VecDeque::pop_front)
    }

    /// Puts the turns of a user and the tenant where they belong, after what they run has changed.
    fn update(&mut self, owner: WorkspaceOwner, running: &Running) {
        let Some(tenant) = self.tenants.get_mut(&owner.tenant) else { return };
        let count = running.count(owner);
        for level in LEVELS {
            let key = (level, owner.user);
            if let Some(old) = tenant.keys.remove(&key) {
                tenant.turns.remove(&old);
            }
            let Some(first) = tenant.waiting.get(&key).and_then(VecDeque::front) else { continue };
            let (queued_at, workspace) = (first.queued_at, first.workspace);
            let turn = UserTurn { level, running: count, queued_at, workspace, user: owner.user };
            tenant.turns.insert(turn);
            tenant.keys.insert(key, turn);
        }
        if let Some(old) = tenant.key.take() {
            self.turns.remove(&old);
        }
        if let Some(next) = tenant.turns.first() {
            let share = running.dominant_share(owner.tenant, tenant.weight);
            let UserTurn { level, queued_at, workspace, .. } = *next;
            let turn = TenantTurn { share, level, queued_at, workspace, tenant: owner.tenant };
            self.turns.insert(turn);
            tenant.key = Some(turn);
        }
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Capacity = Capacity { sandboxes: 100, memory_mib: 1 << 20, overhead_mib: 0, starting: 100 };

    /// Too early for a promotion.
    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

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
            priority: StartPriority::Interactive,
            weight: 1,
            queued_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(second),
            is_ready: true,
            is_reserved: false,
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
        assert_eq!(assign_turns(NOW, &[late, early], &[], ROOMY).order, [early.workspace, late.workspace]);
    }

    #[test]
    fn class_does_not_delay_other_tenant() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let mut queue: Vec<Waiting> =
            (0..50).map(|second| waiting(school, UserId::random(), second)).collect();
        let late = waiting(firm, UserId::random(), 100);
        queue.push(late);
        let turns = assign_turns(NOW, &queue, &[], Capacity { sandboxes: 2, ..ROOMY });
        assert_eq!(turns.admitted, [queue[0].workspace, late.workspace]);
    }

    #[test]
    fn owner_without_workspaces_is_first() {
        let tenant = TenantId::random();
        let (busy, idle) = (UserId::random(), UserId::random());
        let (first, second) = (waiting(tenant, busy, 1), waiting(tenant, idle, 2));
        assert_eq!(
            assign_turns(NOW, &[first, second], &[running(tenant, busy)], ROOMY).order,
            [second.workspace, first.workspace]
        );
    }

    #[test]
    fn capacity_limits_admission() {
        let tenant = TenantId::random();
        let queue: Vec<Waiting> = (0..10).map(|second| waiting(tenant, UserId::random(), second)).collect();
        let placed = [Placed { is_starting: true, ..running(tenant, UserId::random()) }; 2];
        let count = |capacity| assign_turns(NOW, &queue, &placed, capacity).admitted.len();
        assert_eq!(count(ROOMY), 10);
        assert_eq!(count(Capacity { sandboxes: 5, ..ROOMY }), 3);
        assert_eq!(count(Capacity { memory_mib: 6 * 1024, ..ROOMY }), 4);
        let with_overhead = Capacity { memory_mib: 6 * 1024, overhead_mib: 256, ..ROOMY };
        assert_eq!(count(with_overhead), 2, "the overhead of running sandboxes counts too");
        assert_eq!(count(Capacity { starting: 3, ..ROOMY }), 1);
        assert_eq!(count(Capacity { sandboxes: 1, ..ROOMY }), 0);
        let elsewhere = placed.map(|placed| Placed { is_here: false, ..placed });
        let here = Capacity { sandboxes: 5, ..ROOMY };
        assert_eq!(
            assign_turns(NOW, &queue, &elsewhere, here).admitted.len(),
            5,
            "another host has its own room"
        );
    }

    #[test]
    fn delayed_retry_keeps_its_position() {
        let tenant = TenantId::random();
        let paused = Waiting { is_ready: false, ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        let turns = assign_turns(NOW, &[paused, next], &[], ROOMY);
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
        assert_eq!(assign_turns(NOW, &[large, small], &placed, capacity).admitted, []);
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
        let turns = assign_turns(NOW, &queue, &[], capacity);
        assert_eq!(turns.admitted, [queue[0].workspace, late.workspace, queue[1].workspace]);
        let placed = [running(tenant, greedy); 2];
        assert_eq!(assign_turns(NOW, &queue, &placed, capacity).admitted, [late.workspace]);
        assert_eq!(assign_turns(NOW, &queue[..199], &placed, ROOMY).admitted, []);
        let elsewhere = placed.map(|placed| Placed { is_here: false, ..placed });
        assert_eq!(assign_turns(NOW, &queue[..199], &elsewhere, ROOMY).admitted, [], "other hosts count");
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
        assert_eq!(assign_turns(NOW, &queue, &[], ROOMY).admitted, [queue[0].workspace, queue[2].workspace]);
    }

    #[test]
    fn tenant_at_limit_waits_and_delays_nobody() {
        let (school, firm) = (TenantId::random(), TenantId::random());
        let limits = OwnerLimits { tenant: max_running(2), ..OwnerLimits::default() };
        let of_school =
            [0, 1, 2, 3, 4].map(|second| Waiting { limits, ..waiting(school, UserId::random(), second) });
        let late = waiting(firm, UserId::random(), 100);
        let queue = [&of_school[..], &[late]].concat();
        let turns = assign_turns(NOW, &queue, &[], ROOMY);
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
        assert_eq!(assign_turns(NOW, &queue, &placed, ROOMY).admitted, [late.workspace, queue[0].workspace]);
        let limits = OwnerLimits { tenant: scratch(1024), ..OwnerLimits::default() };
        let queue = [Waiting { limits, ..queue[0] }, late];
        assert_eq!(assign_turns(NOW, &queue, &placed, ROOMY).admitted, [late.workspace]);
    }

    #[test]
    fn owners_take_turns() {
        let tenant = TenantId::random();
        let (first, second) = (UserId::random(), UserId::random());
        let of = |owner, from: i64| [from, from + 1].map(|second| waiting(tenant, owner, second));
        let ([a, b], [c, d]) = (of(first, 0), of(second, 10));
        let order = assign_turns(NOW, &[a, b, c, d], &[], ROOMY).order;
        assert_eq!(order, [a, c, b, d].map(|waiting| waiting.workspace));
    }

    #[test]
    fn workspace_larger_than_host_delays_nobody() {
        let tenant = TenantId::random();
        let huge = Waiting { needs: needs(1 << 30, 1024), ..waiting(tenant, UserId::random(), 1) };
        let next = waiting(tenant, UserId::random(), 2);
        assert_eq!(assign_turns(NOW, &[huge, next], &[], ROOMY).admitted, [next.workspace]);
    }

    #[test]
    fn dominant_share_and_weight_order_tenants() {
        let [small, large, heavy] = [0; 3].map(|_| TenantId::random());
        let of = |tenant, memory, second| Waiting {
            needs: needs(memory, 1),
            ..waiting(tenant, UserId::random(), second)
        };
        // Shares of memory count for the one, shares of places for the other.
        let capacity = Capacity { sandboxes: 8, memory_mib: 16 * 1024, ..ROOMY };
        let queue: Vec<Waiting> =
            (0..6).flat_map(|second| [of(small, 1024, second), of(large, 4096, second)]).collect();
        let admitted = assign_turns(NOW, &queue, &[], capacity).admitted;
        let count = |tenant| {
            let is_admitted = |waiting: &&Waiting| admitted.contains(&waiting.workspace);
            queue.iter().filter(is_admitted).filter(|waiting| waiting.owner.tenant == tenant).count()
        };
        assert_eq!((count(small), count(large)), (4, 3), "half of each, and the rest to who waits longest");
        let queue: Vec<Waiting> = (0..9)
            .flat_map(|second| [of(small, 1024, second), Waiting { weight: 3, ..of(heavy, 1024, second) }])
            .collect();
        let admitted = assign_turns(NOW, &queue, &[], capacity).admitted;
        let of_heavy = queue.iter().filter(|waiting| waiting.weight == 3);
        assert_eq!(of_heavy.filter(|waiting| admitted.contains(&waiting.workspace)).count(), 6);
    }

    #[test]
    fn priority_orders_starts_of_a_tenant() {
        let tenant = TenantId::random();
        let of = |priority, second| Waiting { priority, ..waiting(tenant, UserId::random(), second) };
        let batch = of(StartPriority::Batch, 0);
        let class = of(StartPriority::Class, 1);
        let interactive = of(StartPriority::Interactive, 2);
        let queue = [batch, class, interactive];
        let order = |now| assign_turns(now, &queue, &[], ROOMY).order;
        assert_eq!(order(NOW), [interactive, class, batch].map(|waiting| waiting.workspace));
        let later = NOW + PROMOTION_INTERVAL * 2;
        assert_eq!(order(later)[0], batch.workspace, "it has waited longest and is not overtaken forever");
    }

    #[test]
    fn reserved_start_stays_first() {
        let (tenant, other) = (TenantId::random(), TenantId::random());
        let large = Waiting { needs: needs(4096, 1), ..waiting(tenant, UserId::random(), 1) };
        let small = waiting(other, UserId::random(), 2);
        // Its tenant runs something, so the other tenant has the smaller share.
        let placed = [running(tenant, UserId::random())];
        let capacity = Capacity { memory_mib: 4096, ..ROOMY };
        let first = assign_turns(NOW, &[large], &placed, capacity);
        assert_eq!(first.reserved, Some(large.workspace));
        let turns = assign_turns(NOW, &[large, small], &placed, capacity);
        assert_eq!(turns.admitted, [small.workspace], "it was not the first");
        let reserved = Waiting { is_reserved: true, ..large };
        let turns = assign_turns(NOW, &[reserved, small], &placed, capacity);
        assert_eq!((turns.admitted, turns.reserved), (vec![], Some(large.workspace)));
    }

    #[test]
    fn room_that_the_first_cannot_use_is_used() {
        let tenant = TenantId::random();
        let of =
            |memory, second| Waiting { needs: needs(memory, 1), ..waiting(tenant, UserId::random(), second) };
        let sized = |memory| Placed { needs: needs(memory, 1), ..running(tenant, UserId::random()) };
        let capacity = Capacity { memory_mib: 8192, ..ROOMY };
        // 2 GiB are free and 1 is missing. Whichever ends, at least 2 GiB are left over then.
        let queue = [of(3072, 1), of(2048, 2), of(1024, 3)];
        let turns = assign_turns(NOW, &queue, &[sized(3072), sized(3072)], capacity);
        assert_eq!((turns.reserved, turns.admitted), (Some(queue[0].workspace), vec![queue[1].workspace]));
        // One that ends frees exactly what is missing: nothing is left over.
        let turns = assign_turns(NOW, &queue, &[sized(1024), sized(5120)], capacity);
        assert_eq!(turns.admitted, []);
        // A place to start stays free for the first.
        let narrow = Capacity { starting: 1, ..capacity };
        assert_eq!(assign_turns(NOW, &queue, &[sized(3072), sized(3072)], narrow).admitted, []);
    }

    #[test]
    fn held_start_has_no_place() {
        let tenant = TenantId::random();
        let limits = OwnerLimits { user: max_running(0), ..OwnerLimits::default() };
        let held = Waiting { limits, ..waiting(tenant, UserId::random(), 1) };
        let huge = Waiting { needs: needs(1 << 30, 1), ..waiting(tenant, UserId::random(), 2) };
        let next = waiting(tenant, UserId::random(), 3);
        let turns = assign_turns(NOW, &[held, huge, next], &[], ROOMY);
        assert_eq!((turns.order, turns.admitted), (vec![next.workspace], vec![next.workspace]));
        assert_eq!(turns.held, [held.workspace, huge.workspace]);
    }
}
