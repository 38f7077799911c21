//! Classes: a roster, an invitation for each row, a workspace for each student. The invitation's
//! token is a credential by itself.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::workspace::Workspace;
use crate::{ClassId, Redacted, UserId};

/// Largest roster in bytes.
pub const MAX_ROSTER_BYTES: usize = 1024 * 1024;
/// Most members of a class.
pub const MAX_MEMBERS: usize = 1000;

/// A class to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "algorithms", "template": "base"}))]
pub struct NewClass {
    /// One line of 1 to 100 characters. The members' workspaces get a name that is derived from it.
    pub name: String,
    /// Template of the members' workspaces. `base` if absent.
    #[serde(default)]
    pub template: Option<String>,
}

/// A class with its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Class {
    /// Identifies the class.
    pub id: ClassId,
    /// Unique per teacher.
    pub name: String,
    /// Template of the members' workspaces.
    pub template: String,
    /// The user who created the class.
    pub teacher: UserId,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Sorted by name.
    pub members: Vec<Member>,
}

/// A class in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassSummary {
    /// Identifies the class.
    pub id: ClassId,
    /// Unique per teacher.
    pub name: String,
    /// Template of the members' workspaces.
    pub template: String,
    /// Number of members.
    pub members: u32,
    /// Number of members' workspaces that are running.
    pub running: u32,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// The classes that the caller may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassList {
    /// Oldest first.
    pub classes: Vec<ClassSummary>,
}

/// One member of a class: a row of its roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Identifies the member within the class; not a user id.
    pub id: uuid::Uuid,
    /// From the roster, until the user has joined.
    pub name: String,
    /// The address that the invitation is for.
    pub email: String,
    /// Whether the invitation was accepted.
    pub joined: bool,
    /// Created with the member, so a class can start before everyone has joined.
    pub workspace: Option<Workspace>,
}

/// The result of a roster: valid rows are added, invalid ones reported. With `dry_run` it says what
/// would be done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RosterResult {
    /// The class afterwards.
    pub class: Class,
    /// Whether nothing was changed.
    #[serde(default)]
    #[schema(required)]
    pub dry_run: bool,
    /// How the roster was understood.
    #[serde(default)]
    #[schema(required)]
    pub format: RosterFormat,
    /// The students of the roster, and what each means for the class.
    #[serde(default)]
    #[schema(required)]
    pub rows: Vec<RosterRow>,
    /// New members with their invitations. Empty with `dry_run`.
    pub added: Vec<AddedMember>,
    /// Members whose address was corrected, with new invitations. Empty with `dry_run`.
    #[serde(default)]
    #[schema(required)]
    pub corrected: Vec<AddedMember>,
    /// Rows that are in the class already, with the same name.
    pub unchanged: u32,
    /// Members that are not in the roster. They stay in the class.
    #[serde(default)]
    #[schema(required)]
    pub missing: Vec<MissingMember>,
    /// Rows that were not added, and why.
    pub errors: Vec<RowError>,
}

/// How the bytes of a roster were understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"encoding": "UTF-16LE", "separator": "\t", "header_line": 1,
    "name_columns": ["Vorname", "Nachname"], "email_column": "E-Mail", "notes": ["2 blank rows are skipped."],
    "text": ""}))]
pub struct RosterFormat {
    /// Character encoding, such as `UTF-8`, `UTF-16LE` or `windows-1252`.
    pub encoding: String,
    /// The character between cells. `null` for a list of addresses.
    #[serde(default)]
    pub separator: Option<String>,
    /// The line that names the columns, if one does.
    #[serde(default)]
    pub header_line: Option<u64>,
    /// The columns that names were taken from, in the order in which they are joined.
    pub name_columns: Vec<String>,
    /// The column that addresses were taken from. `null` for a list of addresses.
    #[serde(default)]
    pub email_column: Option<String>,
    /// Sentences about what was skipped or changed.
    pub notes: Vec<String>,
    /// The decoded text, to be shown and edited. Empty without `dry_run`.
    pub text: String,
}

