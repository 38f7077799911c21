//! Why a controller cannot start, or the master key cannot be rotated.

use std::{io, path::PathBuf};

use crate::{db::DatabaseError, kms::KmsError};

/// Why a controller cannot start, or an operation on the whole installation failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be reached or migrated.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A statement failed after the connection had been made.
    #[error("Cannot run a statement of the controller: the database refused it")]
    Statement(#[from] sqlx::Error),
    /// The master key cannot be used.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The configured master key is not the one that encrypted the installation's secrets.
    #[error(
        "Cannot use this master key: the database was created with another one ({expected}, not {found})"
    )]
    OtherMasterKey {
        /// Fingerprint that the database records.
        expected: String,
        /// Fingerprint of the configured key.
        found: String,
    },
    /// The master key was moved to a key service, and the configuration names none.
    #[error("Cannot find the master key: it is in a key service, and none is configured")]
    NoKeyService,
    /// The key that signs grants decrypts to something else.
    #[error("Cannot sign grants: the stored signing key is damaged")]
    SigningKey,
    /// No controller has started on this database, so there is nothing to rotate.
    #[error("Cannot rotate the master key: the database has no installation yet")]
    NoInstallation,
    /// The address of the store is invalid, or its directory cannot be used.
    #[error("Cannot open the object store")]
    Store(#[from] volume::StoreError),
    /// The run directory does not exist, or this process may not write to it.
    #[error("Cannot create sockets in {path}")]
    RunDirectory {
        /// The configured run directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
