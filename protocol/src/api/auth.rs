//! Signing in and out: links, passwords, device codes, tokens.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::user::User;
use crate::Redacted;

/// The session cookie's name on https and on loopback.
pub const COOKIE: &str = "__Host-burrow";
/// Its name on plain http to another machine, where a browser takes no `__Host-` cookie. Served with a warning.
pub const COOKIE_PLAIN: &str = "burrow";
/// What a personal access token begins with, so that secret scanners find it.
pub const TOKEN_PREFIX: &str = "brw_";

/// `POST /api/v1/auth/link`: the one-time token of a sign-in link (it stands behind `#`, so it reaches no log).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkSignIn {
    #[schema(value_type = String)]
    pub token: Redacted<String>,
}

/// `POST /api/v1/auth/login`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Login {
    pub email: String,
    #[schema(value_type = String)]
    pub password: Redacted<String>,
}

/// `POST /api/v1/auth/password`: sets or changes the own password. Ends every other session.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SetPassword {
    /// Needed where a password is set, unless the session began by a link in the last ten minutes.
    #[schema(value_type = Option<String>)]
    pub current: Option<Redacted<String>>,
    /// 10 ..= 200 characters.
    #[schema(value_type = String)]
    pub new: Redacted<String>,
}

/// The answer to each way of signing in (beside the cookie), and to `GET /api/v1/auth/session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub user: User,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// `POST /api/v1/auth/device` (open; RFC 8628).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceRequest {
    /// Shown to the person who approves: "burrow on anna's laptop".
    pub client_name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceCode {
    /// For the program, to ask with.
    #[schema(value_type = String)]
    pub device_code: Redacted<String>,
    /// For the person: eight letters, `ABCD-EFGH`.
    pub user_code: String,
    /// Path of the page to approve on: `/device`.
    pub verification_path: String,
    pub expires_in_seconds: u64,
    pub interval_seconds: u64,
}

/// `POST /api/v1/auth/device/token` (open): [`crate::problem::Code::AuthorizationPending`] until approved.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceTokenRequest {
    #[schema(value_type = String)]
    pub device_code: Redacted<String>,
}

/// `POST /api/v1/auth/device/approve` (signed in) and `GET /api/v1/auth/device/{user_code}` → [`DeviceInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceApproval {
    pub user_code: String,
    /// False refuses it.
    pub approve: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceInfo {
    pub client_name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
}

/// `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    pub name: String,
    /// 1 ..= 365; absent: 90.
    pub days: Option<u16>,
}

/// A new token: the only time its text is seen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenSecret {
    pub info: TokenInfo,
    #[schema(value_type = String)]
    pub token: Redacted<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    pub id: Uuid,
    pub name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_used_at: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    pub tokens: Vec<TokenInfo>,
}
