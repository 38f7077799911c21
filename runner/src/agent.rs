//! The runner's link to the agent: made over any socket, made again when it breaks, and the few calls that are the runner's own.
//!
//! What the agent says is the guest's word: it is bounded, waited for with a deadline, and believed in nothing that matters
//! outside the guest.

use std::{io, path::PathBuf, time::Duration};

use client::{
    Link, LinkError,
    link::{empty, full},
    quiet::Quiet,
};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use protocol::agent::{
    BOOTSTRAP, BootstrapRequest, FREEZE, GROW, GrowRequest, HEALTH, Health, LINK_MAGIC, NONCE_BYTES, THAW,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::Mutex,
    time::{sleep, timeout},
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
        greet(&mut stream).await?;
        Ok(Link::over(Quiet::new(stream)?).await?)
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
                .map_err(|_| LinkError::BadAddress)?;
            let response = self.link().await?.request_within(request, deadline).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| AgentError::Refused(error.to_string()))?.to_bytes().to_vec();
            if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
        };
        timeout(deadline, called).await.map_err(|_| AgentError::Silent(deadline))?
    }
}

/// Sends magic and a fresh nonce, and reads on until they come back: what an earlier link left in the pipe is read past.
async fn greet(stream: &mut UnixStream) -> io::Result<()> {
    let greeting = [LINK_MAGIC.as_slice(), &rand::random::<[u8; NONCE_BYTES]>()].concat();
    stream.write_all(&greeting).await?;
    let mut window = vec![0; greeting.len()];
    while window != greeting {
        window.rotate_left(1);
        // Byte by byte: not one byte after the echo may be taken.
        *window.last_mut().expect("not empty") = stream.read_u8().await?;
    }
    Ok(())
}

fn may_come(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn refusal(status: StatusCode, body: &[u8]) -> AgentError {
    let problem = serde_json::from_slice::<protocol::Problem>(body);
    AgentError::Refused(problem.map_or_else(|_| status.to_string(), |problem| problem.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rest_of_an_old_link_is_read_past() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let answering = tokio::spawn(async move {
            let mut greeting = [0; LINK_MAGIC.len() + NONCE_BYTES];
            theirs.read_exact(&mut greeting).await.expect("a greeting");
            let old = [b"old bytes".as_slice(), &LINK_MAGIC, &[0; NONCE_BYTES], &greeting[..20]].concat();
            theirs.write_all(&old).await.expect("room");
            theirs.write_all(&greeting).await.expect("room");
            theirs.write_all(b"new").await.expect("room");
        });
        greet(&mut ours).await.expect("an echo");
        let mut next = [0; 3];
        ours.read_exact(&mut next).await.expect("what follows");
        assert_eq!(&next, b"new");
        answering.await.expect("no panic");
    }
}
