//! Where the master key is kept, from the options and from the environment variables of OpenBao and
//! Vault.

use std::path::PathBuf;

use controller::{KmsConfig, TokenSource, VaultConfig};
use protocol::Redacted;

use super::{data_directory::DataDirectory, options::MasterKeyOptions};
use crate::output::{CommandError, ErrorKind};

/// Where `vault login` and `bao login` save the token, in the home directory.
const TOKEN_FILE: &str = ".vault-token";

/// The file or the key service that holds the master key.
pub fn config(options: &MasterKeyOptions, data: &DataDirectory) -> Result<KmsConfig, CommandError> {
    match service(options)? {
        Some(_) if options.master_key.is_some() => {
            Err(CommandError::new(ErrorKind::Usage, "Cannot use both --master-key and --master-key-service")
                .hint("give one of them; `burrow admin rotate-master-key --to` moves the key"))
        }
        Some(service) => Ok(KmsConfig::Vault(service)),
        None => Ok(KmsConfig::File(key_file(options, data))),
    }
}

/// The file of the master key.
pub fn key_file(options: &MasterKeyOptions, data: &DataDirectory) -> PathBuf {
    options.master_key.clone().unwrap_or_else(|| data.master_key())
}

/// The key service, if the options name one.
pub fn service(options: &MasterKeyOptions) -> Result<Option<VaultConfig>, CommandError> {
    let Some(address) = options.master_key_service.clone() else { return Ok(None) };
    Ok(Some(VaultConfig {
        address,
        mount: options.vault_mount.clone(),
        key: options.vault_key.clone(),
        token: token(options)?,
        ca_file: options.vault_cacert.clone().or_else(|| variable("CACERT").map(PathBuf::from)),
        namespace: options.vault_namespace.clone().or_else(|| variable("NAMESPACE")),
    }))
}

fn token(options: &MasterKeyOptions) -> Result<TokenSource, CommandError> {
    if let Some(path) = &options.vault_token_file {
        return Ok(TokenSource::File(path.clone()));
    }
    if let Some(token) = variable("TOKEN") {
        return Ok(TokenSource::Given(Redacted::new(token)));
    }
    let saved = std::env::home_dir().map(|home| home.join(TOKEN_FILE)).filter(|path| path.is_file());
    saved.map(TokenSource::File).ok_or_else(|| {
        CommandError::new(ErrorKind::Usage, "Cannot use the key service: there is no token for it")
            .hint("give a file with --vault-token-file, or set VAULT_TOKEN")
    })
}

/// The value of `BAO_<name>`, else of `VAULT_<name>`, in the order of OpenBao's programs.
fn variable(name: &str) -> Option<String> {
    let read = |prefix: &str| std::env::var(format!("{prefix}_{name}")).ok().filter(|text| !text.is_empty());
    read("BAO").or_else(|| read("VAULT"))
}
