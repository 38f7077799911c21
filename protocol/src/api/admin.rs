//! What the owner of a tenant may ask for.
//!
//! `POST /api/v1/admin/gc` → [`GcReport`]. `POST /api/v1/admin/destroy-tenant-key` ([`DestroyTenantKey`]) → nothing more.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::TenantId;

/// What a look through the store for what no snapshot needs has found and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GcReport {
    /// All of the tenant's objects in the store.
    pub objects: u64,
    pub bytes: u64,
    /// Of these, what no snapshot needs. It is deleted once that has been so for the grace period.
    pub garbage: u64,
    pub garbage_bytes: u64,
    /// Deleted now.
    pub deleted: u64,
    pub deleted_bytes: u64,
    /// Deletions that did not succeed; the next look tries again.
    pub failed: u64,
}

/// Destroys the key of all of a tenant's homes. Nothing brings them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestroyTenantKey {
    /// The asker's own, said again: a request that went astray destroys nothing.
    pub tenant: TenantId,
}
