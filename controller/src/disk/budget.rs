//! The budget of a host's disk: how much room there is, what may begin, how much each running home may
//! have that the store does not have, and how much must be freed. Pure.
//!
//! **Room** is what Burrow may still use: the free space without the reserve of the database, and not more
//! than what the budget leaves. **Shares** divide a part of the room between the homes that run: equally
//! between their users, and each user's between the homes. A share bounds what a home may have that the
//! store lacks. Who writes faster than the store takes uses up the own share only, and waits.
//!
//! What a home has stored recently counts against its share where the store is on the same disk. Otherwise
//! a guest that rewrites its home would fill the disk with objects, through a share of any size. It is left
//! with [`MIN_SHARE`], so that it goes on slowly: a write that never ends breaks a guest.

use std::collections::BTreeMap;

use protocol::{TenantId, UserId, WorkspaceId, api::disk::DiskWrites, runner::DiskShare};

/// The shares together are this part of the room. Between two measurements a home can fill its share,
/// upload it and fill it again: on a disk with the store that takes three times the share (the cache, the
/// objects, and the objects of what is still to be uploaded).
const SHARE_DIVISOR_WITH_STORE: u64 = 3;
/// The same, with the store elsewhere.
const SHARE_DIVISOR: u64 = 2;

/// The least share while there is room, in bytes. A home that is uploaded every few seconds gets along with
/// it at some hundred KiB per second.
pub const MIN_SHARE: u64 = 1 << 20;

/// What an honest cache takes beside blocks of the home at most, such as its logs.
const CACHE_SLACK: u64 = 512 << 20;
/// A cache has the home, what a running snapshot has set aside of it, and changes that it does not build on.
const HOMES_PER_CACHE: u64 = 3;
/// The part of a home that the logs of a cache take at most.
const LOG_DIVISOR: u64 = 32;

/// The most that the named files of a cache take of the disk. Who writes more there is no honest runner.
pub fn max_cache_bytes(home_bytes: u64) -> u64 {
    HOMES_PER_CACHE * home_bytes + home_bytes / LOG_DIVISOR + CACHE_SLACK
}

/// The same of its files without a name: the scratch disk, and a log that is being replaced.
pub fn max_unnamed_bytes(home_bytes: u64, scratch_bytes: u64) -> u64 {
    scratch_bytes + home_bytes / LOG_DIVISOR + CACHE_SLACK
}

/// A disk, and what Burrow may use of it. All in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    pub free: u64,
    /// Kept for the database.
    pub reserve: u64,
    /// The most that Burrow may use. None: all but the reserve.
    pub budget: Option<u64>,
    /// What Burrow uses.
    pub used: u64,
    /// Something new needs this much room.
    pub start: u64,
    /// Whether the object store is on this disk too.
    pub has_store: bool,
}

/// A home that is open on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningHome {
    pub tenant: TenantId,
    pub user: UserId,
    pub workspace: WorkspaceId,
    /// What the store does not have.
    pub unsaved: u64,
    /// What counts against its share: what it has stored recently, and its scratch disk.
    pub charge: u64,
}

/// What users and tenants may still use until they are at their own limits. Who is absent has no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    pub users: BTreeMap<(TenantId, UserId), u64>,
    pub tenants: BTreeMap<TenantId, u64>,
}

impl Disk {
    /// What may still be used.
    pub fn room(&self) -> u64 {
        let of_disk = self.free.saturating_sub(self.reserve);
        self.budget.map_or(of_disk, |budget| of_disk.min(budget.saturating_sub(self.used)))
    }

    /// Whether something new may begin: a start, a new home, an import.
    pub fn has_room_for_start(&self) -> bool {
        self.room() >= self.start
    }

    /// What should be freed by removing what can be fetched or made again. Twice what a start needs is
    /// left then, so that not each start has to remove something.
    pub fn bytes_to_free(&self) -> u64 {
        if self.has_room_for_start() { 0 } else { (2 * self.start).saturating_sub(self.room()) }
    }

    /// The part of the room that all shares have together.
    pub fn shared(&self) -> u64 {
        self.room() / self.share_divisor()
    }

    fn share_divisor(&self) -> u64 {
        if self.has_store { SHARE_DIVISOR_WITH_STORE } else { SHARE_DIVISOR }
    }
}

