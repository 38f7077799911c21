//! One link per placement of a workspace, made when it is first needed and again when it has broken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{Epoch, WorkspaceId};
use transport::{Link, LinkError};

/// A placement: another epoch is another runner, whatever its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
    pub front: String,
}

/// The lock is held while a link is being made, so that many streams at once make one.
type Slot = Arc<tokio::sync::Mutex<Option<Link>>>;

#[derive(Debug, Default)]
pub struct Links(Mutex<HashMap<Place, Slot>>);

impl Links {
    /// The link to `place`.
    pub async fn get(&self, place: &Place) -> Result<Link, LinkError> {
        let slot = self.lock().entry(place.clone()).or_default().clone();
        let mut link = slot.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        *link = None;
        let made = Link::connect(&place.front).await?;
        Ok(link.insert(made).clone())
    }

    /// Forgets broken links, and places nobody got through to.
    pub fn sweep(&self) {
        self.lock().retain(|_, slot| match slot.try_lock() {
            Ok(link) => link.as_ref().is_some_and(|link| !link.is_closed()),
            Err(_) => true,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
