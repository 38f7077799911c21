//! Read or write access to a workspace's streams.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a client may do with a workspace's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Only watch. The runner drops everything else that the client sends before it reaches the guest.
    Read,
    /// Watch and change.
    Write,
}