/// A student of a roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"line": 2, "name": "Jo Beck", "email": "jo@example.org", "change": "added",
    "previous": null}))]
pub struct RosterRow {
    /// Line in the file, starting at 1.
    pub line: u64,
    /// The name as it was understood.
    pub name: String,
    /// The address as it was understood.
    pub email: String,
    /// What the row means for the class.
    pub change: RosterChange,
    /// The name or address before a correction.
    #[serde(default)]
    pub previous: Option<String>,
}

/// What a row of a roster means for the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RosterChange {
    /// A new member.
    Added,
    /// In the class already, with the same name and address.
    Unchanged,
    /// In the class already, under another name, which is corrected.
    NameCorrected,
    /// In the class already, with another address, which is corrected.
    EmailCorrected,
}

/// A member that a roster does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"member": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9012", "name": "Jo Beck",
    "email": "jo@example.org"}))]
pub struct MissingMember {
    /// The member's id.
    pub member: uuid::Uuid,
    /// The member's name.
    pub name: String,
    /// The member's address.
    pub email: String,
}

/// A member with the link to send them.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AddedMember {
    /// The member's id.
    pub member: uuid::Uuid,
    /// From the roster.
    pub name: String,
    /// From the roster.
    pub email: String,
    /// The link to send. `null` if another teacher has invited the student, who joins with that link.
    #[serde(default)]
    pub invitation: Option<InvitationLink>,
}

/// An invitation link. It is returned once; a new one can be created.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"path": "/join#Vn4q…", "expires_at": "2026-03-16T09:14:07Z"}))]
pub struct InvitationLink {
    /// `/join#<token>`, to be appended to the server's address.
    #[schema(value_type = String)]
    pub path: Redacted<String>,
    /// When the link stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// A row of a roster that was not added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"line": 3, "row": "Jo,jo(at)example.org",
    "message": "This is not an email address."}))]
pub struct RowError {
    /// Line in the file, starting at 1.
    pub line: u64,
    /// The row's text, cut to 200 bytes.
    pub row: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The name in the row, as far as it can be read.
    #[serde(default)]
    #[schema(required)]
    pub name: String,
    /// The address in the row, as far as it can be read.
    #[serde(default)]
    #[schema(required)]
    pub email: String,
}

/// The result of starting or stopping a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"begun": 29, "unchanged": 1, "failed": []}))]
pub struct ClassAction {
    /// Workspaces that are now starting or stopping.
    pub begun: u32,
    /// Workspaces that were in that state already.
    pub unchanged: u32,
    /// Workspaces that could not be started or stopped.
    pub failed: Vec<ClassActionError>,
}

/// A member whose workspace could not be started or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClassActionError {
    /// The member's id.
    pub member: uuid::Uuid,
    /// The member's name.
    pub name: String,
    /// Why not.
    pub message: String,
}

/// An invitation to preview.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ViewInvitation {
    /// The part of the link behind `#`.
    #[schema(value_type = String)]
    pub token: Redacted<String>,
}

/// What an invitation is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"tenant_name": "Example School", "class_name": "algorithms", "name": "Jo Beck",
    "email": "jo@example.org"}))]
pub struct Invitation {
    /// The organisation.
    pub tenant_name: String,
    /// The class, if the invitation is to one.
    #[serde(default)]
    pub class_name: Option<String>,
    /// The invited user's name, from the roster.
    pub name: String,
    /// The invited user's address.
    pub email: String,
}

/// The acceptance of an invitation. Signs in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"token": "Vn4q…", "name": "Jo Beck", "password": "correct horse battery"}))]
pub struct AcceptInvitation {
    /// The part of the link behind `#`.
    #[schema(value_type = String)]
    pub token: Redacted<String>,
    /// The user may correct the name from the roster.
    pub name: String,
    /// A new password, or that of the existing account.
    #[schema(value_type = String)]
    pub password: Redacted<String>,
}