/// Divides the room between homes: the most bytes that the store may lack of each.
pub fn divide(disk: &Disk, homes: &[RunningHome], left: &Allowances) -> BTreeMap<WorkspaceId, u64> {
    let mut users: BTreeMap<(TenantId, UserId), Vec<&RunningHome>> = BTreeMap::new();
    for home in homes {
        users.entry((home.tenant, home.user)).or_default().push(home);
    }
    // At most half of all is given away without regard to what was stored.
    let floor = MIN_SHARE.min(disk.shared() / (2 * homes.len().max(1) as u64));
    let rest = disk.shared() - floor * homes.len() as u64;
    let limit = |left: Option<&u64>| left.map_or(u64::MAX, |left| left / disk.share_divisor());
    let claims: Vec<Claim> = users
        .iter()
        .map(|(user, homes)| Claim {
            charge: homes.iter().map(|home| home.charge).sum(),
            limit: limit(left.users.get(user)),
        })
        .collect();
    let mut of_users = fill(rest, &claims);
    for (tenant, of_tenant) in &left.tenants {
        // What a tenant at its limit does not get is used by nobody: the limit is no reason to give more
        // to others.
        let members: Vec<usize> =
            users.keys().enumerate().filter(|(_, (its, _))| its == tenant).map(|(index, _)| index).collect();
        let amount: u64 = members.iter().map(|index| of_users[*index]).sum();
        let claims: Vec<Claim> =
            members.iter().map(|index| Claim { limit: of_users[*index], ..claims[*index] }).collect();
        for (index, share) in members.iter().zip(fill(amount.min(limit(Some(of_tenant))), &claims)) {
            of_users[*index] = share;
        }
    }
    let has_floor = |(tenant, user): &(TenantId, UserId)| {
        let of_tenant = homes.iter().filter(|home| home.tenant == *tenant).count() as u64;
        let of_user = users[&(*tenant, *user)].len() as u64;
        limit(left.tenants.get(tenant)) >= floor * of_tenant
            && limit(left.users.get(&(*tenant, *user))) >= floor * of_user
    };
    let mut shares = BTreeMap::new();
    for ((user, homes), of_user) in users.iter().zip(of_users) {
        let floor = if has_floor(user) { floor } else { 0 };
        let claims: Vec<Claim> =
            homes.iter().map(|home| Claim { charge: home.charge, limit: u64::MAX }).collect();
        let of_homes = fill(of_user, &claims).into_iter().map(|share| share.max(floor));
        shares.extend(homes.iter().map(|home| home.workspace).zip(of_homes));
    }
    shares
}

/// How a home that has this share may write.
pub fn writes(unsaved: u64, share: u64) -> DiskWrites {
    match unsaved {
        _ if share == 0 => DiskWrites::Waiting,
        unsaved if unsaved >= share => DiskWrites::Waiting,
        unsaved if unsaved > DiskShare::slow_above(share) => DiskWrites::Slowed,
        _ => DiskWrites::Free,
    }
}

/// One of those that something is divided between.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// What it has had already.
    charge: u64,
    /// The most that it may get.
    limit: u64,
}

