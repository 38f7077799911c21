//! Signing in and out: one-time links, passwords, device logins, personal access tokens.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::user::User;
use crate::{Access, Redacted};

/// Name of the session cookie over https and on loopback.
pub const COOKIE: &str = "__Host-burrow";
/// Name of the session cookie over plain http from another host, where browsers refuse `__Host-` cookies.
/// The server warns when it uses this name.
pub const COOKIE_PLAIN: &str = "burrow";
/// Prefix of every personal access token, so that secret scanners find them.
pub const TOKEN_PREFIX: &str = "brw_";

/// What a token may do, in ascending order. It never exceeds what its user may do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// See everything that the user can see, and change nothing.
    Read,
    /// Also everything with workspaces, snapshots, transfers and classes.
    #[default]
    Workspaces,
    /// Also manage users and what holds for the whole organisation.
    Admin,
}

impl TokenScope {
    /// The least scope for a stream with this access.
    pub fn for_access(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::Write => Self::Workspaces,
        }
    }

    /// The most access to a stream that a token with this scope gets.
    pub fn max_access(self) -> Access {
        if self == Self::Read { Access::Read } else { Access::Write }
    }

    /// The scope as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Workspaces => "workspaces",
            Self::Admin => "admin",
        }
    }
}

/// A sign-in by a one-time link.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"token": "8k2N…"}))]
pub struct LinkSignIn {
    /// The part of the link behind `#`, which reaches no log.
    #[schema(value_type = String)]
    pub token: Redacted<String>,
}

/// A sign-in by email and password.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"email": "anna@example.org", "password": "correct horse battery"}))]
pub struct Login {
    /// Compared without regard to case.
    pub email: String,
    /// The account's password.
    #[schema(value_type = String)]
    pub password: Redacted<String>,
}

/// The password of the current user, as a proof that it is the user who acts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"password": "correct horse battery"}))]
pub struct ConfirmPassword {
    /// The account's password.
    #[schema(value_type = String)]
    pub password: Redacted<String>,
}

/// A new password for the current user. Every other session ends.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"current": null, "new": "correct horse battery"}))]
pub struct SetPassword {
    /// The current password. Optional only if none is set, or if the session began with a link in
    /// the last ten minutes.
    #[schema(value_type = Option<String>)]
    pub current: Option<Redacted<String>>,
    /// 10 to 200 characters. Common and guessable passwords are refused.
    #[schema(value_type = String)]
    pub new: Redacted<String>,
}

/// The session that the request belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The signed-in user.
    pub user: User,
    /// When the session ends if it is not used.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// What the token may do. Absent if the session is a browser's.
    #[serde(default)]
    pub token_scope: Option<TokenScope>,
    /// When the key of the organisation, and with it every home, is going to be destroyed. Absent if
    /// nobody has requested that.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub destroy_key_at: Option<OffsetDateTime>,
}

/// The start of a device login (RFC 8628).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"client_name": "burrow on anna's laptop"}))]
pub struct DeviceRequest {
    /// What the user sees when they approve: "burrow on anna's laptop". At most 100 characters.
    pub client_name: String,
    /// What the program asks to be allowed. `workspaces` if absent.
    #[serde(default)]
    pub scope: TokenScope,
}

/// The two codes of a device login.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"device_code": "Qm3f…", "user_code": "BDFH-KLMN", "verification_path": "/device",
    "expires_in_seconds": 600, "interval_seconds": 2}))]
pub struct DeviceCode {
    /// For the program: the secret to poll with.
    #[schema(value_type = String)]
    pub device_code: Redacted<String>,
    /// For the user: eight letters, `ABCD-EFGH`.
    pub user_code: String,
    /// Path of the page where the user enters the code: `/device`.
    pub verification_path: String,
    /// After so many seconds the codes are void.
    pub expires_in_seconds: u64,
    /// Pause between two polls.
    pub interval_seconds: u64,
}

/// A poll of a device login.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"device_code": "Qm3f…"}))]
pub struct DeviceTokenRequest {
    /// From the answer that started the login.
    #[schema(value_type = String)]
    pub device_code: Redacted<String>,
}

/// The user's decision about a device login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"user_code": "BDFH-KLMN", "approve": true}))]
pub struct DeviceApproval {
    /// The code that the program shows.
    pub user_code: String,
    /// `false` denies the login.
    pub approve: bool,
}

/// A pending device login, as shown to the user who decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"client_name": "burrow on anna's laptop", "scope": "workspaces",
    "requested_at": "2026-03-02T09:14:07Z"}))]
pub struct DeviceInfo {
    /// The name that the program gave itself. Not verified.
    pub client_name: String,
    /// What the program may do if the login is approved.
    pub scope: TokenScope,
    /// When the program asked.
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
}

/// A personal access token to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "ci", "days": 30, "scope": "workspaces"}))]
pub struct NewToken {
    /// Tells tokens apart in the list. At most 200 characters.
    pub name: String,
    /// Lifetime in days, 1 to 365. 90 if absent.
    pub days: Option<u16>,
    /// What the token may do. `workspaces` if absent.
    #[serde(default)]
    pub scope: TokenScope,
}

/// A new token with its secret, which is returned once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenSecret {
    /// The token as it is listed from now on.
    pub info: TokenInfo,
    /// The secret: `brw_…`.
    #[schema(value_type = String)]
    pub token: Redacted<String>,
}

/// A personal access token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182", "name": "ci", "scope": "workspaces",
    "created_at": "2026-03-02T09:14:07Z",
    "expires_at": "2026-04-01T09:14:07Z", "last_used_at": null}))]
pub struct TokenInfo {
    /// Names the token in `DELETE /tokens/{id}`.
    pub id: Uuid,
    /// The name it was created with.
    pub name: String,
    /// What the token may do.
    pub scope: TokenScope,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// Last use, to within five minutes. Absent if it was never used.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_used_at: Option<OffsetDateTime>,
}

/// The tokens of the current user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// Newest first.
    pub tokens: Vec<TokenInfo>,
}
