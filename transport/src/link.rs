//! The client end of a link: one HTTP/2 connection that carries many requests and WebSockets at once.
//!
//! WebSockets use extended CONNECT (RFC 8441). An accepted one is returned as a raw byte stream, so
//! that a relay can splice it without parsing frames. The peer is not trusted: its headers are
//! bounded by [`settings`], and every wait has a timeout.

use std::{io, sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    ext::Protocol,
    rt::Executor as _,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    batched_stream::batch_writes,
    body::{self, Body},
    cut::log_cut,
    read_wake::ReadWakeStream,
    settings,
    slots::{StreamLimit, StreamSlot, StreamSlots},
    stream::{ResponseBody, Upgraded},
    tasks::LinkTasks,
};

/// Longest wait for a connection, including the HTTP/2 handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the head of a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a link could not be made, or why a request on it failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is no connection: the socket is missing or nobody accepts on it.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The path or `host:port` that was connected to.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The peer broke the HTTP/2 protocol or closed the link.
    #[error("the HTTP/2 connection failed: {0}")]
    Protocol(#[from] hyper::Error),
    /// The peer did not answer within this time.
    #[error("no answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// The link has no place for another stream of this kind. Others may end at any time.
    #[error("the link's limit of {0} is reached")]
    Full(StreamLimit),
    /// The caller's path is not valid in a URI.
    #[error("the request's path is not valid")]
    InvalidUri,
}

/// Why a WebSocket was not opened.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The request failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The peer answered with a status other than 200. This is its whole response.
    #[error("refused with status {}", .0.status())]
    Refused(Box<Response<ResponseBody>>),
}

/// A live link to a peer that is one of our processes.
///
/// [`Link::connect`] or [`Link::handshake`] makes it. Clones, streams and bodies share the connection:
/// it lives as long as one of them does. Then all its tasks end at once, also those that hyper has
/// started, whether the peer reads or not. When the peer dies, [`Link::is_closed`] turns true and every
/// request fails: the owner then makes a new link.
///
/// A link has places for a number of WebSockets and of requests ([`settings`]). Beyond that, it
/// refuses at once with [`LinkError::Full`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use burrow_transport::{Link, body};
///
/// let link = Link::connect("/run/burrow/front.sock").await?;
/// let files = link.request(http::Request::get("/v1/files?path=").body(body::empty())?).await?;
/// let terminal = link.open_websocket("/v1/terminals/1/attach", http::HeaderMap::new()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Link {
    sender: SendRequest<Body>,
    slots: StreamSlots,
    /// The tasks that read and write the connection.
    tasks: Arc<LinkTasks>,
}

