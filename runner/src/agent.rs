//! The runner's connection to the agent, and the few requests that the runner itself makes.
//!
//! The agent runs in a hostile guest: its answers are bounded, awaited with a timeout, and trusted
//! in nothing that matters outside the guest.

use std::{
    io,
    os::unix::net::UnixStream as StdUnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use protocol::{
    agent::{
        BOOTSTRAP, BootstrapRequest, CLOCK, ClockRequest, FREEZE, GROW, GrowRequest, HEALTH, Health, NOTICE,
        NoticeRequest, THAW,
    },
    api::snapshot::Consistency,
};
use time::OffsetDateTime;
use tokio::{
    net::UnixStream,
    sync::Mutex,
    time::{sleep, timeout},
};
use transport::{
    Link, LinkError, ReadWakeStream,
    body::{empty, full},
    channel::pass_connection,
    preamble::send_preamble,
};

/// Once the guest is up, a new link connects at once, or after a moment if the guest is busy.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to format a home and mount it, in an emulated guest on a busy host.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(90);
/// Time to save open documents and freeze the file system.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to thaw the file system. The guest thaws it by itself after a minute.
const THAW_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to write the new groups of a file system.
const GROW_TIMEOUT: Duration = Duration::from_secs(120);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of an answer's body. A problem or a health state takes a few lines.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Pause between attempts to connect to a socket that does not exist yet.
const CONNECT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// A home that the host has mounted, and not the guest.
pub trait HostHome: Send + Sync {
    /// Writes what programs have written so far into the volume, and returns how the volume then is. An
    /// error is a sentence for users.
    fn sync(&self) -> BoxFuture<'_, Result<Consistency, String>>;

    /// Enlarges the home's file system.
    fn grow(&self, home_bytes: u64) -> BoxFuture<'_, Result<(), String>>;
}

/// Why the agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("Cannot reach the agent: it did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    #[error("Cannot connect to the agent: {0}")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The agent answered with an error, or with something that is no answer.
    #[error("The agent refused a request: {0}")]
    Refused(String),
    /// A home that the host has mounted.
    #[error("{0}")]
    Home(String),
}

/// How a connection to the agent is made.
enum Endpoint {
    /// It listens on this socket: the VMM's virtio-serial port, or the fake runtime's socket.
    Socket(PathBuf),
    /// Connections are passed to it: a container.
    Channel(StdUnixStream),
}

/// The agent of a sandbox.
///
/// All requests share one HTTP/2 link. It is opened when it is first needed, and again after it has
/// closed.
pub struct Agent {
    endpoint: Endpoint,
    /// The home, if the host has mounted it and not the guest.
    home: Option<Arc<dyn HostHome>>,
    /// Locked while a new link connects: the port takes one connection, and a second would cut the
    /// first.
    link: Mutex<Option<Link>>,
}

