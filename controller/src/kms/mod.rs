//! The master key: it encrypts the installation's secrets and decrypts them again. It is in a file
//! of this host, or in a key service that never gives it away. Knows no secret; [`tenant_keys`] is
//! the only part that reads the database.

pub mod tenant_keys;
pub mod vault;

use std::{fmt, path::PathBuf};

use protocol::Redacted;
use volume::{KeyError, MasterKey};

pub use vault::{TokenSource, Vault, VaultConfig, VaultError};

/// Where the master key is.
#[derive(Clone, Debug)]
pub enum KmsConfig {
    /// In this file. It is created for a new installation.
    File(PathBuf),
    /// In the transit engine of OpenBao or Vault.
    Vault(VaultConfig),
}

/// Encrypts and decrypts with the master key. What is encrypted under one name decrypts under that
/// name only.
pub enum Kms {
    File(MasterKey),
    Vault(Vault),
}

/// Why the master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// The key file cannot be used, or a secret does not decrypt with it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key service cannot be used, or a secret does not decrypt with its key.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl KmsError {
    /// What the operator should do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Key(_) => "Restore the master.key that this installation was created with.".to_owned(),
            Self::Vault(error) => error.hint(),
        }
    }
}

impl Kms {
    /// Identifies the master key without revealing anything about it.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::File(key) => key.fingerprint(),
            Self::Vault(vault) => vault.fingerprint(),
        }
    }

    /// Encrypts a secret and binds it to a name.
    pub async fn encrypt(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, KmsError> {
        match self {
            Self::File(key) => Ok(key.seal(name, secret)),
            Self::Vault(vault) => Ok(vault.encrypt(name, secret).await?),
        }
    }

    /// Decrypts a secret. Fails if it was encrypted under another name or with another key.
    pub async fn decrypt(&self, name: &str, encrypted: &[u8]) -> Result<Redacted<Vec<u8>>, KmsError> {
        match self {
            Self::File(key) => Ok(key.open(name, encrypted)?),
            Self::Vault(vault) => Ok(vault.decrypt(name, encrypted).await?),
        }
    }
}

impl fmt::Debug for Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kms({})", self.fingerprint())
    }
}
