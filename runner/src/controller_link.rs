//! The runner's link to the controller: a channel that it inherits, over which it passes connections. It
//! carries reports and objects; the runner has no other way to either.

use std::{io, os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration};

use http::{Request, Response};
use protocol::runner::CONTROLLER_CHANNEL;
use tokio::{sync::Mutex, time::timeout};
use transport::{Body, Link, LinkError, ReadWakeStream, ResponseBody, channel::pass_connection};

/// How long the controller may take to accept a connection. It may be busy, or paused for a moment.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request to the controller failed.
#[derive(Debug, thiserror::Error)]
pub enum ControllerLinkError {
    #[error("Cannot connect to the controller: {0}")]
    Connect(#[from] io::Error),
    #[error("Cannot connect to the controller: it did not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// The link. It is opened for the first request, and again after it was cut. Clones share it.
#[derive(Clone)]
pub struct ControllerLink(Arc<Inner>);

struct Inner {
    channel: StdUnixStream,
    /// Locked while a new link connects.
    link: Mutex<Option<Link>>,
}

impl ControllerLink {
    /// The link over the inherited channel. Call it once.
    pub fn inherited() -> io::Result<Self> {
        Ok(Self::new(daemon::descriptors::take_inherited(CONTROLLER_CHANNEL)?.into()))
    }

    /// The link over a channel.
    pub fn new(channel: StdUnixStream) -> Self {
        Self(Arc::new(Inner { channel, link: Mutex::new(None) }))
    }

    /// Sends a request, and returns once the head of the response has arrived, at most after `limit`.
    pub async fn request(
        &self,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, ControllerLinkError> {
        Ok(self.link().await?.request_within(request, limit).await?)
    }

    async fn link(&self) -> Result<Link, ControllerLinkError> {
        let mut current = self.0.link.lock().await;
        if let Some(link) = current.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        *current = None;
        let stream = ReadWakeStream::new(pass_connection(&self.0.channel)?)?;
        let connected = timeout(CONNECT_TIMEOUT, Link::handshake(stream)).await;
        let link = connected.map_err(|_| ControllerLinkError::Timeout(CONNECT_TIMEOUT))??;
        *current = Some(link.clone());
        Ok(link)
    }
}
