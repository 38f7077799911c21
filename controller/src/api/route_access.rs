//! What each route of the public API asks of the session: one table. A route that is not in it is refused.

use axum::http::Method;
use protocol::{Code, api::auth::TokenScope};

use super::error::{ApiError, Result};
use crate::identity::sessions::OpenSession;

use RouteAccess::{Browser, Open, Token};
use TokenScope::{Admin, Read, Workspaces};

/// What a route asks of the session. What the user may do is decided in [`crate::authz`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAccess {
    /// No session: the body is itself a credential, or the response is public.
    Open,
    /// The session of a browser, or a token with at least this scope.
    Token(TokenScope),
    /// The session of a browser. With a token, a stolen one would give itself more time or power.
    Browser,
}

/// Method, path below the prefix, and access.
const TABLE: &[(&str, &str, RouteAccess)] = &[
    ("GET", "/version", Open),
    // Accounts
    ("POST", "/auth/link", Open),
    ("POST", "/auth/login", Open),
    ("GET", "/auth/session", Token(Read)),
    ("POST", "/auth/logout", Token(Read)),
    ("POST", "/auth/confirm", Token(Read)),
    ("POST", "/auth/password", Browser),
    ("POST", "/auth/device", Open),
    ("POST", "/auth/device/token", Open),
    ("POST", "/auth/device/approve", Browser),
    ("GET", "/auth/device/{user_code}", Browser),
    ("GET", "/tokens", Token(Read)),
    ("POST", "/tokens", Browser),
    ("DELETE", "/tokens/{id}", Token(Workspaces)),
    ("POST", "/invitations/view", Open),
    ("POST", "/invitations/accept", Open),
    ("GET", "/users/me", Token(Read)),
    ("PATCH", "/users/me", Browser),
    ("GET", "/users/me/settings", Token(Read)),
    ("PATCH", "/users/me/settings", Token(Workspaces)),
    ("GET", "/users", Token(Read)),
    ("POST", "/users", Token(Admin)),
    ("PATCH", "/users/{id}", Token(Admin)),
    ("POST", "/users/{id}/password-reset", Token(Admin)),
    ("DELETE", "/users/{id}/sessions", Token(Admin)),
    // Workspaces
    ("GET", "/templates", Token(Read)),
    ("GET", "/workspaces", Token(Read)),
    ("POST", "/workspaces", Token(Workspaces)),
    ("GET", "/workspaces/deleted", Token(Read)),
    ("GET", "/workspaces/events", Token(Read)),
    ("GET", "/workspaces/{id}", Token(Read)),
    ("PATCH", "/workspaces/{id}", Token(Workspaces)),
    ("DELETE", "/workspaces/{id}", Token(Workspaces)),
    ("GET", "/workspaces/{id}/events", Token(Read)),
    ("GET", "/workspaces/{id}/settings", Token(Read)),
    ("PATCH", "/workspaces/{id}/settings", Token(Workspaces)),
    ("POST", "/workspaces/{id}/start", Token(Workspaces)),
    ("POST", "/workspaces/{id}/stop", Token(Workspaces)),
    ("POST", "/workspaces/{id}/hold", Token(Workspaces)),
    ("POST", "/workspaces/{id}/undelete", Token(Workspaces)),
    ("POST", "/workspaces/{id}/fork", Token(Workspaces)),
    ("GET", "/workspaces/{id}/network", Token(Read)),
    ("PUT", "/workspaces/{id}/network", Token(Workspaces)),
    ("POST", "/workspaces/{id}/network/names", Token(Workspaces)),
    ("GET", "/workspaces/{id}/port-settings", Token(Read)),
    ("PUT", "/workspaces/{id}/port-settings/{port}", Token(Workspaces)),
    ("POST", "/workspaces/{id}/port-settings/{port}/ticket", Browser),
    // Snapshots and transfers
    ("GET", "/workspaces/{id}/snapshots", Token(Read)),
    ("POST", "/workspaces/{id}/snapshots", Token(Workspaces)),
    ("PATCH", "/workspaces/{id}/snapshots/{snapshot}", Token(Workspaces)),
    ("DELETE", "/workspaces/{id}/snapshots/{snapshot}", Token(Workspaces)),
    ("GET", "/workspaces/{id}/snapshots/{snapshot}/files", Token(Read)),
    ("GET", "/workspaces/{id}/snapshots/{snapshot}/content", Token(Read)),
    ("GET", "/workspaces/{id}/snapshots/{snapshot}/archive", Token(Read)),
    ("GET", "/workspaces/{id}/snapshots/{snapshot}/changes", Token(Read)),
    ("GET", "/workspaces/{id}/snapshots/{snapshot}/diff", Token(Read)),
    ("GET", "/workspaces/{id}/snapshots/{snapshot}/chunks", Token(Read)),
    ("POST", "/workspaces/{id}/snapshots/{snapshot}/chunks", Token(Read)),
    ("POST", "/workspaces/{id}/restore", Token(Workspaces)),
    ("POST", "/workspaces/{id}/restores", Token(Workspaces)),
    ("POST", "/workspaces/{id}/restores/{restore}/undo", Token(Workspaces)),
    ("POST", "/workspaces/{id}/scrub", Token(Workspaces)),
    ("POST", "/imports", Token(Workspaces)),
    ("GET", "/imports/{id}/chunks", Token(Workspaces)),
    ("PUT", "/imports/{id}/chunks", Token(Workspaces)),
    ("POST", "/imports/{id}/finish", Token(Workspaces)),
    // Classes
    ("GET", "/classes", Token(Read)),
    ("POST", "/classes", Token(Workspaces)),
    ("GET", "/classes/{id}", Token(Read)),
    ("DELETE", "/classes/{id}", Token(Workspaces)),
    ("GET", "/classes/{id}/events", Token(Read)),
    ("POST", "/classes/{id}/start", Token(Workspaces)),
    ("POST", "/classes/{id}/stop", Token(Workspaces)),
    ("POST", "/classes/{id}/roster", Token(Workspaces)),
    ("GET", "/classes/{id}/network", Token(Read)),
    ("PUT", "/classes/{id}/network", Token(Workspaces)),
    ("DELETE", "/classes/{id}/members/{member}", Token(Workspaces)),
    ("POST", "/classes/{id}/members/{member}/invitation", Token(Workspaces)),
    // The organisation
    ("PUT", "/templates/{name}/network", Token(Admin)),
    ("GET", "/network", Token(Read)),
    ("PUT", "/network", Token(Admin)),
    ("GET", "/retention", Token(Read)),
    ("PUT", "/retention", Token(Admin)),
    ("GET", "/budgets", Token(Read)),
    ("PATCH", "/budgets/users/{id}", Token(Admin)),
    ("PATCH", "/budgets/classes/{id}", Token(Admin)),
    ("GET", "/usage", Token(Read)),
    ("GET", "/usage/export", Token(Read)),
    ("GET", "/audit", Token(Read)),
    ("GET", "/audit/export", Token(Read)),
    ("POST", "/audit/verify", Token(Read)),
    ("GET", "/audit/retention", Token(Read)),
    ("PUT", "/audit/retention", Token(Admin)),
    ("GET", "/admin/disk", Token(Admin)),
    ("POST", "/admin/gc", Token(Admin)),
    ("GET", "/admin/tenant-key", Token(Read)),
    ("POST", "/admin/destroy-tenant-key", Token(Admin)),
    ("POST", "/admin/destroy-tenant-key/undo", Token(Admin)),
];

impl RouteAccess {
    /// Finds what a route asks for. `template` is its path below the prefix, with names in braces.
    pub fn of(method: &str, template: &str) -> Option<Self> {
        // A response without its body tells no more than the response.
        let method = if method == Method::HEAD.as_str() { Method::GET.as_str() } else { method };
        TABLE.iter().find(|(its_method, path, _)| *its_method == method && *path == template).map(|row| row.2)
    }

    /// Refuses a session that may not use the route.
    pub fn check(self, session: &OpenSession) -> Result<()> {
        match (self, session.token_scope()) {
            (Open, _) | (_, None) => Ok(()),
            (Token(needed), Some(scope)) if scope >= needed => Ok(()),
            (Token(needed), Some(scope)) => Err(ApiError::new(
                Code::Forbidden,
                format!(
                    "This token may not do this: it has the scope {} and needs {}. Use another token, or \
                     run `burrow login --scope {}`.",
                    scope.as_str(),
                    needed.as_str(),
                    needed.as_str(),
                ),
            )),
            (Browser, Some(_)) => Err(ApiError::new(
                Code::Forbidden,
                "A token cannot create tokens, approve device logins or change your account. \
                 Sign in for this.",
            )),
        }
    }
}
