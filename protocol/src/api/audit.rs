//! The audit log of a tenant: who did what. [`crate::audit`] verifies it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{SessionId, TenantId, UserId, audit::EntryHash};

/// Most entries in one page.
pub const MAX_AUDIT_PAGE: u32 = 500;

/// Whether an act was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    /// It was done.
    Allowed,
    /// It was refused, so nothing was done.
    Refused,
}

impl AuditOutcome {
    /// Its name in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"tenant": "0197a3b0-0f1e-7d2c-8b3a-495867768594", "seq": 4711,
    "at": "2026-03-02T09:14:07.250913Z",
    "actor": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9011", "actor_email": "anna@example.org",
    "session": "0197a3b0-2d3e-7f40-9b5c-6d7e8f901122",
    "request": "0197a3b0-3e4f-7051-8c6d-7e8f90112233", "address": "198.51.100.7",
    "action": "workspace.watch", "subject": "0197a3b0-4f50-7162-9d7e-8f9011223344", "outcome": "allowed",
    "detail": {"owner": "0197a3b0-5061-7273-8e8f-901122334455"},
    "previous": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "hash": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"}))]
pub struct AuditEntry {
    /// The organisation whose log it is.
    pub tenant: TenantId,
    /// Numbers the entries of the tenant, without gaps. The order in which they were written.
    pub seq: u64,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The user. Absent if it was the server, or somebody unknown.
    #[serde(default)]
    pub actor: Option<UserId>,
    /// The present address of the user, for readers. It is not a part of the hash.
    #[serde(default)]
    pub actor_email: Option<String>,
    /// The session or token that the user had.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// Identifies the request.
    #[serde(default)]
    pub request: Option<String>,
    /// Network address of the client. Absent for the server itself and for commands on its host.
    #[serde(default)]
    pub address: Option<String>,
    /// What was done, such as `workspace.create`.
    pub action: String,
    /// What it was done to: an id or a path.
    pub subject: String,
    /// Whether it was allowed.
    pub outcome: AuditOutcome,
    /// More about the act. It contains no secret and nothing that a user typed into a workspace.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// Hash of the entry before, or zeros.
    #[schema(value_type = String)]
    pub previous: EntryHash,
    /// SHA-256 of the entry, including `previous`.
    #[schema(value_type = String)]
    pub hash: EntryHash,
}

/// A page of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The newest first, or with `after` the oldest first.
    pub entries: Vec<AuditEntry>,
    /// Whether there are more in this direction.
    pub has_more: bool,
}

/// How long entries are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"days": 365}))]
pub struct AuditRetention {
    /// 30 to 3650.
    pub days: u32,
}

/// The result of a verification of the whole log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"is_intact": true, "entries": 4711, "first_seq": 1, "last_seq": 4711,
    "pruned_seq": 0, "anchors": 12, "last_anchored_seq": 4700, "faults": []}))]
pub struct AuditVerification {
    /// Whether nothing was found.
    pub is_intact: bool,
    /// Entries that were read.
    pub entries: u64,
    /// The oldest of them. Zero if there are none.
    pub first_seq: u64,
    /// The newest of them. Zero if there are none.
    pub last_seq: u64,
    /// The newest entry that retention has removed. Zero if there is none.
    pub pruned_seq: u64,
    /// Anchors in the object store that were compared.
    pub anchors: u64,
    /// The newest entry whose hash is in the object store. Entries after it rely on the database alone.
    pub last_anchored_seq: u64,
    /// What was found, at most 20 faults.
    pub faults: Vec<String>,
}
