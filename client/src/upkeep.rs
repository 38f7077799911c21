//! What an installation does for its store: checking a home's objects, thinning out, collecting what nothing refers to.

use std::time::Duration;

use protocol::{
    WorkspaceId,
    api::{
        admin::{Collected, ForgetTenant},
        check::{Check, Checked},
        snapshot::Retention,
    },
};
use reqwest::Method;

use crate::{api::Api, error::ApiError};

/// Longest time for reading every object of a home, or listing all of a store.
const UPKEEP_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    pub async fn check_home(&self, workspace: WorkspaceId, request: &Check) -> Result<Checked, ApiError> {
        let request = self.request(Method::POST, &format!("/workspaces/{workspace}/check")).json(request);
        self.json_within(UPKEEP_TIMEOUT, request).await
    }

    pub async fn retention(&self) -> Result<Retention, ApiError> {
        self.get("/retention").await
    }

    pub async fn set_retention(&self, retention: &Retention) -> Result<Retention, ApiError> {
        self.json(self.request(Method::PUT, "/retention").json(retention)).await
    }

    pub async fn collect(&self) -> Result<Collected, ApiError> {
        let request = self.request(Method::POST, "/admin/collect").json(&serde_json::json!({}));
        self.json_within(UPKEEP_TIMEOUT, request).await
    }

    pub async fn forget_tenant(&self, request: &ForgetTenant) -> Result<(), ApiError> {
        let request = self.request(Method::POST, "/admin/forget-tenant").json(request);
        self.send(request.timeout(UPKEEP_TIMEOUT)).await.map(drop)
    }
}
