//! Requests of a tenant's owner about the whole tenant.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::TenantId;

/// The result of one garbage collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"objects": 5120, "bytes": 2_147_483_647, "garbage": 12,
    "garbage_bytes": 50_331_648, "deleted": 4, "deleted_bytes": 16_777_216, "failed": 0}))]
pub struct GcReport {
    /// All objects of the tenant.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no kept snapshot needs. They are deleted once that was so for the grace period.
    pub garbage: u64,
    /// Their bytes.
    pub garbage_bytes: u64,
    /// Objects that were deleted now.
    pub deleted: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Deletions that failed; the next run tries again.
    pub failed: u64,
}

/// Requests the destruction of the key of all homes of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"tenant": "0197a3b0-0f1e-7d2c-8b3a-495867768594"}))]
pub struct DestroyTenantKey {
    /// Must be the caller's own tenant: a confirmation that the request is meant.
    pub tenant: TenantId,
}

/// Whether the key of a tenant exists, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"destroy_at": "2026-03-09T09:14:07Z", "destroyed_at": null}))]
pub struct TenantKeyState {
    /// When the key is going to be destroyed. Until then, the request can be undone. Absent if nobody has
    /// requested it.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub destroy_at: Option<OffsetDateTime>,
    /// When the key was destroyed. No home of the tenant can be read from then on.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub destroyed_at: Option<OffsetDateTime>,
}
