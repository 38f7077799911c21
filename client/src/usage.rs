//! Usage.

use protocol::api::usage::UsageReport;
use reqwest::Method;

use crate::{api::Api, content::Content, error::ApiError};

impl Api {
    /// Gets what was used. `query` are the parameters of `GET /usage`.
    pub async fn usage(&self, query: &[(&str, String)]) -> Result<UsageReport, ApiError> {
        self.json(self.request(Method::GET, "/usage").query(query)).await
    }

    /// Reads what was used as CSV.
    pub async fn export_usage(&self, query: &[(&str, String)]) -> Result<Content, ApiError> {
        let request = self.request(Method::GET, "/usage/export").query(query);
        self.send_for_head(request).await.map(Content::new)
    }
}
