//! The home of a container: the session serves its volume, and the supervisor has the host mount it.

use std::io;

use futures_util::{FutureExt as _, future::BoxFuture};
use protocol::{
    api::snapshot::Consistency,
    home_disk::{BACKUP_BYTES, BACKUP_OFFSET, DiskContent, HEAD_BYTES},
};
use volume::Volume;

use super::super::RuntimeError;
use crate::{
    agent::HostHome,
    supervisor::{Supervisor, messages::HomeContent},
};

/// The mounted home.
pub struct MountedHome(pub Supervisor);

impl HostHome for MountedHome {
    /// Programs may write at the same time, so what is then in the volume is as after a crash: complete,
    /// with a journal.
    fn sync(&self) -> BoxFuture<'_, Result<Consistency, String>> {
        async {
            self.0.sync_home().await.map_err(|error| error.to_string())?;
            Ok(Consistency::Crash)
        }
        .boxed()
    }

    fn grow(&self, home_bytes: u64) -> BoxFuture<'_, Result<(), String>> {
        async move { self.0.grow_home(home_bytes).await.map_err(|error| error.to_string()) }.boxed()
    }
}

/// What a volume contains. Fails if it is no home.
pub async fn read_content(volume: &Volume) -> Result<HomeContent, RuntimeError> {
    let read = async |offset: u64, bytes: usize| {
        volume.read(offset, bytes as u64).await.map_err(|error| home_failed(error.to_string()))
    };
    let head = read(0, HEAD_BYTES.min(usize::try_from(volume.size_bytes()).unwrap_or(HEAD_BYTES))).await?;
    let mut content = DiskContent::parse(&head, &[]);
    if content == DiskContent::Blank && volume.size_bytes() >= BACKUP_OFFSET + BACKUP_BYTES as u64 {
        content = DiskContent::parse(&head, &read(BACKUP_OFFSET, BACKUP_BYTES).await?);
    }
    match content {
        DiskContent::Blank => Ok(HomeContent::Blank),
        DiskContent::Ext4(file_system) => Ok(HomeContent::FileSystem { bytes: file_system.bytes }),
        DiskContent::Unknown => {
            Err(home_failed("it contains something other than a home; nothing was changed"))
        }
    }
}

fn home_failed(cause: impl Into<String>) -> RuntimeError {
    RuntimeError::Io { action: "mount the home", source: io::Error::other(cause.into()) }
}
