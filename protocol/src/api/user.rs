//! Users of a tenant.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Redacted, TenantId, UserId};

/// What a user may do in the tenant, in ascending order of rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May use their own workspaces and the classes they joined.
    Member,
    /// A member who may also read the audit log of the tenant.
    Auditor,
    /// May also run classes and see their students' workspaces.
    Teacher,
    /// May also manage users and everything else of the tenant.
    Owner,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9011",
    "tenant": "0197a3b0-0f1e-7d2c-8b3a-495867768594", "tenant_name": "Example School",
    "email": "anna@example.org", "name": "Anna Lind", "role": "teacher", "has_password": true,
    "suspended_at": null,
    "created_at": "2026-03-02T09:14:07Z"}))]
pub struct User {
    /// Identifies the user.
    pub id: UserId,
    /// The organisation that the user belongs to.
    pub tenant: TenantId,
    /// Its name.
    pub tenant_name: String,
    /// Unique in the tenant, without regard to case.
    pub email: String,
    /// The name that others see.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// `false` for a user who has only signed in by a link.
    pub has_password: bool,
    /// When the user was suspended. A suspended user cannot sign in, and their workspaces are stopped.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub suspended_at: Option<OffsetDateTime>,
    /// When the account was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// The users of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// Oldest account first.
    pub users: Vec<User>,
}

/// A user to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"email": "anna@example.org", "name": "Anna Lind", "role": "teacher"}))]
pub struct NewUser {
    /// An address that no other user of the tenant has.
    pub email: String,
    /// One line of at most 200 characters.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

/// Changes to another user. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"role": "teacher"}))]
pub struct EditUser {
    /// What the user may do.
    #[serde(default)]
    pub role: Option<Role>,
    /// `true` ends all sessions and tokens of the user, stops their workspaces and refuses sign-ins until
    /// it is `false` again. Nothing is deleted.
    #[serde(default)]
    pub suspended: Option<bool>,
}

/// A one-time link for a user to sign in and set a password. It is returned once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"path": "/welcome#Vn4q…", "expires_at": "2026-03-02T21:14:07Z"}))]
pub struct UserLink {
    /// `/welcome#<token>`, to be appended to the server's address.
    #[schema(value_type = String)]
    pub path: Redacted<String>,
    /// When the link stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// A new user, with the link to send them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedUser {
    /// The user.
    pub user: User,
    /// The link to send.
    pub link: UserLink,
}

/// Changes to the current user. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "Anna Lind"}))]
pub struct EditMe {
    /// One line of at most 200 characters.
    pub name: Option<String>,
    /// An address such as `anna@example.org`.
    pub email: Option<String>,
}
