//! What can go wrong with a volume, told apart by what one can do about it.

use std::{io, path::PathBuf};

use protocol::{Epoch, ManifestId, VolumeId};

use crate::{cache::LogError, manifest::ManifestError, store::StoreError};

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("the cache {0} is in use by another process: end that one first")]
    InUse(PathBuf),
    #[error("placement {found} has this volume; {wanted} is older and must end")]
    Fenced { found: Epoch, wanted: Epoch },
    #[error("the volume was written under another data key")]
    WrongKey,
    #[error("this is volume {found}, not {wanted}")]
    OtherVolume { found: VolumeId, wanted: VolumeId },
    #[error("a volume grows and never shrinks: it has {found} bytes, {wanted} were wanted")]
    Shrunk { found: u64, wanted: u64 },
    #[error("{0} bytes is no size for a volume: a multiple of 4096, up to 4 TiB")]
    Size(u64),
    #[error("{length} bytes at {offset} are not within the volume")]
    OutOfRange { offset: u64, length: u64 },
    #[error("cannot {what} of the cache: {source}")]
    Cache { what: &'static str, source: io::Error },
    #[error("the cache {cache} is damaged: {source}. Move it away to go on from the last snapshot")]
    CacheDamaged { cache: PathBuf, source: LogError },
    #[error("the disk under the cache is full")]
    Full,
    #[error("the disk under the cache has failed; only what was flushed before counts: {0}")]
    Failed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the object {object} is damaged in the store: {reason}")]
    Damaged { object: String, reason: String },
    #[error("the manifest {id} cannot be used: {source}")]
    Manifest { id: ManifestId, source: ManifestError },
    #[error("the manifest {0} is not one of this volume's own")]
    UnknownManifest(ManifestId),
    #[error("{0} snapshots wait for their commit: the controller does not answer")]
    TooManyUncommitted(usize),
    #[error("the snapshot has been given up")]
    SnapshotAbandoned,
    #[error("the volume has been closed")]
    Closed,
}

impl VolumeError {
    /// The object that is missing or altered in the store, if it is that: to ask again does not help.
    pub fn damaged_object(&self) -> Option<&str> {
        match self {
            Self::Damaged { object, .. }
            | Self::Store(StoreError::NotFound(object) | StoreError::Malformed(object)) => Some(object),
            _ => None,
        }
    }

    /// A failure of the cache's files on the way of a read or write.
    pub(crate) fn of_io(what: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Cache { what, source },
        }
    }
}
