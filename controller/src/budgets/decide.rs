//! Whether budgets allow a request. Pure: budgets with their use, and what is requested, become admitted or
//! the first limit that is exceeded.

use protocol::api::budget::BudgetResource;

use super::amounts::{Amounts, BudgetLimits};

/// Whose limits they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// One home. The operator sets it.
    Home,
    /// The owner of the workspace.
    User,
    /// The class of the workspace.
    Class,
    Tenant,
}

/// The limits of one level, and what is used of them without the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelUse {
    pub level: Level,
    pub limits: BudgetLimits,
    pub used: Amounts,
}

/// A limit that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    pub level: Level,
    pub resource: BudgetResource,
    pub wanted: u64,
    pub used: u64,
    pub limit: u64,
}

/// Admits a request if it is within the limits of all levels, in this order. A resource of which nothing is
/// requested is not checked, so that a lowered limit stops only what needs more of it.
pub fn admit<'a>(levels: impl IntoIterator<Item = &'a LevelUse>, wanted: &Amounts) -> Result<(), Excess> {
    levels.into_iter().try_for_each(|level| level.admit(wanted))
}

impl LevelUse {
    fn admit(&self, wanted: &Amounts) -> Result<(), Excess> {
        let Self { level, limits, used } = *self;
        for resource in BudgetResource::ALL {
            let (wanted, used) = (wanted.get(resource), used.get(resource));
            let Some(limit) = limits.get(resource).filter(|_| wanted > 0) else { continue };
            if used.saturating_add(wanted) > limit {
                return Err(Excess { level, resource, wanted, used, limit });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use BudgetResource::{Homes, Running, Vcpus};
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::tests::world::{seed, soak_factor};

    fn level(level: Level, limits: BudgetLimits, used: Amounts) -> LevelUse {
        LevelUse { level, limits, used }
    }

    #[test]
    fn first_exceeded_limit_is_named() {
        let none = BudgetLimits::NONE;
        let start = Amounts::default().with(Running, 1).with(Vcpus, 4);
        for (user, tenant, used, expected) in [
            (none, none, 100, None),
            (none.with(Running, 3), none, 2, None),
            (none.with(Running, 3), none, 3, Some((Level::User, Running))),
            (none, none.with(Running, 3), 3, Some((Level::Tenant, Running))),
            (none.with(Running, 3), none.with(Running, 3), 3, Some((Level::User, Running))),
            (none.with(Vcpus, 11), none, 2, Some((Level::User, Vcpus))),
            (none.with(Vcpus, 12), none, 2, None),
            (none.with(Vcpus, 0), none, 0, Some((Level::User, Vcpus))),
            (none.with(Homes, 0), none, 100, None),
        ] {
            let used = Amounts::default().with(Running, used).with(Vcpus, used * 4).with(Homes, used);
            let levels = [level(Level::User, user, used), level(Level::Tenant, tenant, used)];
            let refused = admit(&levels, &start).err().map(|excess| (excess.level, excess.resource));
            assert_eq!(refused, expected, "{user:?} {tenant:?} {used:?}");
        }
        let huge = Amounts::default().with(Homes, u64::MAX);
        let homes = level(Level::User, none.with(Homes, u64::MAX - 1), Amounts::default().with(Homes, 7));
        assert!(admit([&homes], &huge).is_err(), "sums do not wrap around");
    }

    /// Requests come and go at random. Each that is admitted is counted. No limit is ever exceeded, and a
    /// refusal names a limit that the request would really exceed.
    #[test]
    fn random_histories_stay_within_limits() {
        let mut random = StdRng::seed_from_u64(seed());
        for _ in 0..200 * soak_factor() {
            let mut levels: Vec<LevelUse> = [Level::User, Level::Class, Level::Tenant]
                .map(|of| {
                    let mut limits = BudgetLimits::NONE;
                    for resource in BudgetResource::ALL {
                        limits.set(resource, random.random_bool(0.5).then(|| random.random_range(0..40)));
                    }
                    level(of, limits, Amounts::default())
                })
                .to_vec();
            let mut admitted: Vec<Amounts> = Vec::new();
            for _ in 0..100 {
                if !admitted.is_empty() && random.random_bool(0.3) {
                    admitted.swap_remove(random.random_range(0..admitted.len()));
                }
                let mut used = Amounts::default();
                for amounts in &admitted {
                    used.add(amounts);
                }
                for level in &mut levels {
                    level.used = used;
                }
                let mut wanted = Amounts::default();
                for resource in BudgetResource::ALL {
                    wanted = wanted.with(resource, random.random_range(0..4));
                }
                match admit(&levels, &wanted) {
                    Ok(()) => admitted.push(wanted),
                    Err(excess) => {
                        assert!(excess.used + excess.wanted > excess.limit);
                        assert_eq!(used.get(excess.resource), excess.used);
                    }
                }
                let mut sum = Amounts::default();
                for amounts in &admitted {
                    sum.add(amounts);
                }
                for (level, resource) in
                    levels.iter().flat_map(|level| BudgetResource::ALL.map(|resource| (level, resource)))
                {
                    let limit = level.limits.get(resource).unwrap_or(u64::MAX);
                    assert!(sum.get(resource) <= limit, "{resource:?} of {:?}", level.level);
                }
            }
        }
    }
}
