//! Requests of the gateway and of `burrow` on the same host to the controller, each over a Unix socket
//! that only it can open.

use serde::{Deserialize, Serialize};

use crate::{
    Access, Epoch, Redacted, SessionId, TenantId, UserId, WorkspaceId, agent::RouteKind,
    api::budget::EditBudget, ports::PreviewTarget,
};

/// Path of [`GrantRequest`] → [`GrantReply`].
pub const GRANTS_PATH: &str = "/internal/grants";
/// Path of [`PreviewGrantRequest`] → [`GrantReply`].
pub const PREVIEW_GRANTS_PATH: &str = "/internal/previews/grant";
/// Path of [`PreviewTicketRequest`] → [`PreviewCookie`].
pub const PREVIEW_TICKETS_PATH: &str = "/internal/previews/redeem";
/// Path of [`SessionsCheck`] → [`SessionsVerdict`].
pub const SESSIONS_CHECK_PATH: &str = "/internal/sessions/check";
/// Path of the controller's public grant key, a JSON string.
pub const GRANT_KEY_PATH: &str = "/internal/grant-key";

/// Path that creates a [`SignInLink`] for the first owner.
pub const SIGN_IN_LINK_PATH: &str = "/internal/sign-in-link";

/// Path of [`TenantBudgetRequest`] → the [`BudgetList`](crate::api::budget::BudgetList) of the tenants.
pub const TENANT_BUDGETS_PATH: &str = "/internal/budgets";

/// Most streams in one check.
pub const MAX_SESSIONS_PER_CHECK: usize = 10_000;

/// A one-time link for the first owner, for processes of the controller's own user: they can read the
/// database too. The gateway cannot ask for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignInLink {
    /// `/welcome#<token>`, to be appended to the server's address.
    pub path: Redacted<String>,
}

/// Reads the budgets of all tenants, or changes that of one first. For the operator, like [`SignInLink`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TenantBudgetRequest {
    /// The tenant whose budget changes. None: the only one.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// What changes.
    #[serde(default)]
    pub edit: EditBudget,
    /// The new weight in the queue of starts: 1 to
    /// [`MAX_QUEUE_WEIGHT`](crate::api::budget::MAX_QUEUE_WEIGHT).
    #[serde(default)]
    pub queue_weight: Option<u32>,
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

/// Asks whether the visitor of a preview may connect to its port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewGrantRequest {
    /// Value of the preview's cookie, if there is one that may be used.
    pub credential: Option<Redacted<String>>,
    /// The preview.
    pub target: PreviewTarget,
}

/// Exchanges a ticket, which works once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewTicketRequest {
    /// The ticket.
    pub ticket: Redacted<String>,
    /// The preview whose origin it was presented to.
    pub target: PreviewTarget,
}

/// What a ticket was exchanged for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewCookie {
    /// Value of the preview's cookie.
    pub secret: Redacted<String>,
    /// How long it is valid.
    pub max_age_seconds: u32,
}

/// The grant, and where to present it. A refusal is a [`crate::problem::Problem`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantReply {
    /// The signed grant.
    pub grant: Redacted<String>,
    /// Session of the caller. Of visitors without one: [`LiveStream::public_session`].
    pub session: SessionId,
    /// The caller. Of visitors without a session: the nil id.
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
    /// The port of a preview's stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_port: Option<u16>,
}

impl LiveStream {
    /// Stands for the session of all visitors of a workspace's public ports who have none: they share its
    /// limits.
    pub fn public_session(workspace: WorkspaceId) -> SessionId {
        SessionId(workspace.0)
    }
}

/// The streams to close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsVerdict {
    /// As they were sent.
    pub revoked: Vec<LiveStream>,
}
