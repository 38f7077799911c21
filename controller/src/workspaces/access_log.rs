//! Records in the audit log that somebody opens streams to a workspace, sees the content of another user's
//! workspace, or runs programs.
//!
//! A page opens several streams and opens them again after each interruption, and a script may run
//! programs in a loop. Entries are limited for each session and workspace, so that neither fills the
//! database: the first ones are exact, and a use that continues appears again and again.

use std::time::{Duration, Instant};

use protocol::{SessionId, UserId, WorkspaceId};

use crate::{
    audit,
    db::Scope,
    identity::rate_limits::{KeyedLimit, Limit},
};

/// Connecting, watching and browsing: once in ten minutes.
const READING: Limit = Limit { burst: 1, refill_interval: Duration::from_mins(10) };
/// Programs: each of the first 100, then one in ten seconds.
const EXEC: Limit = Limit { burst: 100, refill_interval: Duration::from_secs(10) };
/// Pairs of a session and a workspace that are remembered.
const MAX_KEYS: usize = 20_000;

/// A use of a workspace that the audit log mentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentAccess {
    /// The owner opens terminals, documents or files of the running workspace.
    Connect,
    /// Another user sees terminals, documents or files of the running workspace.
    Watch,
    /// Another user reads files of its snapshots.
    Browse,
    /// A program runs. Its name and arguments are not recorded.
    Exec,
}

impl ContentAccess {
    /// Its name in the audit log.
    pub fn action(self) -> &'static str {
        match self {
            Self::Connect => "workspace.connect",
            Self::Watch => "workspace.watch",
            Self::Browse => "workspace.browse",
            Self::Exec => "workspace.exec",
        }
    }
}

type Key = (SessionId, WorkspaceId, ContentAccess);

/// Which uses were recorded lately.
pub struct AccessLog {
    reading: KeyedLimit<Key>,
    exec: KeyedLimit<Key>,
}

impl AccessLog {
    pub fn new() -> Self {
        Self { reading: KeyedLimit::new(READING, MAX_KEYS), exec: KeyedLimit::new(EXEC, MAX_KEYS) }
    }

    /// Commits the transaction that permits a use, with its entry if there has to be one. Without the
    /// entry there is no use.
    pub async fn commit(
        &self,
        mut scope: Scope,
        content: Option<ContentAccess>,
        workspace: WorkspaceId,
        owner: UserId,
    ) -> Result<(), sqlx::Error> {
        let Some(content) = content else { return scope.commit().await };
        let key = (scope.caller().session, workspace, content);
        let limit = if content == ContentAccess::Exec { &self.exec } else { &self.reading };
        if limit.check(Instant::now(), key).is_err() {
            return scope.commit().await;
        }
        let written = async {
            let detail = serde_json::json!({ "owner": owner });
            audit::write(&mut scope, content.action(), &workspace.to_string(), detail).await?;
            scope.commit().await
        };
        let written = written.await;
        if written.is_err() {
            // The next use is the first one that is recorded.
            limit.reset(&key);
        }
        written
    }
}
