//! The number that fences old runners.
//!
//! The controller gives every placement of a workspace a higher [`Epoch`] than the one before.
//! Leases, grants, reports and manifests contain it. A receiver refuses a message whose epoch is
//! lower than one that it has seen, so a runner that was replaced can still send, but has no
//! effect.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The number of a placement of a workspace. Grows by one with each; 0 means never placed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Returns the epoch of the next placement.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("fewer than 2^64 placements"))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
