//! Requests of the gateway and of `burrow` on the same host to the controller, each over a Unix socket
//! that only it can open.

use serde::{Deserialize, Serialize};

use crate::{Access, Epoch, Redacted, SessionId, UserId, WorkspaceId, agent::RouteKind};

/// Path of [`GrantRequest`] → [`GrantReply`].
pub const GRANTS_PATH: &str = "/internal/grants";
/// Path of [`SessionsCheck`] → [`SessionsVerdict`].
pub const SESSIONS_CHECK_PATH: &str = "/internal/sessions/check";
/// Path of the controller's public grant key, a JSON string.
pub const GRANT_KEY_PATH: &str = "/internal/grant-key";

/// Path that creates a [`SignInLink`] for the first owner.
pub const SIGN_IN_LINK_PATH: &str = "/internal/sign-in-link";

/// Most streams in one check.
pub const MAX_SESSIONS_PER_CHECK: usize = 10_000;

/// A one-time link for the first owner, for processes of the controller's own user: they can read the
/// database too. The gateway cannot ask for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignInLink {
    /// `/welcome#<token>`, to be appended to the server's address.
    pub path: Redacted<String>,
}

/// Asks whether a credential may open a stream to a workspace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantRequest {
    /// Value of the session cookie, or the bearer token.
    pub credential: Redacted<String>,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Access that the route requires.
    pub needs: Access,
    /// What the route is about.
    pub kind: RouteKind,
    /// Network address of the client, for the audit log.
    #[serde(default)]
    pub address: String,
}

/// The grant, and where to present it. A refusal is a [`crate::problem::Problem`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantReply {
    /// The signed grant.
    pub grant: Redacted<String>,
    /// Session of the caller.
    pub session: SessionId,
    /// The caller.
    pub user: UserId,
    /// Access that the grant gives.
    pub access: Access,
    /// The placement that it is valid for.
    pub epoch: Epoch,
    /// Address of the runner's front: a Unix socket's path, or `host:port`.
    pub front: String,
}

/// Asks which live streams must be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsCheck {
    /// All live streams of the gateway.
    pub streams: Vec<LiveStream>,
}

/// What a live stream was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LiveStream {
    /// Session that opened it.
    pub session: SessionId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The placement it is connected to.
    pub epoch: Epoch,
    /// Access it was granted.
    pub access: Access,
}

/// The streams to close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsVerdict {
    /// As they were sent.
    pub revoked: Vec<LiveStream>,
}
