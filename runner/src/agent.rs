//! The runner's link to the agent: made over any socket, made again when it breaks, and the few calls that are the runner's own.
//!
//! What the agent says is the guest's word: it is bounded, waited for with a deadline, and believed in nothing that matters
//! outside the guest.

use std::{io, path::PathBuf, time::Duration};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use protocol::agent::{BOOTSTRAP, BootstrapRequest, FREEZE, GROW, GrowRequest, HEALTH, Health, THAW};
use tokio::{
    net::UnixStream,
    sync::Mutex,
    time::{sleep, timeout},
};
use transport::{
    Link, LinkError, ReadWakeStream,
    body::{empty, full},
    preamble::send_preamble,
};

/// Once the machine is up, a new link comes at once or after the guest has caught its breath.
const RELINK: Duration = Duration::from_secs(10);
/// Formatting a home and mounting it, in an emulated machine on a busy host.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(90);
/// Saving open documents and quiescing the file system.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(60);
/// Letting writers go on. The guest does so by itself after a minute.
const THAW_TIMEOUT: Duration = Duration::from_secs(10);
/// Writing a file system's new groups.
const GROW_TIMEOUT: Duration = Duration::from_secs(120);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// A problem or a state: a few lines.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A socket that is not there yet is tried so often.
const CONNECT_RETRY: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the agent did not answer within {} seconds", .0.as_secs())]
    Silent(Duration),
    #[error("the link to the agent broke: {0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the agent said: {0}")]
    Refused(String),
}

/// The agent behind a Unix socket.
pub struct Agent {
    socket: PathBuf,
    /// Held while a new link is made: a second one would cut the first.
    link: Mutex<Option<Link>>,
}

impl Agent {
    pub fn at(socket: PathBuf) -> Self {
        Self { socket, link: Mutex::new(None) }
    }

    /// The live link; a new one if there is none.
    pub async fn link(&self) -> Result<Link, AgentError> {
        self.link_within(RELINK).await
    }

    /// As [`Self::link`], for a machine that boots.
    pub async fn link_within(&self, deadline: Duration) -> Result<Link, AgentError> {
        let mut current = self.link.lock().await;
        if let Some(link) = current.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        *current = None;
        let link = timeout(deadline, self.connect()).await.map_err(|_| AgentError::Silent(deadline))??;
        *current = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self) -> Result<Link, AgentError> {
        let mut stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                Err(error) if may_come(&error) => sleep(CONNECT_RETRY).await,
                Err(error) => return Err(error.into()),
            }
        };
        send_preamble(&mut stream, rand::random()).await?;
        Ok(Link::handshake(ReadWakeStream::new(stream)?).await?)
    }

    /// Gives the machine its identity; answered once the home is mounted.
    pub async fn bootstrap(&self, bootstrap: &BootstrapRequest) -> Result<Health, AgentError> {
        let body = serde_json::to_vec(bootstrap).expect("plain data");
        let answer = self.call(Method::POST, BOOTSTRAP, Some(body), BOOTSTRAP_TIMEOUT).await?;
        serde_json::from_slice(&answer).map_err(|error| AgentError::Refused(error.to_string()))
    }

    /// Puts all edits on the home's disk and holds writers still.
    pub async fn freeze(&self) -> Result<(), AgentError> {
        self.call(Method::POST, FREEZE, None, FREEZE_TIMEOUT).await.map(drop)
    }

    /// Lets writers go on. Thawing what is not frozen is no error.
    pub async fn thaw(&self) -> Result<(), AgentError> {
        self.call(Method::POST, THAW, None, THAW_TIMEOUT).await.map(drop)
    }

    /// Lets the home's file system fill so many bytes.
    pub async fn grow(&self, home_bytes: u64) -> Result<(), AgentError> {
        let body = serde_json::to_vec(&GrowRequest { home_bytes }).expect("plain data");
        self.call(Method::POST, GROW, Some(body), GROW_TIMEOUT).await.map(drop)
    }

    pub async fn health(&self) -> Result<Health, AgentError> {
        let answer = self.call(Method::GET, HEALTH, None, HEALTH_TIMEOUT).await?;
        serde_json::from_slice(&answer).map_err(|error| AgentError::Refused(error.to_string()))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Vec<u8>, AgentError> {
        let called = async {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.map_or_else(empty, full))
                .map_err(|_| LinkError::InvalidUri)?;
            let response = self.link().await?.request_within(request, deadline).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| AgentError::Refused(error.to_string()))?.to_bytes().to_vec();
            if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
        };
        timeout(deadline, called).await.map_err(|_| AgentError::Silent(deadline))?
    }
}

fn may_come(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn refusal(status: StatusCode, body: &[u8]) -> AgentError {
    let problem = serde_json::from_slice::<protocol::Problem>(body);
    AgentError::Refused(problem.map_or_else(|_| status.to_string(), |problem| problem.detail))
}
