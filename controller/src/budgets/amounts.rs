//! Amounts of all resources together, and limits for them. Pure.

use protocol::api::budget::BudgetResource;

const RESOURCES: usize = BudgetResource::ALL.len();

/// An amount of each resource: what a request needs, or what is used. The units are those of
/// [`BudgetResource`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts([u64; RESOURCES]);

impl Amounts {
    /// The amount of one resource.
    pub fn get(&self, resource: BudgetResource) -> u64 {
        self.0[resource as usize]
    }

    /// The same amounts, with this one of a resource.
    #[must_use]
    pub fn with(mut self, resource: BudgetResource, amount: u64) -> Self {
        self.0[resource as usize] = amount;
        self
    }

    /// Adds the amounts of something else. A sum that is too large stays at the largest number.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
    }
}

/// A limit for each resource. None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLimits([Option<u64>; RESOURCES]);

impl BudgetLimits {
    /// No limits at all.
    pub const NONE: Self = Self([None; RESOURCES]);

    /// The limit of one resource.
    pub fn get(&self, resource: BudgetResource) -> Option<u64> {
        self.0[resource as usize]
    }

    /// Sets the limit of one resource.
    pub fn set(&mut self, resource: BudgetResource, limit: Option<u64>) {
        self.0[resource as usize] = limit;
    }

    /// The same limits, with this one of a resource.
    #[must_use]
    pub const fn with(mut self, resource: BudgetResource, limit: u64) -> Self {
        self.0[resource as usize] = Some(limit);
        self
    }
}
