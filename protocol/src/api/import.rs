//! Homes that are moved between installations by whoever is signed in to both. The two never talk to each other.
//!
//! Where a home comes from: `GET /api/v1/workspaces/{id}/snapshots/{snapshot}/chunks?from=` → [`ChunkList`], and
//! `POST …/chunks` ([`WantedChunks`]) → chunks as they travel, which are passed on as they are.
//!
//! Where it goes: `POST /api/v1/imports` ([`NewImport`]) → [`Import`], the same one again for the same home and name, so that
//! who was cut short goes on; `GET …/{id}/chunks?from=` → what has arrived; `PUT …/{id}/chunks?version=` with chunks;
//! `POST …/{id}/finish` ([`FinishImport`]) → the workspace.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::snapshot::Consistency;
use crate::{ManifestId, WorkspaceId};

/// Hashes in one answer: what they are of is read for it, 64 MiB at most.
pub const MAX_CHUNKS_LISTED: usize = 1024;
/// Chunks in one request: 3 MiB at most, and with their heads less than [`MAX_CHUNKS_BYTES`].
pub const MAX_CHUNKS_AT_ONCE: usize = 48;
/// Largest body of chunks; what is at the edge takes no more either.
pub const MAX_CHUNKS_BYTES: usize = 4 << 20;

/// BLAKE3 of a chunk's content, or of all chunks' hashes. 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkHash(pub [u8; 32]);

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ManifestId(self.0).fmt(f)
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkHash({self})")
    }
}

impl FromStr for ChunkHash {
    type Err = NotAChunkHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|ManifestId(bytes)| Self(bytes)).map_err(|_| NotAChunkHash)
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunk is named by 64 hexadecimal digits")]
pub struct NotAChunkHash;

impl Serialize for ChunkHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChunkHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// 64 KiB of a home that are not all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Chunk {
    pub index: u32,
    #[schema(value_type = String)]
    pub hash: ChunkHash,
}

/// A part of a home's chunks, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChunkList {
    pub chunks: Vec<Chunk>,
    /// There are more: ask with `from` this.
    #[serde(default)]
    pub next: Option<u32>,
}

/// `POST /api/v1/workspaces/{id}/snapshots/{snapshot}/chunks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WantedChunks {
    /// In order, each once, at most [`MAX_CHUNKS_AT_ONCE`].
    pub indexes: Vec<u32>,
}

/// `POST /api/v1/imports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewImport {
    /// The workspace whose home is moved, as it is called where it comes from.
    pub source: WorkspaceId,
    /// What it is to be called here. One's own workspace of this name is written to if it was imported from the same source.
    pub name: String,
    /// Of a workspace that is made. Absent: `base`.
    #[serde(default)]
    pub template: Option<String>,
    /// The home's size there.
    pub home_mib: u32,
    /// Write to the workspace of this name wherever it comes from. What its home is now stays a snapshot.
    #[serde(default)]
    pub replace: bool,
}

/// A home on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Import {
    pub id: uuid::Uuid,
    pub source: WorkspaceId,
    pub name: String,
    /// Grows with everything that arrives. Whoever sends says the one that they know.
    pub version: u64,
    /// Nothing arrives until then: what has is forgotten.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// `POST /api/v1/imports/{id}/finish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FinishImport {
    /// The hash of all chunks' indexes and hashes, in order; what has arrived is read again and must have the same.
    #[schema(value_type = String)]
    pub root: ChunkHash,
    pub consistency: Consistency,
    /// The instant that it holds.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
