//! The HTTP client for `POST /internal/runners/report`.

use std::time::Duration;

use protocol::runner::{REPORT_PATH, ReportReply, ReportRequest, RunnerSpec};
use reqwest::StatusCode;

/// How much later than the long poll's own wait an answer may arrive.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Why one exchange with the controller failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("Cannot reach the controller: {0}")]
    Http(#[from] reqwest::Error),
    #[error("Cannot send a report: the controller answered with status {0}")]
    Refused(StatusCode),
}

/// The controller, behind a Unix socket or an HTTP address.
pub struct ControllerClient {
    client: reqwest::Client,
    address: String,
}

impl ControllerClient {
    /// A client for the controller that `spec` names. Connects when the first report is sent.
    pub fn new(spec: &RunnerSpec) -> Result<Self, reqwest::Error> {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let (builder, base) = if spec.controller.starts_with('/') {
            (builder.unix_socket(spec.controller.as_str()), "http://controller")
        } else {
            (builder, spec.controller.trim_end_matches('/'))
        };
        Ok(Self { client: builder.build()?, address: format!("{base}{REPORT_PATH}") })
    }

    /// Sends one report and waits for its reply, at most `request.wait_ms` and a grace period.
    pub async fn send_report(
        &self,
        spec: &RunnerSpec,
        request: &ReportRequest,
    ) -> Result<ReportReply, ExchangeError> {
        let response = self
            .client
            .post(&self.address)
            .bearer_auth(spec.token.expose())
            .json(request)
            .timeout(Duration::from_millis(request.wait_ms) + ANSWER_GRACE)
            .send()
            .await?;
        match response.status() {
            StatusCode::OK => Ok(response.json().await?),
            status => Err(ExchangeError::Refused(status)),
        }
    }
}
