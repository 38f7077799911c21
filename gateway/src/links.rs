//! The links to runners' fronts: one per placement, made on first use and again after it broke.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::{Epoch, WorkspaceId};
use transport::{Link, LinkError};

/// A placement of a workspace and where its runner listens. A new epoch means a new runner, even at
/// the same address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
    /// Path of the front's Unix socket, or `host:port`.
    pub front: String,
}

/// The link to one placement. Its lock is held while the link is made, so that concurrent streams share one.
type LinkSlot = Arc<tokio::sync::Mutex<Option<Link>>>;

/// All links of the gateway.
#[derive(Debug, Default)]
pub struct LinkPool(Mutex<HashMap<Placement, LinkSlot>>);

impl LinkPool {
    /// Returns the link to `placement`. Connects if there is none or the last one is closed.
    pub async fn get(&self, placement: &Placement) -> Result<Link, LinkError> {
        let slot = self.lock().entry(placement.clone()).or_default().clone();
        let mut link = slot.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        *link = None;
        let connected = Link::connect(&placement.front).await?;
        Ok(link.insert(connected).clone())
    }

    /// Removes closed links, and placements that could not be connected to. Slots in use stay.
    pub fn remove_closed(&self) {
        self.lock().retain(|_, slot| match slot.try_lock() {
            Ok(link) => link.as_ref().is_some_and(|link| !link.is_closed()),
            Err(_) => true,
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Placement, LinkSlot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
