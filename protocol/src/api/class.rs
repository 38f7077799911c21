//! Classes: a roster, an invitation for each line, a workspace for each student.
//!
//! `GET/POST /api/v1/classes`, `GET/DELETE /api/v1/classes/{id}`, `POST …/{id}/roster` (CSV as text, header optional: name, e-mail)
//! → [`RosterResult`], `POST …/{id}/start`, `POST …/{id}/stop` → [`ClassAction`], `DELETE …/{id}/members/{member}`,
//! `POST …/{id}/members/{member}/invitation` (a new link), `GET …/{id}/events` (server-sent: `event: class`, data a [`Class`]).
//! `POST /api/v1/invitations/view` and `POST /api/v1/invitations/accept` are open: the token is the credential.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::workspace::Workspace;
use crate::{ClassId, Redacted, UserId};

/// Most bytes of a roster.
pub const MAX_ROSTER_BYTES: usize = 1024 * 1024;
/// Most members of a class.
pub const MAX_MEMBERS: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewClass {
    /// As a workspace's name.
    pub name: String,
    /// Absent: `base`.
    #[serde(default)]
    pub template: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Class {
    pub id: ClassId,
    pub name: String,
    pub template: String,
    pub teacher: UserId,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassSummary {
    pub id: ClassId,
    pub name: String,
    pub template: String,
    pub members: u32,
    pub running: u32,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassList {
    pub classes: Vec<ClassSummary>,
}

/// One line of the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub id: uuid::Uuid,
    pub name: String,
    pub email: String,
    /// Whether the invitation was accepted.
    pub joined: bool,
    /// Made with the member, so that a class starts whether or not everyone has joined.
    pub workspace: Option<Workspace>,
}

/// What became of a roster: good rows were taken, bad ones are named.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RosterResult {
    pub class: Class,
    pub added: Vec<AddedMember>,
    /// Rows whose e-mail is in the class already: left as they are.
    pub unchanged: u32,
    pub errors: Vec<RowError>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AddedMember {
    pub member: uuid::Uuid,
    pub name: String,
    pub email: String,
    pub invitation: InvitationLink,
}

/// A link to give to a person: the token stands behind `#`. Shown once; a new one can be made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InvitationLink {
    /// `/join#<token>`, to be put behind the server's address.
    #[schema(value_type = String)]
    pub path: Redacted<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RowError {
    /// Line in the file, from 1.
    pub line: u64,
    /// The row as it was, cut to 200 bytes.
    pub row: String,
    pub message: String,
}

/// Start or stop of all: what was begun, and what could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassAction {
    pub begun: u32,
    /// Those already so.
    pub unchanged: u32,
    pub failed: Vec<ClassActionError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassActionError {
    pub member: uuid::Uuid,
    pub name: String,
    pub message: String,
}

/// `POST /api/v1/invitations/view`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ViewInvitation {
    #[schema(value_type = String)]
    pub token: Redacted<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    pub tenant_name: String,
    #[serde(default)]
    pub class_name: Option<String>,
    pub name: String,
    pub email: String,
}

/// `POST /api/v1/invitations/accept` → a session, as by signing in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AcceptInvitation {
    #[schema(value_type = String)]
    pub token: Redacted<String>,
    /// May be corrected by the person.
    pub name: String,
    #[schema(value_type = String)]
    pub password: Redacted<String>,
}
