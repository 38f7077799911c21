//! Serves the channel of one runner: the connections that it passes, each a link.

use std::{io, os::unix::net::UnixStream};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use transport::{KeepAlive, ReadWakeStream, channel::ChannelListener, log_cut, serve_link};

/// A runner has one link, and for a moment a second when the first was cut.
const MAX_LINKS: usize = 4;

/// Serves until the runner has closed its end. The links end with the returned future.
pub async fn serve(channel: UnixStream, services: Router) {
    if let Err(error) = accept_links(channel, services).await
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        tracing::error!(%error, "cannot serve a runner any more");
    }
}

async fn accept_links(channel: UnixStream, services: Router) -> io::Result<()> {
    let listener = ChannelListener::new(channel)?;
    let mut links = JoinSet::new();
    loop {
        let stream = listener.accept().await?;
        while links.try_join_next().is_some() {}
        if links.len() >= MAX_LINKS {
            tracing::warn!("a runner has too many links: refused another one");
            continue;
        }
        let (stream, services) = (ReadWakeStream::new(stream)?, TowerToHyperService::new(services.clone()));
        links.spawn(async move {
            if let Err(error) = serve_link(stream, services, KeepAlive::Ping).await {
                log_cut(&error, "a runner's link was cut");
            }
        });
    }
}
