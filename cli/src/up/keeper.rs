//! Where the master key is, from what was typed and from the variables that users of OpenBao and Vault have set anyway.

use std::path::PathBuf;

use controller::{KeeperConfig, TokenSource, TransitConfig};
use protocol::Redacted;

use super::place::DataDirectory;
use crate::{
    arguments::MasterKey,
    failure::{Failure, Kind},
};

/// Where `vault login` and `bao login` leave the token, below the home directory.
const TOKEN_FILE: &str = ".vault-token";

/// The one keeper that `up` is to use.
pub fn config(wanted: &MasterKey, data: &DataDirectory) -> Result<KeeperConfig, Failure> {
    match service(wanted)? {
        Some(_) if wanted.master_key.is_some() => {
            Err(Failure::new(Kind::Usage, "The master key is in one place only").next(
                "give --master-key or --master-key-service; `burrow admin rotate-master-key --to` moves it",
            ))
        }
        Some(service) => Ok(KeeperConfig::Service(service)),
        None => Ok(KeeperConfig::File(file(wanted, data))),
    }
}

pub fn file(wanted: &MasterKey, data: &DataDirectory) -> PathBuf {
    wanted.master_key.clone().unwrap_or_else(|| data.master_key())
}

/// The key service, if one is named.
pub fn service(wanted: &MasterKey) -> Result<Option<TransitConfig>, Failure> {
    let Some(address) = wanted.master_key_service.clone() else { return Ok(None) };
    Ok(Some(TransitConfig {
        address,
        mount: wanted.vault_mount.clone(),
        key: wanted.vault_key.clone(),
        token: token(wanted)?,
        ca_file: wanted.vault_cacert.clone().or_else(|| variable("CACERT").map(PathBuf::from)),
        namespace: wanted.vault_namespace.clone().or_else(|| variable("NAMESPACE")),
    }))
}

fn token(wanted: &MasterKey) -> Result<TokenSource, Failure> {
    if let Some(path) = &wanted.vault_token_file {
        return Ok(TokenSource::File(path.clone()));
    }
    if let Some(token) = variable("TOKEN") {
        return Ok(TokenSource::Given(Redacted::new(token)));
    }
    let left = std::env::home_dir().map(|home| home.join(TOKEN_FILE)).filter(|path| path.is_file());
    left.map(TokenSource::File).ok_or_else(|| {
        Failure::new(Kind::Usage, "The key service wants a token, and none is given")
            .next("name its file with --vault-token-file, or set VAULT_TOKEN")
    })
}

/// `BAO_…`, else `VAULT_…`, as OpenBao's own programs look for it.
fn variable(name: &str) -> Option<String> {
    let of = |prefix: &str| std::env::var(format!("{prefix}_{name}")).ok().filter(|text| !text.is_empty());
    of("BAO").or_else(|| of("VAULT"))
}
