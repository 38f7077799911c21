//! The state that all parts of one controller share.

use std::sync::{Arc, atomic::AtomicBool};

use daemon::Tasks;
use protocol::{UserId, WorkspaceId, grant::SigningKey};
use time::OffsetDateTime;
use tokio::sync::Notify;
use volume::ObjectStore;

use crate::{
    api::Uploads,
    config::Config,
    db::Database,
    disk::DiskMonitor,
    engine::local::LocalEngine,
    events::{Events, Subscription},
    fair_permits::FairPermits,
    identity::{passwords::Passwords, rate_limits::RateLimits},
    kms::Kms,
    lifecycle::{
        Event,
        record::{self, EndRunner},
    },
    snapshots::{browser::SnapshotBrowser, chunks::ChunkReaders, gc::Gc},
    workspaces::{access_log::AccessLog, restores::ActiveRestores},
};

/// A [`Core`] that handlers and background tasks share.
pub type App = Arc<Core>;

/// The server shuts down, so what is waited for may never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The server is shutting down. Try again in a moment")]
pub struct ShuttingDown;

/// Everything that a request or a background task may need. It is made once, by
/// [`crate::Controller::start`].
pub struct Core {
    pub config: Config,
    pub db: Database,
    pub kms: Arc<Kms>,
    /// Signs grants.
    pub signing: SigningKey,
    pub passwords: Passwords,
    pub rate_limits: RateLimits,
    pub access_log: AccessLog,
    pub events: Events,
    pub engine: LocalEngine,
    /// What is used of the disk of this host, and what may be.
    pub disk: DiskMonitor,
    /// The object store of all homes.
    pub store: Arc<dyn ObjectStore>,
    /// Objects that runners send at the same time.
    pub uploads: Uploads,
    /// Opens snapshots for reading files.
    pub browser: SnapshotBrowser,
    /// Opens snapshots for reading chunks.
    pub chunk_readers: ChunkReaders,
    /// Scrubs that read at the same time. One uses all that the store can deliver.
    pub scrub_permits: FairPermits<UserId>,
    pub gc: Gc,
    /// The restores of files that run now.
    pub restores: ActiveRestores,
    /// Wakes the janitor of the caches: a workspace was deleted, or a runner has ended.
    pub cache_notice: Notify,
    pub tasks: Tasks,
    /// Set when the controller is about to end. Nothing is placed from then on.
    pub is_draining: AtomicBool,
}

impl Core {
    /// The time now, as exact as the database stores it, so that what is read back compares equal.
    #[expect(clippy::unused_self, reason = "the clock belongs to the core, although all cores have the same")]
    pub fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        now.replace_nanosecond(now.nanosecond() / 1000 * 1000).expect("fewer nanoseconds")
    }

    /// Applies one event to a workspace, in a transaction of its own. A workspace that is deleted
    /// is left as it is.
    pub async fn apply_event(&self, workspace: WorkspaceId, event: Event) -> Result<(), sqlx::Error> {
        self.apply_event_at(self.now(), workspace, event).await
    }

    /// Like [`Self::apply_event`], at a given time.
    pub async fn apply_event_at(
        &self,
        now: OffsetDateTime,
        workspace: WorkspaceId,
        event: Event,
    ) -> Result<(), sqlx::Error> {
        let mut system = self.db.system().await?;
        let runners = record::apply_event(system.connection(), now, workspace, event).await?;
        system.commit().await?;
        self.end_runners(runners.unwrap_or_default());
        Ok(())
    }

    /// Waits until a workspace may have changed. Fails if the server shuts down.
    pub async fn wait_for_change(
        &self,
        subscription: &mut Subscription,
        workspace: WorkspaceId,
    ) -> Result<(), ShuttingDown> {
        tokio::select! {
            () = self.tasks.shutdown().cancelled() => Err(ShuttingDown),
            () = subscription.wait_for(workspace) => Ok(()),
        }
    }

    /// Ends runners, once the transaction that decided so is committed.
    pub fn end_runners(&self, runners: Vec<EndRunner>) {
        for EndRunner { workspace, epoch } in runners {
            self.engine.end(workspace, epoch);
        }
    }
}
