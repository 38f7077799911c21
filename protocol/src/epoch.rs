//! The number that fences an old runner.
//!
//! Each placement of a workspace gets a higher `Epoch` from the controller. Lease, handshake, every report and every
//! manifest carry it; whoever receives a lower one than it has seen refuses.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Grows by one per placement of a workspace. Zero means: never placed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the next placement.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("2^64 placements do not happen"))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