impl Agent {
    /// The agent behind `socket`, which need not exist yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { endpoint: Endpoint::Socket(socket), home: None, link: Mutex::new(None) }
    }

    /// The agent of a container, at the other end of `channel`, whose home the host has mounted.
    pub fn in_container(channel: StdUnixStream, home: Arc<dyn HostHome>) -> Self {
        Self { endpoint: Endpoint::Channel(channel), home: Some(home), link: Mutex::new(None) }
    }

    /// The channel to a container.
    #[cfg(test)]
    pub fn channel(&self) -> &StdUnixStream {
        let Endpoint::Channel(channel) = &self.endpoint else { panic!("it has none") };
        channel
    }

    /// The open link, or a new one.
    pub async fn link(&self) -> Result<Link, AgentError> {
        self.connect_within(RECONNECT_TIMEOUT).await
    }

    /// Whether a link is open.
    pub async fn is_connected(&self) -> bool {
        self.link.lock().await.as_ref().is_some_and(|link| !link.is_closed())
    }

    /// Like [`Self::link`], with a timeout that suits a guest that is still booting.
    pub async fn connect_within(&self, deadline: Duration) -> Result<Link, AgentError> {
        let mut current = self.link.lock().await;
        if let Some(link) = current.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        *current = None;
        let link = timeout(deadline, self.connect()).await.map_err(|_| AgentError::Timeout(deadline))??;
        *current = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self) -> Result<Link, AgentError> {
        let mut stream = match &self.endpoint {
            Endpoint::Socket(path) => connect_once_it_listens(path).await?,
            Endpoint::Channel(channel) => pass_connection(channel)?,
        };
        send_preamble(&mut stream, rand::random()).await?;
        Ok(Link::handshake(ReadWakeStream::new(stream)?).await?)
    }

    /// Gives the guest its identity. Answered once the home is mounted.
    pub async fn bootstrap(&self, bootstrap: &BootstrapRequest) -> Result<Health, AgentError> {
        let body = serde_json::to_vec(bootstrap).expect("plain data");
        let answer = self.call(Method::POST, BOOTSTRAP, Some(body), BOOTSTRAP_TIMEOUT).await?;
        serde_json::from_slice(&answer).map_err(|error| AgentError::Refused(error.to_string()))
    }

    /// Saves open documents and freezes the home's file system: writers wait. A home that the host has
    /// mounted is written into its volume, and not frozen. Returns how the volume is.
    pub async fn freeze(&self) -> Result<Consistency, AgentError> {
        self.call(Method::POST, FREEZE, None, FREEZE_TIMEOUT).await?;
        match &self.home {
            Some(home) => home.sync().await.map_err(AgentError::Home),
            None => Ok(Consistency::Clean),
        }
    }

    /// Thaws the file system. It is no error if it is not frozen.
    pub async fn thaw(&self) -> Result<(), AgentError> {
        self.call(Method::POST, THAW, None, THAW_TIMEOUT).await.map(drop)
    }

    /// Grows the home's file system to this size.
    pub async fn grow(&self, home_bytes: u64) -> Result<(), AgentError> {
        if let Some(home) = &self.home {
            return home.grow(home_bytes).await.map_err(AgentError::Home);
        }
        let body = serde_json::to_vec(&GrowRequest { home_bytes }).expect("plain data");
        self.call(Method::POST, GROW, Some(body), GROW_TIMEOUT).await.map(drop)
    }

    /// Sends the host's time, so that the guest corrects its clock.
    pub async fn correct_clock(&self) -> Result<(), AgentError> {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let request = ClockRequest { unix_nanos: i64::try_from(nanos).unwrap_or(i64::MAX) };
        let body = serde_json::to_vec(&request).expect("plain data");
        self.call(Method::POST, CLOCK, Some(body), HEALTH_TIMEOUT).await.map(drop)
    }

    /// Shows a line in all terminals.
    pub async fn show_notice(&self, text: &str) -> Result<(), AgentError> {
        let body = serde_json::to_vec(&NoticeRequest { text: text.to_owned() }).expect("plain data");
        self.call(Method::POST, NOTICE, Some(body), HEALTH_TIMEOUT).await.map(drop)
    }

    /// The agent's version and the home's usage, as the guest reports them.
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
            let response = self.link().await?.request_reserved(request, deadline).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| AgentError::Refused(error.to_string()))?.to_bytes().to_vec();
            if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
        };
        timeout(deadline, called).await.map_err(|_| AgentError::Timeout(deadline))?
    }
}

async fn connect_once_it_listens(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if is_not_listening_yet(&error) => sleep(CONNECT_RETRY_DELAY).await,
            connected => return connected,
        }
    }
}

fn is_not_listening_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn refusal(status: StatusCode, body: &[u8]) -> AgentError {
    let problem = serde_json::from_slice::<protocol::Problem>(body);
    AgentError::Refused(problem.map_or_else(|_| status.to_string(), |problem| problem.detail))
}

#[cfg(test)]
mod tests;
