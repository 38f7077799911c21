//! What an installation does for its store: checking a home's objects, thinning out, collecting what nothing refers to.

use std::time::Duration;

use protocol::{
    WorkspaceId,
    api::{
        admin::{DestroyTenantKey, GcReport},
        scrub::{ScrubReport, ScrubRequest},
        snapshot::Retention,
    },
};
use reqwest::Method;

use crate::{api::Api, error::ApiError};

/// Longest time for reading every object of a home, or listing all of a store.
const UPKEEP_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    pub async fn check_home(
        &self,
        workspace: WorkspaceId,
        request: &ScrubRequest,
    ) -> Result<ScrubReport, ApiError> {
        let request = self.request(Method::POST, &format!("/workspaces/{workspace}/scrub")).json(request);
        self.json_within(UPKEEP_TIMEOUT, request).await
    }

    pub async fn retention(&self) -> Result<Retention, ApiError> {
        self.get("/retention").await
    }

    pub async fn set_retention(&self, retention: &Retention) -> Result<Retention, ApiError> {
        self.json(self.request(Method::PUT, "/retention").json(retention)).await
    }

    pub async fn collect(&self) -> Result<GcReport, ApiError> {
        let request = self.request(Method::POST, "/admin/gc").json(&serde_json::json!({}));
        self.json_within(UPKEEP_TIMEOUT, request).await
    }

    pub async fn destroy_tenant_key(&self, request: &DestroyTenantKey) -> Result<(), ApiError> {
        let request = self.request(Method::POST, "/admin/destroy-tenant-key").json(request);
        self.send(request.timeout(UPKEEP_TIMEOUT)).await.map(drop)
    }
}
