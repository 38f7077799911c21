//! The link: HTTP/2 over one byte stream, after a preamble that tells a new link from the rest of an old one.

use std::{io, sync::Arc, time::Duration};

use hyper_util::service::TowerToHyperService;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};
use transport::{KeepAlive, preamble::accept_preamble, serve_link};

use crate::app::{App, router};

/// A port whose other end is closed answers reads at once with nothing: it is asked this often.
const PORT_RETRY: Duration = Duration::from_millis(20);

/// Serves one link until the other end closes it.
pub async fn serve<S>(mut stream: S, app: Arc<App>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    accept_preamble(&mut stream).await?;
    let service = TowerToHyperService::new(router(app));
    serve_link(stream, service, KeepAlive::AnswerOnly).await.map_err(io::Error::other)
}

/// Serves links over a machine's port, one after the other, for ever. `open` gives the port anew for each link.
pub async fn serve_port<S>(mut open: impl FnMut() -> io::Result<S>, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    loop {
        let served = match open() {
            Ok(stream) => serve(stream, app.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a link ended");
        }
        sleep(PORT_RETRY).await;
    }
}
