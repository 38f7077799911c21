//! One HTTP/2 link over any byte stream, carrying many requests and WebSockets at once.
//!
//! Gateway → front and runner → agent are both this. WebSockets ride extended CONNECT (RFC 8441); what comes back is the raw
//! byte stream, so that a relay can splice it without looking inside. The peer is not trusted: header lists, streams and
//! resets are bounded by the library's settings below, waits by deadlines.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Empty, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    ext::Protocol,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use crate::quiet::Quiet;

/// Body of a request: any stream of bytes.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The raw stream behind an accepted WebSocket.
pub type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// Connecting, and waiting for a response's head.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A silent peer is dead after a ping and this wait.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Per stream; four times as much for the link. Large enough for a local pipe to stay full, small enough that a stalled
/// stream holds little.
const STREAM_WINDOW: u32 = 256 * 1024;
const LINK_WINDOW: u32 = 4 * STREAM_WINDOW;

/// A peer's headers are a few lines; more is an attack.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Why a link or a request on it came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("the peer does not speak HTTP/2 as it should: {0}")]
    Protocol(#[from] hyper::Error),
    #[error("no answer within {} seconds", .0.as_secs())]
    Deadline(Duration),
    #[error("the address of the request is not valid")]
    BadAddress,
}

/// Why a WebSocket was not opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The peer answered with something other than 200; here is its answer.
    #[error("refused with status {}", .0.status())]
    Refused(Box<Response<Incoming>>),
}

/// A live link. Clones share it. It ends when the last clone is dropped or the peer dies.
#[derive(Clone, Debug)]
pub struct Link {
    sender: SendRequest<Body>,
    driver: std::sync::Arc<Driver>,
}

#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects to a Unix socket (`/…`) or to `host:port`.
    pub async fn connect(address: &str) -> Result<Self, LinkError> {
        let connected = async {
            if address.starts_with('/') {
                let stream = UnixStream::connect(address).await.and_then(Quiet::new);
                Self::over(stream.map_err(|source| refused(address, source))?).await
            } else {
                let stream = TcpStream::connect(address).await.map_err(|source| refused(address, source))?;
                stream.set_nodelay(true).map_err(|source| refused(address, source))?;
                Self::over(stream).await
            }
        };
        timeout(CONNECT_TIMEOUT, connected).await.map_err(|_| LinkError::Deadline(CONNECT_TIMEOUT))?
    }

    /// Speaks HTTP/2 over `stream` as the client, the peer being one of ours, which takes WebSockets.
    pub async fn over<S>(stream: S) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(LINK_WINDOW)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a link ended");
            }
        });
        timeout(CONNECT_TIMEOUT, sender.ready())
            .await
            .map_err(|_| LinkError::Deadline(CONNECT_TIMEOUT))??;
        Ok(Self { sender, driver: std::sync::Arc::new(Driver(driver)) })
    }

    /// Whether the peer is gone: make a new link.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.driver.0.is_finished()
    }

    /// Sends a request; resolves with the response's head. `uri` may be a path: the authority is filled in.
    pub async fn request(&self, request: Request<Body>) -> Result<Response<Incoming>, LinkError> {
        self.request_within(request, RESPONSE_TIMEOUT).await
    }

    /// As [`Self::request`], for bodies so long that their sending takes more than the usual time.
    pub async fn request_within(
        &self,
        mut request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Incoming>, LinkError> {
        *request.uri_mut() = absolute(request.uri())?;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(header::HOST);
        let answer = self.sender.clone().send_request(request);
        Ok(timeout(deadline, answer).await.map_err(|_| LinkError::Deadline(deadline))??)
    }

    /// Opens a WebSocket. Only after the peer's 200 is there a stream; any other answer is given back whole.
    pub async fn websocket(&self, path_and_query: &str, headers: HeaderMap) -> Result<Upgraded, SocketError> {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(path_and_query)
            .extension(Protocol::from_static("websocket"))
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .body(empty())
            .map_err(|_| LinkError::BadAddress)?;
        request.headers_mut().extend(headers);
        let response = self.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(SocketError::Refused(Box::new(response)));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(LinkError::from)?;
        Ok(TokioIo::new(upgraded))
    }
}

/// A body of nothing.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// HTTP/2 wants a scheme and an authority; ours mean nothing, since the stream is the address.
fn absolute(uri: &Uri) -> Result<Uri, LinkError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme("http")
        .authority("burrow")
        .path_and_query(path)
        .build()
        .map_err(|_| LinkError::BadAddress)
}

fn refused(address: &str, source: io::Error) -> LinkError {
    LinkError::Connect { address: address.to_owned(), source }
}