/// Divides an amount so that those who have had least get first, until all have had the same: like water
/// in a vessel whose ground is the charges. The sum is never above the amount.
fn fill(amount: u64, claims: &[Claim]) -> Vec<u64> {
    let at = |level: u64| claims.iter().map(move |claim| level.saturating_sub(claim.charge).min(claim.limit));
    let fits = |level: u64| at(level).try_fold(0_u64, u64::checked_add).is_some_and(|sum| sum <= amount);
    let highest = claims.iter().map(|claim| claim.charge).max().unwrap_or_default().saturating_add(amount);
    let (mut low, mut high) = (0, highest);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    at(low).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn disk(free: u64) -> Disk {
        Disk { total: 100 * GIB, free, reserve: GIB, start: GIB, has_store: true, ..Disk::default() }
    }

    /// Whole GiB: the least shares are left out.
    fn gib(bytes: u64) -> u64 {
        (bytes + GIB / 2) / GIB
    }

    fn home(tenant: TenantId, user: UserId, charge: u64) -> RunningHome {
        RunningHome { tenant, user, workspace: WorkspaceId::random(), unsaved: 0, charge }
    }

    #[test]
    fn room_leaves_reserve_and_keeps_budget() {
        assert_eq!(disk(10 * GIB).room(), 9 * GIB);
        assert_eq!(disk(GIB).room(), 0);
        assert_eq!(disk(0).room(), 0);
        let budget = |budget, used| Disk { budget: Some(budget), used, ..disk(10 * GIB) };
        assert_eq!(budget(20 * GIB, 15 * GIB).room(), 5 * GIB);
        assert_eq!(budget(20 * GIB, 30 * GIB).room(), 0);
        assert_eq!(budget(90 * GIB, 15 * GIB).room(), 9 * GIB, "the disk is smaller than the budget");
        assert!(disk(2 * GIB).has_room_for_start() && !disk(2 * GIB - 1).has_room_for_start());
        assert_eq!((disk(2 * GIB).bytes_to_free(), disk(2 * GIB - 1).bytes_to_free()), (0, GIB + 1));
    }

    #[test]
    fn who_has_stored_much_gets_less() {
        let (tenant, greedy, modest) = (TenantId::random(), UserId::random(), UserId::random());
        let homes = [home(tenant, greedy, 0), home(tenant, modest, 0)];
        let share = |homes: &[RunningHome; 2], free| {
            let shares = divide(&disk(free), homes, &Allowances::default());
            homes.map(|home| gib(shares[&home.workspace]))
        };
        assert_eq!(share(&homes, 31 * GIB), [5, 5]);
        let stored = |bytes| [RunningHome { charge: bytes, ..homes[0] }, homes[1]];
        assert_eq!(share(&stored(4 * GIB), 31 * GIB), [3, 7]);
        assert_eq!(share(&stored(20 * GIB), 31 * GIB), [0, 10], "the other one still writes");
        let shares = divide(&disk(31 * GIB), &stored(20 * GIB), &Allowances::default());
        assert_eq!(shares[&homes[0].workspace], MIN_SHARE, "and this one goes on slowly");
        let shares = divide(&disk(GIB + 60), &stored(20 * GIB), &Allowances::default());
        assert_eq!(shares[&homes[0].workspace], 5, "also on a full disk");
    }

    #[test]
    fn users_are_equal_whatever_they_run() {
        let (tenant, many, one) = (TenantId::random(), UserId::random(), UserId::random());
        let homes: Vec<RunningHome> =
            (0..4).map(|_| home(tenant, many, 0)).chain([home(tenant, one, 0)]).collect();
        let shares = divide(&disk(25 * GIB), &homes, &Allowances::default());
        assert_eq!(
            homes.iter().map(|home| gib(shares[&home.workspace])).collect::<Vec<_>>(),
            [1, 1, 1, 1, 4]
        );
    }

    #[test]
    fn limits_of_user_and_tenant_bound_shares() {
        let (tenant, user) = (TenantId::random(), UserId::random());
        let homes = [home(tenant, user, 0), home(tenant, UserId::random(), 0)];
        let left =
            Allowances { users: [((tenant, user), 3 * GIB)].into(), tenants: [(tenant, 9 * GIB)].into() };
        let shares = divide(&disk(61 * GIB), &homes, &left);
        assert_eq!(homes.map(|home| gib(shares[&home.workspace])), [1, 2]);
        let none = Allowances { users: [((tenant, user), 0)].into(), ..Allowances::default() };
        let shares = divide(&disk(61 * GIB), &homes, &none);
        assert_eq!(homes.map(|home| gib(shares[&home.workspace])), [0, 20]);
        assert_eq!(shares[&homes[0].workspace], 0, "nothing at all");
    }

    #[test]
    fn writes_depend_on_own_share_only() {
        for (unsaved, share, expected) in [
            (0, 0, DiskWrites::Waiting),
            (0, 10, DiskWrites::Free),
            (5, 10, DiskWrites::Free),
            (6, 10, DiskWrites::Slowed),
            (10, 10, DiskWrites::Waiting),
            (11, 10, DiskWrites::Waiting),
        ] {
            assert_eq!(writes(unsaved, share), expected, "{unsaved} of {share}");
        }
    }

    fn any_homes() -> impl Strategy<Value = Vec<RunningHome>> {
        let home = (0..4_u128, 0..4_u128, 0..50 * GIB, 0..20 * GIB);
        prop::collection::vec(home, 0..24).prop_map(|homes| {
            let new = |(tenant, user, charge, unsaved)| RunningHome {
                tenant: TenantId(uuid::Uuid::from_u128(tenant)),
                user: UserId(uuid::Uuid::from_u128(user)),
                workspace: WorkspaceId::random(),
                unsaved,
                charge,
            };
            homes.into_iter().map(new).collect()
        })
    }

    fn any_disk() -> impl Strategy<Value = Disk> {
        let bytes = || 0..200 * GIB;
        (bytes(), 0..4 * GIB, prop::option::of(bytes()), bytes(), any::<bool>()).prop_map(
            |(free, reserve, budget, used, has_store)| Disk {
                total: 200 * GIB,
                free,
                reserve,
                budget,
                used,
                start: GIB,
                has_store,
            },
        )
    }

    proptest! {
        #[test]
        fn shares_stay_within_room(disk in any_disk(), homes in any_homes()) {
            let shares = divide(&disk, &homes, &Allowances::default());
            prop_assert_eq!(shares.len(), homes.len());
            let sum: u64 = shares.values().sum();
            prop_assert!(sum <= disk.shared());
            // What all of them can write before the next measurement leaves the reserve and the budget.
            let most = sum * if disk.has_store { 3 } else { 2 };
            prop_assert!(disk.free - most >= disk.reserve.min(disk.free));
            prop_assert!(disk.budget.is_none_or(|budget| most == 0 || disk.used + most <= budget));
        }

        #[test]
        fn nobody_gets_less_because_of_greedy_home(
            disk in any_disk(), homes in any_homes(), more in 0..100 * GIB, at in any::<prop::sample::Index>()
        ) {
            prop_assume!(!homes.is_empty());
            let greedy = at.index(homes.len());
            let before = divide(&disk, &homes, &Allowances::default());
            let mut later = homes.clone();
            later[greedy].charge += more;
            let after = divide(&disk, &later, &Allowances::default());
            let owner = |home: &RunningHome| (home.tenant, home.user);
            for home in homes.iter().filter(|home| owner(home) != owner(&homes[greedy])) {
                prop_assert!(after[&home.workspace] >= before[&home.workspace]);
            }
            // Levels are whole bytes, so less than one for each home may be left over.
            prop_assert!(after[&homes[greedy].workspace] <= before[&homes[greedy].workspace] + 32);
        }
    }
}
