//! What the workspaces of a host and Burrow itself take of its disk.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::UserId;

/// What takes space on the disk of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// Local caches of homes.
    Caches,
    /// Scratch disks of sandboxes that run.
    Scratch,
    /// The object store, if it is a directory of this host.
    Objects,
    /// Images that sandboxes boot.
    Images,
    /// Guests that have booted and are copied by starts.
    Prototypes,
    /// The private Postgres.
    Database,
    /// The log of the server.
    Logs,
}

impl DiskKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::Caches,
        Self::Scratch,
        Self::Objects,
        Self::Images,
        Self::Prototypes,
        Self::Database,
        Self::Logs,
    ];

    /// The name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caches => "caches",
            Self::Scratch => "scratch",
            Self::Objects => "objects",
            Self::Images => "images",
            Self::Prototypes => "prototypes",
            Self::Database => "database",
            Self::Logs => "logs",
        }
    }
}

/// Whether workspaces of a user may write to their homes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskWrites {
    /// As fast as they can.
    #[default]
    Free,
    /// As fast as the object store takes what they write.
    Slowed,
    /// Not before the object store has taken more, or space is freed.
    Waiting,
}

/// What one kind of data takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskKindUsage {
    /// The kind.
    pub kind: DiskKind,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What one user takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskUserUsage {
    /// The user.
    pub user: UserId,
    /// The user's name.
    pub name: String,
    /// Local caches of the user's homes.
    pub cache_bytes: u64,
    /// Scratch disks of the user's microVMs that run.
    pub scratch_bytes: u64,
    /// What the snapshots of the user's homes have stored, if the object store is on this host.
    pub object_bytes: u64,
    /// All of these together.
    pub used_bytes: u64,
    /// The most that this may be. Absent: no limit.
    pub limit_bytes: Option<u64>,
    /// What running homes have that the object store does not have yet.
    pub unsaved_bytes: u64,
    /// The most that this may be now. Absent if nothing runs.
    pub max_unsaved_bytes: Option<u64>,
    /// Whether the user's workspaces may write.
    pub writes: DiskWrites,
}

/// The disk of the host that answers, and what the users of the tenant take of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"measured_at": "2026-03-02T09:14:07Z", "total_bytes": 107_374_182_400_u64,
    "free_bytes": 42_949_672_960_u64, "reserve_bytes": 536_870_912, "budget_bytes": null,
    "used_bytes": 21_474_836_480_u64, "room_bytes": 42_412_802_048_u64,
    "kinds": [{"kind": "caches", "bytes": 8_589_934_592_u64}],
    "used_by_tenant_bytes": 12_884_901_888_u64, "tenant_limit_bytes": null,
    "users": [{"user": "0197a3b0-0f1e-7d2c-8b3a-495867768594", "name": "Anna Lind",
    "cache_bytes": 4_294_967_296_u64, "scratch_bytes": 268_435_456, "object_bytes": 2_147_483_648_u64,
    "used_bytes": 6_710_886_400_u64, "limit_bytes": null, "unsaved_bytes": 1_048_576,
    "max_unsaved_bytes": 7_068_800_341_u64, "writes": "free"}]}))]
pub struct DiskReport {
    /// When the use was measured. The free space is of now.
    #[serde(with = "time::serde::rfc3339")]
    pub measured_at: OffsetDateTime,
    /// Size of the disk.
    pub total_bytes: u64,
    /// Space that is free.
    pub free_bytes: u64,
    /// Free space that is kept for the database.
    pub reserve_bytes: u64,
    /// The most that Burrow may take of the disk. Absent: all but the reserve.
    pub budget_bytes: Option<u64>,
    /// What Burrow takes.
    pub used_bytes: u64,
    /// What may still be used.
    pub room_bytes: u64,
    /// What Burrow takes, by kind.
    pub kinds: Vec<DiskKindUsage>,
    /// What the users of the tenant take together.
    pub used_by_tenant_bytes: u64,
    /// The most that this may be. Absent: no limit.
    pub tenant_limit_bytes: Option<u64>,
    /// The users of the tenant, those who take the most first.
    pub users: Vec<DiskUserUsage>,
}
