//! The link: HTTP/2 over one byte stream, after a preamble that tells a new link from the rest of an old one.

use std::{io, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use protocol::agent::{LINK_MAGIC, NONCE_BYTES};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::sleep,
};

use crate::app::{App, router};

/// Streams at once: terminals, documents and requests of all viewers.
const MAX_STREAMS: u32 = 1024;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Per stream, and for the link: as the other end has them.
const STREAM_WINDOW: u32 = 256 * 1024;
const LINK_WINDOW: u32 = 4 * STREAM_WINDOW;
/// A port whose other end is closed answers reads at once with nothing: it is asked this often.
const PORT_RETRY: Duration = Duration::from_millis(20);

/// Serves one link until the other end closes it.
pub async fn serve<S>(mut stream: S, app: Arc<App>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    greet(&mut stream).await?;
    let service = TowerToHyperService::new(router(app));
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    served.map_err(io::Error::other)
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

/// Discards everything up to the magic, then echoes it and the nonce that follows.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut window = [0; LINK_MAGIC.len()];
    while window != LINK_MAGIC {
        window.rotate_left(1);
        // Byte by byte: not one byte after the nonce may be taken.
        window[LINK_MAGIC.len() - 1] = stream.read_u8().await?;
    }
    let mut nonce = [0; NONCE_BYTES];
    stream.read_exact(&mut nonce).await?;
    stream.write_all(&LINK_MAGIC).await?;
    stream.write_all(&nonce).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_rest_of_an_old_link_is_discarded() {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        let nonce = [7; NONCE_BYTES];
        let old = [b"PRI * HTTP/2.0".as_slice(), &LINK_MAGIC[..9], &LINK_MAGIC, &nonce, b"next"].concat();
        ours.write_all(&old).await.expect("room");
        greet(&mut theirs).await.expect("a greeting");
        let mut echo = [0; LINK_MAGIC.len() + NONCE_BYTES];
        ours.read_exact(&mut echo).await.expect("an echo");
        assert_eq!(echo, *[LINK_MAGIC.as_slice(), &nonce].concat());
        let mut rest = [0; 4];
        theirs.read_exact(&mut rest).await.expect("what follows");
        assert_eq!(&rest, b"next");
    }
}
