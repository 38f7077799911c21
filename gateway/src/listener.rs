//! The public listener: accepts connections up to a limit and serves HTTP/1.1 or HTTP/2 on each.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use transport::settings;

use crate::{router::Router, write_timeout::WriteTimeoutStream};

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

/// Size of a header list, in bytes: browsers send the cookies of other programs on the same host too.
const MAX_HEADER_BYTES: u32 = 32 * 1024;

/// Silence after which an HTTP/2 client is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// An HTTP/2 client that does not answer a ping for this long is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Accepts connections until the gateway shuts down.
pub async fn accept_connections(listener: TcpListener, router: Arc<Router>) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(router.limits.max_connections));
    let shutdown = router.tasks.shutdown().clone();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = accept_connection(&listener, &permits) => accepted?,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let serving = serve_connection(stream, peer, router.clone(), shutdown.clone());
        router.tasks.spawn("connection", async move {
            serving.await;
            drop(permit);
        });
    }
}

/// Waits for a permit, then for a connection. `None`: the connection could not be accepted.
async fn accept_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> anyhow::Result<Option<(TcpStream, IpAddr, OwnedSemaphorePermit)>> {
    let permit = permits.clone().acquire_owned().await?;
    match listener.accept().await {
        Ok((stream, peer)) => Ok(Some((stream, peer.ip(), permit))),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_RETRY_DELAY).await;
            Ok(None)
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: IpAddr, router: Arc<Router>, shutdown: CancellationToken) {
    if let Err(error) = set_socket_options(&stream) {
        return tracing::debug!(%error, "a connection ended before its first request");
    }
    let stream = WriteTimeoutStream::new(stream, router.limits.write_timeout);
    let write_timeout = stream.handle();
    let builder = http_builder(router.limits.request_head_timeout);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let router = router.clone();
        // The relay disables the timeout for streams that may pause.
        request.extensions_mut().insert(write_timeout.clone());
        async move { Ok::<_, Infallible>(router.handle(request, peer).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(SHUTDOWN_GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

fn http_builder(request_head_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(request_head_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(settings::STREAM_WINDOW)
        .initial_connection_window_size(settings::CONNECTION_WINDOW)
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
