//! The client for `POST /internal/runners/report`.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use protocol::runner::{REPORT_PATH, ReportReply, ReportRequest, RunnerSpec};
use tokio::time::timeout;
use transport::body::full;

use crate::controller_link::{ControllerLink, ControllerLinkError};

/// How much later than the long poll's own wait an answer may arrive.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Bound of a reply: the names of the objects of a repair, and an allow-list.
const MAX_REPLY_BYTES: usize = 8 * 1024 * 1024;

/// Why one exchange with the controller failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Link(#[from] ControllerLinkError),
    #[error("Cannot send a report: the controller did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    #[error("Cannot read the controller's reply: {0}")]
    Reply(String),
    #[error("Cannot send a report: the controller answered with status {0}")]
    Refused(StatusCode),
}

/// Sends reports over the link.
pub struct ControllerClient(ControllerLink);

impl ControllerClient {
    /// A client for the controller at the other end of the link.
    pub fn new(link: ControllerLink) -> Self {
        Self(link)
    }

    /// Sends one report and waits for its reply, at most `request.wait_ms` and a grace period.
    pub async fn send_report(
        &self,
        spec: &RunnerSpec,
        request: &ReportRequest,
    ) -> Result<ReportReply, ExchangeError> {
        let limit = Duration::from_millis(request.wait_ms) + ANSWER_GRACE;
        timeout(limit, self.exchange(spec, request, limit))
            .await
            .map_err(|_| ExchangeError::Timeout(limit))?
    }

    async fn exchange(
        &self,
        spec: &RunnerSpec,
        request: &ReportRequest,
        limit: Duration,
    ) -> Result<ReportReply, ExchangeError> {
        let unreadable = |error: &dyn std::fmt::Display| ExchangeError::Reply(error.to_string());
        let body = serde_json::to_vec(request).expect("plain data");
        let request = Request::builder()
            .method(Method::POST)
            .uri(REPORT_PATH)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", spec.token.expose()))
            .body(full(body))
            .map_err(|error| unreadable(&error))?;
        let response = self.0.request(request, limit).await?;
        match response.status() {
            StatusCode::OK => {
                let reply = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
                let reply = reply.map_err(|error| unreadable(&error))?.to_bytes();
                serde_json::from_slice(&reply).map_err(|error| unreadable(&error))
            }
            status => Err(ExchangeError::Refused(status)),
        }
    }
}
