//! The server end of a link.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor as _, server::conn::http2, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{batched_stream::batch_writes, settings, tasks::LinkTasks};

/// Whether a server finds dead clients by pinging them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// Ping a silent client, and close the link when it does not answer.
    Ping,
    /// Only answer pings. For the agent: the runner pings it, and its port reports when the runner is gone.
    AnswerOnly,
}

/// Serves one link over `stream` until the client closes it. WebSockets (extended CONNECT) are accepted.
///
/// When the link ends, or the future is dropped, all requests on the link are cancelled and its
/// upgraded streams end: no task of it remains.
pub async fn serve_link<S, H, B>(stream: S, service: H, keep_alive: KeepAlive) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Service<Request<Incoming>, Response = Response<B>, Future: Send + 'static>,
    H::Error: Into<Box<dyn Error + Send + Sync>>,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tasks = LinkTasks::new();
    let (stream, flusher) = batch_writes(stream);
    tasks.executor().execute(flusher);
    let mut builder = http2::Builder::new(tasks.executor());
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(settings::MAX_STREAMS)
        // The clients are our own processes. A burst of requests that they cancel, because their own
        // clients left, must not end the streams of the others.
        .max_pending_accept_reset_streams(settings::MAX_STREAMS as usize)
        .max_local_error_reset_streams(None)
        .max_header_list_size(settings::MAX_HEADER_BYTES)
        .initial_stream_window_size(settings::STREAM_WINDOW)
        .initial_connection_window_size(settings::CONNECTION_WINDOW);
    if keep_alive == KeepAlive::Ping {
        builder
            .keep_alive_interval(settings::SERVER_PING_INTERVAL)
            .keep_alive_timeout(settings::PING_TIMEOUT);
    }
    builder.serve_connection(TokioIo::new(stream), service).await
}