impl Link {
    /// Connects to `address`, a Unix socket's absolute path or `host:port`.
    pub async fn connect(address: &str) -> Result<Self, LinkError> {
        let connect = async {
            if address.starts_with('/') {
                let stream = UnixStream::connect(address).await.and_then(ReadWakeStream::new);
                Self::handshake(stream.map_err(|source| connect_error(address, source))?).await
            } else {
                let stream =
                    TcpStream::connect(address).await.map_err(|source| connect_error(address, source))?;
                stream.set_nodelay(true).map_err(|source| connect_error(address, source))?;
                Self::handshake(stream).await
            }
        };
        timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| LinkError::Timeout(CONNECT_TIMEOUT))?
    }

    /// Makes a link over `stream`, which is connected already. The peer must accept extended CONNECT.
    pub async fn handshake<S>(stream: S) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let tasks = LinkTasks::new();
        let (stream, flusher) = batch_writes(stream);
        tasks.executor().execute(flusher);
        let (mut sender, connection) = http2::Builder::new(tasks.executor())
            .timer(TokioTimer::new())
            .initial_stream_window_size(settings::STREAM_WINDOW)
            .initial_connection_window_size(settings::CONNECTION_WINDOW)
            .max_header_list_size(settings::MAX_HEADER_BYTES)
            // Streams that we cancel may still receive data. The library's small limits of such
            // streams would end the whole link.
            .max_concurrent_reset_streams(settings::MAX_STREAMS as usize)
            .max_local_error_reset_streams(None)
            .keep_alive_interval(settings::CLIENT_PING_INTERVAL)
            .keep_alive_timeout(settings::PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        tasks.executor().execute(async move {
            if let Err(error) = connection.await {
                log_cut(&error, "a link to a peer was cut");
            }
        });
        timeout(CONNECT_TIMEOUT, sender.ready()).await.map_err(|_| LinkError::Timeout(CONNECT_TIMEOUT))??;
        Ok(Self { sender, slots: StreamSlots::new(), tasks: Arc::new(tasks) })
    }

    /// Whether the peer is gone. A closed link never works again.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and returns once the head of the response has arrived. The URI may be a
    /// path: scheme and authority are filled in.
    pub async fn request(&self, request: Request<Body>) -> Result<Response<ResponseBody>, LinkError> {
        self.request_within(request, RESPONSE_TIMEOUT).await
    }

    /// Like [`Self::request`], with a timeout of the caller's: the upload of a large body takes
    /// longer than the usual one.
    pub async fn request_within(
        &self,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, LinkError> {
        let slot = self.slots.acquire(StreamLimit::Requests)?;
        let (response, slot) = self.send(request, limit, slot).await?;
        Ok(self.with_body(response, slot))
    }

    /// Like [`Self::request_within`], for the few requests that the owner of the link makes for itself.
    /// They have places of their own, and therefore succeed on a link that is full.
    pub async fn request_reserved(
        &self,
        request: Request<Body>,
        limit: Duration,
    ) -> Result<Response<ResponseBody>, LinkError> {
        let (response, slot) = self.send(request, limit, None).await?;
        Ok(self.with_body(response, slot))
    }

    fn with_body(&self, response: Response<Incoming>, slot: StreamSlot) -> Response<ResponseBody> {
        response.map(|body| ResponseBody::new(body, slot, self.tasks.clone()))
    }

    async fn send(
        &self,
        mut request: Request<Body>,
        limit: Duration,
        slot: StreamSlot,
    ) -> Result<(Response<Incoming>, StreamSlot), LinkError> {
        *request.uri_mut() = absolute_uri(request.uri())?;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(header::HOST);
        let response = self.sender.clone().send_request(request);
        let response = timeout(limit, response).await.map_err(|_| LinkError::Timeout(limit))??;
        Ok((response, slot))
    }

    /// Opens a WebSocket at `path_and_query`. Only the peer's 200 makes a stream; any other
    /// response is returned whole as [`WebSocketError::Refused`].
    pub async fn open_websocket(
        &self,
        path_and_query: &str,
        headers: HeaderMap,
    ) -> Result<Upgraded, WebSocketError> {
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(path_and_query)
            .extension(Protocol::from_static("websocket"))
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .body(body::empty())
            .map_err(|_| LinkError::InvalidUri)?;
        request.headers_mut().extend(headers);
        let slot = self.slots.acquire(StreamLimit::WebSockets)?;
        let (response, slot) = self.send(request, RESPONSE_TIMEOUT, slot).await?;
        if response.status() != StatusCode::OK {
            return Err(WebSocketError::Refused(Box::new(self.with_body(response, slot))));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(LinkError::from)?;
        Ok(Upgraded::new(upgraded, slot, self.tasks.clone()))
    }
}

/// Adds the scheme and authority that HTTP/2 requires. Ours have no meaning, because the link
/// itself is the address.
fn absolute_uri(uri: &Uri) -> Result<Uri, LinkError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme("http")
        .authority("burrow")
        .path_and_query(path)
        .build()
        .map_err(|_| LinkError::InvalidUri)
}

fn connect_error(address: &str, source: io::Error) -> LinkError {
    LinkError::Connect { address: address.to_owned(), source }
}
