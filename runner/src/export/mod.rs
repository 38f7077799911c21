//! Exports a volume as a network block device on a Unix socket: fixed newstyle NBD over a
//! [`Volume`]. Knows no runtime.
//!
//! ```text
//! guest ─ virtio-blk ─▶ QEMU ─ NBD ─▶ connection ─┬─ read requests, one at a time, within bounds
//!                                                 ├─ perform them on the volume, many at a time
//!                                                 └─ write replies, in the order of completion
//! ```
//!
//! The client is the VMM, which a hostile guest may control. Everything that it sends is bounded,
//! and the worst that it can do is to lose its own connection. A request holds its share of the
//! bounds until its reply is written, so a client that does not read its replies stops only itself.
//!
//! A reply to FLUSH, or to a write with FUA, means that the data is on this host's disk. That is
//! all that the guest's file system relies on; when the data is in the object store is the
//! replicator's business.
//!
//! For example, a guest's `fsync`: QEMU sends WRITE requests, which the volume writes to its cache
//! file, then FLUSH, which the volume answers after an fsync of its cache and its dirty log.

mod connection;
mod negotiate;
#[cfg(test)]
mod tests;
#[cfg(not(feature = "fuzzing"))]
mod wire;
#[cfg(feature = "fuzzing")]
pub(crate) mod wire;

use std::{io, sync::Arc, time::Duration};

use tokio::{net::UnixListener, sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use volume::Volume;

/// Concurrent connections: a VMM opens one, tools for inspection a few more.
const MAX_CONNECTIONS: usize = 16;
/// How long accepted requests may take after the stop: longer than a volume retries its store.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Accepting fails for lack of descriptors; retrying at once would spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The client sent something that NBD does not allow.
    #[error("the client violated the protocol: {0}")]
    Protocol(&'static str),
    /// The handshake took too long.
    #[error("the client did not finish its handshake in time")]
    HandshakeTimeout,
}

/// Serves the volume as a disk of `disk_bytes` until `stop` is cancelled.
///
/// If the disk is larger than the volume, the rest reads as zeros, and writes there fail with
/// ENOSPC. A volume that grows reaches further at once.
///
/// After `stop` no request is accepted, and the accepted ones are answered. When this returns,
/// nothing uses the volume any more. The caller flushes and closes the volume.
pub async fn serve(listener: UnixListener, volume: Volume, disk_bytes: u64, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the home's socket");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let (volume, stop) = (volume.clone(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection::run(stream, &volume, disk_bytes, &stop).await {
                tracing::warn!(%error, "a connection to the home failed");
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = timeout(DRAIN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::error!("requests to the home did not finish in time; closing their connections");
        connections.shutdown().await;
    }
}
