//! The agent's end of the link to the runner.
//!
//! A link is HTTP/2 over one byte stream, after a preamble that separates a new link from leftover
//! bytes of an earlier one. Knows no routes; it serves any router.

use std::{io, time::Duration};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};
use transport::{KeepAlive, preamble::accept_preamble, serve_link};

/// Pause before the port is opened again. While its other end is closed, a read returns at once
/// without data.
const PORT_RETRY_DELAY: Duration = Duration::from_millis(20);

/// Serves one link until the other end closes it.
pub async fn serve<S>(mut stream: S, router: Router) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accept_preamble(&mut stream).await?;
    let service = TowerToHyperService::new(router);
    serve_link(stream, service, KeepAlive::AnswerOnly).await.map_err(io::Error::other)
}

/// Serves links over a guest's port forever, one after another. `open` opens the port for each
/// link.
pub async fn serve_port<S>(mut open: impl FnMut() -> io::Result<S>, router: &Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    loop {
        let served = match open() {
            Ok(stream) => serve(stream, router.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a link ended");
        }
        sleep(PORT_RETRY_DELAY).await;
    }
}
