//! The home as a network block device on a Unix socket: fixed newstyle NBD over a [`Volume`]. Knows no machine.
//!
//! The client is the VMM, which a hostile guest may have taken over: whatever it sends is bounded, and the worst it can do is
//! to lose its own connection. A reply to FLUSH, or to a write with FUA, means that the data is on this machine's disk.

mod connection;
mod negotiate;
#[cfg(test)]
mod tests;
pub mod wire;

use std::{io, sync::Arc, time::Duration};

use tokio::{net::UnixListener, sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use volume::Volume;

/// Connections at once: a VMM opens one, tools that look at it a few more.
const MAX_CONNECTIONS: usize = 16;
/// After the call to stop, what was asked for has so long to be answered: longer than a volume tries its store.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Failures to accept are of the host (no descriptors); trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the client broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the client did not finish its handshake in time")]
    Slow,
}

/// Serves the volume to whoever connects, as a disk of so many bytes, until told to stop. Of a disk larger than the volume the
/// rest reads as zeros, and what is written there is refused for want of space. Then no new request is taken, those under way are answered,
/// and when it returns nothing touches the volume any more. Flushing and closing the volume is the caller's.
pub async fn serve(listener: UnixListener, volume: Volume, disk_bytes: u64, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = places.clone().acquire_owned() => place.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the home's socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (volume, stop) = (volume.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = connection::run(stream, &volume, disk_bytes, &stop).await {
                tracing::warn!(%error, "a connection to the home ended badly");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::error!("requests to the home are still under way; their connections are cut");
        connections.shutdown().await;
    }
}
