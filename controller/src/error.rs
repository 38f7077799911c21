//! Why a controller cannot start, or the master key cannot be rotated.

use std::{io, path::PathBuf};

use crate::{db::DatabaseError, kms::KmsError};

/// Why a controller cannot start, or an operation on the whole installation failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("Cannot run a statement of the controller: the database refused it")]
    Statement(#[from] sqlx::Error),
    #[error(transparent)]
    Kms(#[from] KmsError),
    #[error(
        "Cannot use this master key: the database was created with another one ({expected}, not {found})"
    )]
    OtherMasterKey { expected: String, found: String },
    #[error("Cannot find the master key: it is in a key service, and none is configured")]
    NoKeyService,
    #[error("Cannot sign grants: the stored signing key is damaged")]
    SigningKey,
    #[error("Cannot rotate the master key: the database has no installation yet")]
    NoInstallation,
    #[error("Cannot open the object store")]
    Store(#[from] volume::StoreError),
    #[error("Cannot create sockets in {path}")]
    RunDirectory { path: PathBuf, source: io::Error },
}
