//! News of workspaces, from whichever controller changed them: Postgres tells all, here it is handed on.
//!
//! A notice says only what has changed, never how: whoever cares reads it anew through a scope of their own.

use protocol::{TenantId, UserId, WorkspaceId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::db::Database;

const CHANNEL: &str = "burrow_workspaces";
/// A listener so far behind is told to read everything anew.
const MAX_NOTICES: usize = 1024;
/// Pause before a lost listener is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    Changed(Changed),
    /// Something may have been missed.
    Anything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub owner: UserId,
    pub teacher: Option<UserId>,
}

#[derive(Clone)]
pub struct Hub(broadcast::Sender<Notice>);

/// One listener's end.
pub struct Ear(broadcast::Receiver<Notice>);

impl Hub {
    pub fn new() -> Self {
        Self(broadcast::channel(MAX_NOTICES).0)
    }

    /// Hears everything from now on.
    pub fn listen(&self) -> Ear {
        Ear(self.0.subscribe())
    }

    /// Hands on what Postgres tells, until the shutdown.
    pub async fn run(self, database: Database, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                lost = self.follow(&database) => if let Err(error) = lost {
                    tracing::warn!(%error, "the database's notices are lost; trying again");
                },
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn follow(&self, database: &Database) -> Result<(), sqlx::Error> {
        let mut listener = database.listener().await?;
        listener.listen(CHANNEL).await?;
        self.tell(Notice::Anything);
        loop {
            // The listener connects again by itself; what was said meanwhile is lost.
            let notice = match listener.try_recv().await? {
                Some(notice) => parse(notice.payload()).map_or(Notice::Anything, Notice::Changed),
                None => Notice::Anything,
            };
            self.tell(notice);
        }
    }

    fn tell(&self, notice: Notice) {
        // Nobody listens: nobody needs it.
        let _ = self.0.send(notice);
    }
}

impl Ear {
    /// The next notice. It ends with the hub, which is never before its listeners.
    pub async fn next(&mut self) -> Notice {
        match self.0.recv().await {
            Ok(notice) => notice,
            Err(broadcast::error::RecvError::Lagged(_)) => Notice::Anything,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Forgets what was said until now.
    pub fn skip(&mut self) {
        self.0 = self.0.resubscribe();
    }

    /// Until something is said that may concern this workspace.
    pub async fn hear_of(&mut self, workspace: WorkspaceId) {
        loop {
            match self.next().await {
                Notice::Changed(changed) if changed.workspace != workspace => {}
                Notice::Changed(_) | Notice::Anything => return,
            }
        }
    }
}

fn parse(payload: &str) -> Option<Changed> {
    let mut words = payload.split(' ');
    Some(Changed {
        tenant: words.next()?.parse().ok()?,
        workspace: words.next()?.parse().ok()?,
        owner: words.next()?.parse().ok()?,
        teacher: words.next().and_then(|word| word.parse().ok()),
    })
}
