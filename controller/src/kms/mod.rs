//! Keepers of the master key: what seals the installation's secrets and opens them again. One has the key in a file of this
//! host, the other in a key service that never gives it away. Knows no secret and no database.

pub mod tenant_keys;
pub mod transit;

use std::{fmt, path::PathBuf};

use protocol::Redacted;
use volume::{KeyError, MasterKey};

pub use transit::{TokenSource, Transit, TransitConfig, TransitError};

/// Where the master key is.
#[derive(Clone, Debug)]
pub enum KeeperConfig {
    /// In this file; made for an installation that begins.
    File(PathBuf),
    Service(TransitConfig),
}

/// Seals and opens. What is sealed under one name opens under that name only.
pub enum Keeper {
    File(MasterKey),
    Service(Transit),
}

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Service(#[from] TransitError),
}

impl KeeperError {
    /// What whoever runs the server does next.
    pub fn next(&self) -> String {
        match self {
            Self::Key(_) => "Put back the master.key that the installation was begun with.".to_owned(),
            Self::Service(error) => error.next(),
        }
    }
}

impl Keeper {
    /// Tells keys apart without telling anything about them.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::File(key) => key.fingerprint(),
            Self::Service(transit) => transit.fingerprint(),
        }
    }

    pub async fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, KeeperError> {
        match self {
            Self::File(key) => Ok(key.seal(name, secret)),
            Self::Service(transit) => Ok(transit.seal(name, secret).await?),
        }
    }

    pub async fn open(&self, name: &str, sealed: &[u8]) -> Result<Redacted<Vec<u8>>, KeeperError> {
        match self {
            Self::File(key) => Ok(key.open(name, sealed)?),
            Self::Service(transit) => Ok(transit.open(name, sealed).await?),
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.fingerprint())
    }
}
