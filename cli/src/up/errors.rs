//! The errors of a start, with hints what to do about them.

use std::error::Error;

use controller::{KmsError, StartError};
use volume::StoreError;

use super::{data_directory::DataDirectoryError, lock::LockError, postgres::PostgresError};
use crate::output::{CommandError, ErrorKind};

/// The error with its source as the cause, and a hint.
fn with_hint(error: &(impl Error + 'static), hint: impl Into<String>) -> CommandError {
    let mut what = error.to_string();
    if let Some(first) = what.get(..1).map(str::to_uppercase) {
        what.replace_range(..1, &first);
    }
    let converted = CommandError::error(what).hint(hint);
    match error.source() {
        Some(source) => converted.because(source),
        None => converted,
    }
}

impl From<DataDirectoryError> for CommandError {
    fn from(error: DataDirectoryError) -> Self {
        with_hint(&error, error.hint())
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { pid: Some(pid), .. } => {
                with_hint(&error, format!("use that one, stop it (kill {pid}), or choose another --data-dir"))
                    .with_kind(ErrorKind::Conflict)
            }
            LockError::Held { pid: None, .. } => {
                with_hint(&error, "use that one, or choose another --data-dir").with_kind(ErrorKind::Conflict)
            }
            LockError::Io { .. } => with_hint(&error, "choose another --data-dir"),
        }
    }
}

impl From<PostgresError> for CommandError {
    fn from(error: PostgresError) -> Self {
        with_hint(&error, error.hint())
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        with_hint(&error, "check --store and, for s3://, the AWS_… variables")
    }
}

impl From<runner::images::ImageError> for CommandError {
    fn from(error: runner::images::ImageError) -> Self {
        with_hint(&error, "burrow doctor")
    }
}

impl From<runner::network::NetworkError> for CommandError {
    fn from(error: runner::network::NetworkError) -> Self {
        with_hint(&error, "burrow doctor")
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let hint = match &error {
            StartError::Database(_) | StartError::Statement(_) => {
                "check --database-url: Burrow needs Postgres 15 or newer, its own database and a role that \
                 may create roles"
            }
            StartError::Kms(KmsError::Vault(refused)) => return with_hint(&error, refused.hint()),
            StartError::OtherMasterKey { expected, .. } if expected.starts_with("transit:") => {
                "use the key service that has it: --master-key-service, with --vault-mount and --vault-key \
                 as in transit:MOUNT/KEY"
            }
            StartError::OtherMasterKey { found, .. } if found.starts_with("transit:") => {
                "start without --master-key-service, or move the key: burrow admin rotate-master-key --to \
                 service"
            }
            StartError::Kms(KmsError::Key(_)) | StartError::OtherMasterKey { .. } => {
                "use the key file that this database was created with: --master-key"
            }
            StartError::NoKeyService => "give --master-key-service and --vault-token-file",
            StartError::NoInstallation => "burrow up creates the installation first",
            StartError::Store(_) => "check --store and its credentials",
            StartError::SigningKey => "restore the database from its backup",
            StartError::RunDirectory { .. } => "choose another --data-dir",
        };
        with_hint(&error, hint)
    }
}
