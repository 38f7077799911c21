//! Maintenance: scrub, retention policy, the use of the disk, gc, and destroying a tenant's key.

use std::time::Duration;

use protocol::{
    WorkspaceId,
    api::{
        admin::{DestroyTenantKey, GcReport, TenantKeyState},
        disk::DiskReport,
        scrub::{ScrubReport, ScrubRequest},
        snapshot::Retention,
    },
};
use reqwest::Method;

use crate::{api::Api, error::ApiError};

/// Longest time to read every object of a home, or to list all objects of a tenant.
const MAINTENANCE_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    /// Verifies every object of a home, and repairs damaged ones if requested.
    pub async fn scrub_home(
        &self,
        workspace: WorkspaceId,
        request: &ScrubRequest,
    ) -> Result<ScrubReport, ApiError> {
        let request = self.request(Method::POST, &format!("/workspaces/{workspace}/scrub")).json(request);
        self.json_with_timeout(MAINTENANCE_TIMEOUT, request).await
    }

    /// Gets the tenant's retention policy.
    pub async fn retention(&self) -> Result<Retention, ApiError> {
        self.get("/retention").await
    }

    /// Replaces the tenant's retention policy.
    pub async fn set_retention(&self, retention: &Retention) -> Result<Retention, ApiError> {
        self.json(self.request(Method::PUT, "/retention").json(retention)).await
    }

    /// Gets what is used of the server's disk, and by whom.
    pub async fn disk_usage(&self) -> Result<DiskReport, ApiError> {
        self.get("/admin/disk").await
    }

    /// Deletes the tenant's objects that no kept snapshot needs.
    pub async fn run_gc(&self) -> Result<GcReport, ApiError> {
        let request = self.request(Method::POST, "/admin/gc").json(&serde_json::json!({}));
        self.json_with_timeout(MAINTENANCE_TIMEOUT, request).await
    }

    /// Requests the destruction of the tenant's key, and with it of all of its homes.
    pub async fn destroy_tenant_key(&self, request: &DestroyTenantKey) -> Result<TenantKeyState, ApiError> {
        self.post("/admin/destroy-tenant-key", request).await
    }

    /// Undoes the request to destroy the tenant's key.
    pub async fn keep_tenant_key(&self) -> Result<TenantKeyState, ApiError> {
        self.post("/admin/destroy-tenant-key/undo", &serde_json::json!({})).await
    }
}
