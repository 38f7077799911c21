//! What a start can be refused for, in words that say what to do next.

use std::error::Error;

use controller::{KeeperError, StartError};
use volume::StoreError;

use super::{lock::LockError, place::PlaceError, postgres::PostgresError};
use crate::failure::{Failure, Kind};

/// The sentence, its cause if there is one, and what to do.
fn of(error: &(impl Error + 'static), next: impl Into<String>) -> Failure {
    let mut sentence = error.to_string();
    if let Some(first) = sentence.get(..1).map(str::to_uppercase) {
        sentence.replace_range(..1, &first);
    }
    let failure = Failure::error(sentence).next(next);
    match error.source() {
        Some(source) => failure.because(source),
        None => failure,
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        of(&error, error.next())
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { pid: Some(pid), .. } => {
                of(&error, format!("use that one, or end it (kill {pid}), or choose another --data-dir"))
                    .with_kind(Kind::Conflict)
            }
            LockError::Held { pid: None, .. } => {
                of(&error, "use that one, or choose another --data-dir").with_kind(Kind::Conflict)
            }
            LockError::Io { .. } => of(&error, "choose another --data-dir"),
        }
    }
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        of(&error, error.next())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        of(&error, "check --store and, for s3://, the AWS_… variables")
    }
}

impl From<runner::images::Error> for Failure {
    fn from(error: runner::images::Error) -> Self {
        of(&error, "burrow doctor")
    }
}

impl From<runner::network::NetworkError> for Failure {
    fn from(error: runner::network::NetworkError) -> Self {
        of(&error, "burrow doctor")
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let next = match &error {
            StartError::Database(_) | StartError::Statement(_) => {
                "check --database-url: Burrow needs Postgres 15 or newer, a database of its own and a role that may create roles"
            }
            StartError::Keeper(KeeperError::Service(refused)) => return of(&error, refused.next()),
            StartError::OtherMasterKey { expected, .. } if expected.starts_with("transit:") => {
                "name the key service that has it: --master-key-service, and --vault-mount and --vault-key as in transit:MOUNT/KEY"
            }
            StartError::OtherMasterKey { found, .. } if found.starts_with("transit:") => {
                "start without --master-key-service, or move the key there: burrow admin rotate-master-key --to service"
            }
            StartError::Keeper(KeeperError::Key(_)) | StartError::OtherMasterKey { .. } => {
                "name the key file that this database was begun with: --master-key"
            }
            StartError::NoKeyService => "name it: --master-key-service, and --vault-token-file",
            StartError::NoInstallation => "burrow up: nothing was begun there yet",
            StartError::Store(_) => "check --store and its credentials",
            StartError::SigningKey => "restore the database from its backup",
            StartError::RunDirectory { .. } => "choose another --data-dir",
        };
        of(&error, next)
    }
}
