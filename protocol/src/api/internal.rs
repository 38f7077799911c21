//! What the gateway asks the controller, over a Unix socket that nobody else may open.

use serde::{Deserialize, Serialize};

use crate::{Epoch, Redacted, SessionId, UserId, WorkspaceId, grant::Access};

/// `POST /internal/grants`.
pub const GRANTS_PATH: &str = "/internal/grants";
/// `POST /internal/sessions/check`.
pub const SESSIONS_CHECK_PATH: &str = "/internal/sessions/check";
/// `GET /internal/grant-key` → the controller's public key as JSON string.
pub const GRANT_KEY_PATH: &str = "/internal/grant-key";

/// Most streams in one check.
pub const MAX_SESSIONS_PER_CHECK: usize = 10_000;

/// May the bearer of this credential open a stream of this kind?
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The session cookie's value, or the bearer token.
    pub credential: Redacted<String>,
    pub workspace: WorkspaceId,
    /// What the route needs.
    pub needs: Access,
}

/// Yes: the grant, and where the runner is. No is a [`crate::problem::Problem`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantReply {
    pub grant: Redacted<String>,
    pub session: SessionId,
    pub user: UserId,
    pub access: Access,
    pub epoch: Epoch,
    /// As the runner reported it: a path of a Unix socket, or `host:port`.
    pub front: String,
}

/// Are these live streams still allowed?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsCheck {
    pub streams: Vec<LiveStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LiveStream {
    pub session: SessionId,
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
    pub access: Access,
}

/// Those that must be closed now, each as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsVerdict {
    pub revoked: Vec<LiveStream>,
}
