//! A home that the host has mounted for a container.

use futures_util::{FutureExt as _, future::BoxFuture};
use protocol::api::snapshot::Consistency;

use super::mounts::Mounts;
use crate::agent::HostHome;

impl HostHome for Mounts {
    /// Programs may write at the same time, so what is then in the volume is as after a crash: complete,
    /// with a journal.
    fn sync(&self) -> BoxFuture<'_, Result<Consistency, String>> {
        async {
            self.sync_home().await.map_err(|error| error.to_string())?;
            Ok(Consistency::Crash)
        }
        .boxed()
    }

    fn grow(&self, home_bytes: u64) -> BoxFuture<'_, Result<(), String>> {
        async move { self.grow_home(home_bytes).await.map_err(|error| error.to_string()) }.boxed()
    }
}
