//! Whether a home's objects in the store are what they were.
//!
//! `POST /api/v1/workspaces/{id}/check` ([`Check`]) → [`Checked`]: reads every object that the home's snapshots name.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Of all snapshots. Absent: of the newest.
    #[serde(default)]
    pub all: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    pub snapshots: u32,
    /// Objects that were read, each counted once for each snapshot that rests on it.
    pub objects: u64,
    /// Bytes of the home that they hold.
    pub bytes: u64,
    pub damaged: Vec<Damage>,
}

/// An object that is missing or not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Damage {
    pub object: String,
    pub message: String,
}
