//! Connections: accepted within a bound, spoken to in HTTP/1.1 or HTTP/2, dropped when they stall.

use std::{io, sync::Arc, time::Duration};

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

use crate::{edge::Edge, stall::Stalling};

/// Where the kernel has no room for another connection, a moment later it may have.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answers under way at the gateway's end.
const GRACE: Duration = Duration::from_secs(5);
/// A machine that went away without a word (a closed lid) is noticed after this much quiet and as many probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// HTTP/2: streams of one connection, and how long a silent peer is believed in.
const MAX_STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 256 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// A browser's headers with many cookies of other programs on the same host.
const MAX_HEADER_BYTES: u32 = 32 * 1024;

/// Accepts until the gateway's end.
pub async fn accept(listener: TcpListener, edge: Arc<Edge>) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(edge.limits.connections));
    let shutdown = edge.tasks.shutdown().clone();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = next(&listener, &places) => accepted?,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let serving = serve(stream, peer, edge.clone(), shutdown.clone());
        edge.tasks.spawn("connection", async move {
            serving.await;
            drop(place);
        });
    }
}

/// The next connection, once there is a place for it. None: it was gone before we took it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> anyhow::Result<Option<(TcpStream, std::net::IpAddr, OwnedSemaphorePermit)>> {
    let place = places.clone().acquire_owned().await?;
    match listener.accept().await {
        Ok((stream, peer)) => Ok(Some((stream, peer.ip(), place))),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            Ok(None)
        }
    }
}

async fn serve(stream: TcpStream, peer: std::net::IpAddr, edge: Arc<Edge>, shutdown: CancellationToken) {
    if let Err(error) = tune(&stream) {
        return tracing::debug!(%error, "a connection was gone before it began");
    }
    let stream = Stalling::new(stream, edge.limits.write_stall);
    let lift = stream.lift();
    let builder = builder(edge.limits.head);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let edge = edge.clone();
        request.extensions_mut().insert(lift.clone());
        async move { Ok::<_, std::convert::Infallible>(edge.serve(request, peer).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

fn builder(head: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(4 * STREAM_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Keys go out at once; dead peers are found.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
