//! Notices about changed workspaces, from any controller of the database: Postgres notifies,
//! subscribers receive.
//!
//! A notice says only which workspace changed, never how. Subscribers read the workspace again with
//! their own permissions.

use std::time::Duration;

use protocol::{TenantId, UserId, WorkspaceId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::db::Database;

/// The channel that the triggers of the migrations notify.
const CHANNEL: &str = "burrow_workspaces";
/// A subscriber that is further behind is told that it missed something.
const MAX_NOTICES: usize = 1024;
/// Delay before a lost connection is opened again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a subscriber receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// One workspace was created, changed or deleted.
    Changed(WorkspaceChange),
    /// Notices may be missing: anything may have changed.
    Missed,
}

/// A workspace that has changed, and who may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceChange {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub owner: UserId,
    /// Teacher of the class that the workspace belongs to.
    pub teacher: Option<UserId>,
}

/// Distributes notices. Clones share the subscribers.
#[derive(Clone)]
pub struct Events(broadcast::Sender<Notice>);

/// Receives all notices from its creation on.
pub struct Subscription(broadcast::Receiver<Notice>);

impl Events {
    pub fn new() -> Self {
        Self(broadcast::channel(MAX_NOTICES).0)
    }

    /// Subscribes to all notices from now on. Subscribe first, then read what you compare with.
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }

    /// Forwards Postgres' notifications until the shutdown.
    pub async fn run(self, database: Database, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                lost = self.forward(&database) => if let Err(error) = lost {
                    tracing::warn!(%error, "lost the connection for notifications, retrying");
                },
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }

    async fn forward(&self, database: &Database) -> Result<(), sqlx::Error> {
        let mut listener = database.listener().await?;
        listener.listen(CHANNEL).await?;
        self.publish(Notice::Missed);
        loop {
            // None: the listener has reconnected, and what was notified until then is lost.
            let notice = match listener.try_recv().await? {
                Some(notification) => parse(notification.payload()).map_or(Notice::Missed, Notice::Changed),
                None => Notice::Missed,
            };
            self.publish(notice);
        }
    }

    fn publish(&self, notice: Notice) {
        // An error means that there are no subscribers.
        let _ = self.0.send(notice);
    }
}

impl Subscription {
    /// The next notice. Waits forever once the sender is gone, which outlives all subscribers.
    pub async fn next(&mut self) -> Notice {
        match self.0.recv().await {
            Ok(notice) => notice,
            Err(broadcast::error::RecvError::Lagged(_)) => Notice::Missed,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Drops the notices that have been received but not read.
    pub fn skip_pending(&mut self) {
        self.0 = self.0.resubscribe();
    }

    /// Waits until this workspace may have changed.
    pub async fn wait_for(&mut self, workspace: WorkspaceId) {
        loop {
            match self.next().await {
                Notice::Changed(change) if change.workspace != workspace => {}
                Notice::Changed(_) | Notice::Missed => return,
            }
        }
    }
}

/// Parses the payload of a notification: tenant, workspace, owner, and the teacher if there is one.
fn parse(payload: &str) -> Option<WorkspaceChange> {
    let mut fields = payload.split(' ');
    Some(WorkspaceChange {
        tenant: fields.next()?.parse().ok()?,
        workspace: fields.next()?.parse().ok()?,
        owner: fields.next()?.parse().ok()?,
        teacher: fields.next().and_then(|field| field.parse().ok()),
    })
}
