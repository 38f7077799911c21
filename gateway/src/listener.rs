//! The public listener: accepts connections up to a limit and serves HTTP/1.1 or HTTP/2 on each. Beside
//! it there may be one for plain http that only redirects; both share the limits.
//!
//! No connection stays open without a reason: its first request must come in time, a client must
//! read what it asked for, and an HTTP/2 connection without requests is closed after a while.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::response::Response;
use http::{Request, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    buffer_budget::{HTTP1_BUFFER_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW},
    connection_limits::{ConnectionLimits, ConnectionPermit},
    limits::Limits,
    origin::LocalAddress,
    response_timeout::{ResponseExecutor, WatchedBody, unchanged_for},
    router::Router,
    tls::{self, ClientStream, Security, Tls},
    write_timeout::{WriteTimeoutHandle, WriteTimeoutStream},
};

/// Pause after a failed accept. The kernel may have room for another connection a moment later.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How long responses under way may take when the gateway shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// TCP keepalive finds a client that vanished without closing (a closed laptop lid): the first
/// probe after this silence, …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// … the next ones at this interval, …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// … and the connection ends after this many unanswered probes.
const KEEPALIVE_PROBES: u32 = 3;

/// Concurrent HTTP/2 streams of one browser.
const MAX_STREAMS: u32 = 256;

/// Bytes of all uploads of a connection that a browser may send ahead. Much less than on our own links,
/// because anyone may connect.
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

/// Size of a header list, in bytes: browsers send the cookies of other programs on the same host too.
const MAX_HEADER_BYTES: u32 = 32 * 1024;

/// Silence after which an HTTP/2 client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// An HTTP/2 client that does not answer a ping for this long is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Accepts connections until the gateway shuts down. With `redirect_origin`, every request is redirected
/// to it by plain http.
pub async fn accept_connections(
    listener: TcpListener,
    limits: ConnectionLimits,
    router: Arc<Router>,
    redirect_origin: Option<Arc<str>>,
) -> anyhow::Result<()> {
    let shutdown = router.tasks.shutdown().clone();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = accept_connection(&listener, &limits) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let serving =
            serve_connection(stream, permit, router.clone(), redirect_origin.clone(), shutdown.clone());
        router.tasks.spawn("connection", serving);
    }
}

/// Waits for room, then for a connection. `None`: the connection could not be accepted.
async fn accept_connection(
    listener: &TcpListener,
    limits: &ConnectionLimits,
) -> Option<(TcpStream, ConnectionPermit)> {
    let room = limits.room().await;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, limits.admit(room, peer.ip()))),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_RETRY_DELAY).await;
            None
        }
    }
}

/// Why a connection was closed that had no time to send a request.
const EVICTED: &str = "its address has too many silent connections";

/// What the requests of one connection share.
struct Connection {
    router: Arc<Router>,
    /// Where every request is redirected to, if its listener does nothing else.
    redirect_origin: Option<Arc<str>>,
    permit: ConnectionPermit,
    local: LocalAddress,
    security: Security,
    write_timeout: WriteTimeoutHandle,
    /// Runs the responses, on HTTP/2.
    responses: ResponseExecutor,
    /// HTTP/2 requests so far.
    http2_requests: AtomicU64,
}

impl Connection {
    async fn handle(&self, mut request: Request<Incoming>) -> Response<WatchedBody> {
        if request.version() == Version::HTTP_2 {
            self.http2_requests.fetch_add(1, Ordering::Relaxed);
        }
        let response = if !self.permit.activate() {
            Router::refuse_connection(&request)
        } else if let Some(origin) = &self.redirect_origin {
            Router::redirect_to_origin(&request, origin)
        } else if self.security == Security::PlainInsteadOfTls {
            self.router.redirect_to_https(&request, self.local)
        } else {
            // The relay disables the timeout for streams that may pause.
            request.extensions_mut().insert(self.write_timeout.clone());
            request.extensions_mut().insert(self.local);
            let share = match self.router.reserve_buffers(&request, self.permit.peer()) {
                Ok(share) => Arc::new(share),
                Err(refusal) => return refusal.map(|body| WatchedBody::new(body, None)),
            };
            // The splice of a WebSocket outlives its response.
            request.extensions_mut().insert(share.clone());
            let response = self.router.handle(request, self.permit.peer()).await;
            return response.map(|body| WatchedBody::new(body, Some(share)));
        };
        response.map(|body| WatchedBody::new(body, None))
    }

