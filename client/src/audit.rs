//! The audit log.

use std::time::Duration;

use protocol::api::audit::{AuditPage, AuditRetention, AuditVerification};
use reqwest::Method;

use crate::{api::Api, content::Content, error::ApiError};

/// Longest wait for a verification: the server reads the whole log.
const VERIFY_TIMEOUT: Duration = Duration::from_hours(1);

impl Api {
    /// Lists entries of the audit log. `query` are the parameters of `GET /audit`.
    pub async fn audit_entries(&self, query: &[(&str, String)]) -> Result<AuditPage, ApiError> {
        self.json(self.request(Method::GET, "/audit").query(query)).await
    }

    /// Reads the audit log as JSON lines, the oldest entry first.
    pub async fn export_audit_log(&self, query: &[(&str, String)]) -> Result<Content, ApiError> {
        let request = self.request(Method::GET, "/audit/export").query(query);
        self.send_for_head(request).await.map(Content::new)
    }

    /// Verifies the audit log on the server.
    pub async fn verify_audit_log(&self) -> Result<AuditVerification, ApiError> {
        self.json_with_timeout(VERIFY_TIMEOUT, self.request(Method::POST, "/audit/verify")).await
    }

    /// Gets how long entries of the audit log are kept.
    pub async fn audit_retention(&self) -> Result<AuditRetention, ApiError> {
        self.get("/audit/retention").await
    }

    /// Sets how long entries of the audit log are kept.
    pub async fn set_audit_retention(&self, retention: AuditRetention) -> Result<AuditRetention, ApiError> {
        self.json(self.request(Method::PUT, "/audit/retention").json(&retention)).await
    }
}
