//! Transfers of homes between installations. The client is signed in to both; the two servers never
//! connect to each other.
//!
//! Source: `GET …/snapshots/{snapshot}/chunks` → [`ChunkList`], then `POST …/chunks`
//! ([`WantedChunks`]) → chunks in transfer format. Destination: `POST /imports` ([`NewImport`]) →
//! [`Import`], the same one again for the same source and name, so an interrupted transfer resumes;
//! `GET …/chunks` → what has arrived; `PUT …/chunks`; `POST …/finish`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::snapshot::Consistency;
use crate::{ManifestId, WorkspaceId};

/// Most hashes in one answer. The server reads up to 64 MiB for it.
pub const MAX_CHUNKS_LISTED: usize = 1024;
/// Chunks in one request: 3 MiB at most, and with their heads less than [`MAX_CHUNKS_BYTES`].
pub const MAX_CHUNKS_AT_ONCE: usize = 48;
/// Largest body of chunks; what is at the edge takes no more either.
pub const MAX_CHUNKS_BYTES: usize = 4 << 20;

/// BLAKE3 of a chunk's content, or of the list of all chunks. Written as 64 hexadecimal digits.
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
#[schema(example = json!({"index": 7,
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}))]
pub struct Chunk {
    /// Its position in the home, in chunks.
    pub index: u32,
    /// Hash of its content.
    #[schema(value_type = String)]
    pub hash: ChunkHash,
}

/// A page of chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChunkList {
    /// By index; chunks of zeros are left out.
    pub chunks: Vec<Chunk>,
    /// There are more: request them with `from` set to this.
    #[serde(default)]
    pub next: Option<u32>,
}

/// Chunks to download.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"indexes": [0, 1, 7]}))]
pub struct WantedChunks {
    /// In order, each once, at most [`MAX_CHUNKS_AT_ONCE`].
    pub indexes: Vec<u32>,
}

/// A home to receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"source": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182", "name": "api",
    "home_mib": 10_240}))]
pub struct NewImport {
    /// Id of the workspace at its source.
    pub source: WorkspaceId,
    /// Name of the workspace here. If you have imported the same source under this name before,
    /// that workspace is updated.
    pub name: String,
    /// Template of a workspace that is created. `base` if absent.
    #[serde(default)]
    pub template: Option<String>,
    /// Size of the home at its source.
    pub home_mib: u32,
    /// Write to the existing workspace of this name whatever its source. Its present home is kept
    /// as a snapshot.
    #[serde(default)]
    pub replace: bool,
}

/// A home that is being received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182",
    "source": "0197a3b0-1c2d-7e3f-8a4b-5c6d7e8f9011", "name": "api",
    "version": 12, "expires_at": "2026-03-03T09:14:07Z"}))]
pub struct Import {
    /// Identifies the import.
    pub id: uuid::Uuid,
    /// Id of the workspace at its source.
    pub source: WorkspaceId,
    /// Name of the workspace here.
    pub name: String,
    /// Grows with every upload. Each upload names the version it builds on.
    pub version: u64,
    /// If nothing arrives until then, the import and its chunks are deleted.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// The end of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FinishImport {
    /// Hash of all chunks' indexes and hashes in order. The server reads what has arrived and compares.
    #[schema(value_type = String)]
    pub root: ChunkHash,
    /// Consistency of the source snapshot.
    pub consistency: Consistency,
    /// The instant that the source snapshot holds.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