    /// Resolves when the connection must end at once: it was evicted, or sends no request in time.
    async fn overdue(&self, request_head_timeout: Duration) -> &'static str {
        tokio::select! {
            () = self.permit.evicted() => return EVICTED,
            () = sleep(request_head_timeout) => {}
        }
        if !self.permit.is_active() {
            return "it sent no request in time";
        }
        std::future::pending().await
    }

    /// Resolves when the connection should end once its responses are complete: at shutdown, or if
    /// an HTTP/2 connection had no request for `idle_timeout`, or up to twice as long. HTTP/1 has its
    /// own timeout for the next request.
    async fn draining(&self, shutdown: &CancellationToken, idle_timeout: Duration) {
        let last_request = || {
            let requests = self.http2_requests.load(Ordering::Relaxed);
            (requests > 0 && self.responses.is_idle()).then_some(requests)
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = unchanged_for(idle_timeout, last_request) => {}
        }
    }
}

/// A connection that may send requests.
struct OpenConnection {
    stream: ClientStream<WriteTimeoutStream<TcpStream>>,
    security: Security,
    local: LocalAddress,
    write_timeout: WriteTimeoutHandle,
}

/// Prepares a connection, and completes its TLS handshake.
async fn open_connection(
    limits: &Limits,
    tls: Option<&Tls>,
    stream: TcpStream,
) -> io::Result<OpenConnection> {
    set_socket_options(&stream)?;
    let address = stream.local_addr()?;
    let stream = WriteTimeoutStream::new(stream, limits.write_timeout);
    let write_timeout = stream.handle();
    let (stream, security) = tls::open(tls, stream).await?;
    let local = LocalAddress { address, is_tls: security == Security::Tls };
    Ok(OpenConnection { stream, security, local, write_timeout })
}

async fn serve_connection(
    stream: TcpStream,
    permit: ConnectionPermit,
    router: Arc<Router>,
    redirect_origin: Option<Arc<str>>,
    shutdown: CancellationToken,
) {
    let limits = router.limits;
    let tls = router.tls.as_ref().filter(|_| redirect_origin.is_none());
    let opened = tokio::select! {
        () = shutdown.cancelled() => return,
        () = permit.evicted() => return tracing::debug!(EVICTED),
        opened = timeout(limits.request_head_timeout, open_connection(&limits, tls, stream)) => opened,
    };
    let OpenConnection { stream, security, local, write_timeout } = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection ended before its first request"),
        Err(_) => return tracing::debug!("a connection was closed: it sends nothing"),
    };
    let responses = ResponseExecutor::new(limits.write_timeout);
    let shared = Arc::new(Connection {
        router,
        redirect_origin,
        permit,
        local,
        security,
        write_timeout,
        responses: responses.clone(),
        http2_requests: AtomicU64::new(0),
    });
    let builder = http_builder(&limits, responses.clone());
    let handler = shared.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.handle(request).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        reason = shared.overdue(limits.request_head_timeout) => {
            tracing::debug!(reason, "a connection was closed");
            Ok(())
        }
        () = shared.draining(&shutdown, limits.connection_idle_timeout) => {
            connection.as_mut().graceful_shutdown();
            timeout(SHUTDOWN_GRACE, connection.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
    drop(connection);
    responses.join().await;
}

fn http_builder(limits: &Limits, responses: ResponseExecutor) -> Builder<ResponseExecutor> {
    let mut builder = Builder::new(responses);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request_head_timeout)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Sends keystrokes at once (no Nagle) and enables TCP keepalive.
fn set_socket_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
