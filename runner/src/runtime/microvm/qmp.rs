//! QEMU's control protocol, as far as we use it. A guest may have taken over the VMM, so nothing in
//! its answers is trusted.

use std::{io, path::Path};

use qapi::{futures::QmpStreamTokio, qmp};

/// Asks the VMM to write its caches and exit.
pub async fn quit(socket: &Path) -> io::Result<()> {
    let stream = QmpStreamTokio::open_uds(socket).await?;
    let mut vmm = stream.negotiate().await?;
    vmm.execute(qmp::quit {}).await.map(drop).map_err(io::Error::other)
}

/// The error of a VMM that does not answer in time.
pub fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
