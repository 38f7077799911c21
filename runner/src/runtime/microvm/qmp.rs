//! The VMM's own protocol: what we tell it. A VMM that a guest took over says what it likes; nothing it says is believed.

use std::{io, path::Path};

use qapi::{futures::QmpStreamTokio, qmp};

/// Tells the VMM to write what it holds and go.
pub async fn quit(socket: &Path) -> io::Result<()> {
    let stream = QmpStreamTokio::open_uds(socket).await?;
    let mut vmm = stream.negotiate().await?;
    vmm.execute(qmp::quit {}).await.map(drop).map_err(io::Error::other)
}

pub fn late() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
