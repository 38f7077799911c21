//! What the installation as a whole is sealed with: its master key, by the keeper that has it, the key that signs grants, and how
//! the one is replaced or given to another keeper.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use protocol::{Redacted, TenantId, grant::SigningKey};
use sqlx::PgConnection;

use crate::{
    StartError,
    db::{self, Database},
    kms::{
        Keeper, KeeperConfig, KeeperError, Transit, TransitConfig,
        tenant_keys::{self, KeyError, MasterKey},
        transit::FINGERPRINT_PREFIX,
    },
};

const SIGNING_KEY_NAME: &str = "grant signing key";
/// Beside the master key's file while it is replaced.
const NEW_SUFFIX: &str = ".new";

/// Which keeper has the master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperKind {
    File,
    Service,
}

impl KeeperKind {
    /// Of a key by its fingerprint.
    fn of(fingerprint: &str) -> Self {
        if fingerprint.starts_with(FINGERPRINT_PREFIX) { Self::Service } else { Self::File }
    }
}

/// A replacement of the master key: where it is or may come to be, and which of the keepers is to have it.
#[derive(Clone, Debug)]
pub struct Rotation {
    pub file: PathBuf,
    pub service: Option<TransitConfig>,
    /// None: the one that has it.
    pub to: Option<KeeperKind>,
}

impl Rotation {
    fn keeper(&self, kind: KeeperKind) -> Result<KeeperConfig, StartError> {
        match (kind, &self.service) {
            (KeeperKind::File, _) => Ok(KeeperConfig::File(self.file.clone())),
            (KeeperKind::Service, Some(service)) => Ok(KeeperConfig::Service(service.clone())),
            (KeeperKind::Service, None) => Err(StartError::NoKeyService),
        }
    }
}

/// What a replacement of the master key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub tenants: usize,
    pub from: KeeperKind,
    pub to: KeeperKind,
    /// Of the master key from now on.
    pub fingerprint: String,
}

/// The keeper of the installation's master key; in a file, that is made for one that begins. A replacement that was cut short is
/// finished first.
pub async fn keeper(db: &Database, config: &KeeperConfig) -> Result<Keeper, StartError> {
    let known = fingerprint(db).await?;
    let other = |found: String| {
        let expected = known.clone().filter(|known| *known != found);
        expected.map(|expected| StartError::OtherMasterKey { expected, found })
    };
    match config {
        KeeperConfig::File(path) => {
            // No file is made where the key is elsewhere.
            if let Some(expected) = known.clone().filter(|known| KeeperKind::of(known) == KeeperKind::Service)
            {
                return Err(StartError::OtherMasterKey { expected, found: path.display().to_string() });
            }
            finish_rotation(path, known.as_deref()).map_err(KeeperError::from)?;
            Ok(Keeper::File(MasterKey::load_or_create(path).map_err(KeeperError::from)?))
        }
        KeeperConfig::Service(config) => {
            let transit = Transit::new(config).map_err(KeeperError::from)?;
            if let Some(other) = other(transit.fingerprint()) {
                return Err(other);
            }
            transit.prove().await.map_err(KeeperError::from)?;
            Ok(Keeper::Service(transit))
        }
    }
}

async fn fingerprint(db: &Database) -> Result<Option<String>, sqlx::Error> {
    let mut system = db.system().await?;
    sqlx::query_scalar!("select master_key_fingerprint from installation")
        .fetch_optional(system.connection())
        .await
}

/// The key that signs grants, and the proof that the master key is the one the database was begun with.
pub async fn signing_key(db: &Database, keeper: &Keeper) -> Result<SigningKey, StartError> {
    let mut system = db.system().await?;
    if fingerprint(db).await?.is_none() {
        let fresh = SigningKey::generate().map_err(|_| StartError::SigningKey)?;
        let bytes: Redacted<Vec<u8>> = fresh.to_bytes();
        let sealed = keeper.seal(SIGNING_KEY_NAME, bytes.expose()).await?;
        // Whoever came first made the one that counts.
        sqlx::query!(
            "insert into installation (master_key_fingerprint, sealed_signing_key) values ($1, $2) on conflict do nothing",
            keeper.fingerprint(),
            sealed,
        )
        .execute(system.connection())
        .await?;
    }
    let sealed = sealed_signing_key(system.connection(), keeper).await?;
    system.commit().await?;
    let opened = keeper.open(SIGNING_KEY_NAME, &sealed).await?;
    SigningKey::from_bytes(opened.expose()).map_err(|_| StartError::SigningKey)
}

/// Puts a fresh master key in the place of the present one, with the same keeper or with the other; no controller may run
/// meanwhile. Nothing in the store changes: tenants' keys stay what they are and are sealed anew. Cut short at any point, the old
/// key or the new one opens everything, and the next start or the next attempt goes on from there.
pub async fn rotate_master_key(
    database_url: &Redacted<String>,
    rotation: &Rotation,
) -> Result<Rotated, StartError> {
    db::migrate(database_url).await?;
    let db = Database::connect(database_url).await?;
    let from = fingerprint(&db).await?.as_deref().map_or(KeeperKind::File, KeeperKind::of);
    let to = rotation.to.unwrap_or(from);
    let old = keeper(&db, &rotation.keeper(from)?).await?;
    let fresh = fresh(&old, rotation, to).await?;
    let new = fresh.as_ref().unwrap_or(&old);
    let tenants = reseal_all(&db, &old, new).await?;
    db.close().await;
    if to == KeeperKind::File {
        put_in_place(&rotation.file).map_err(KeeperError::from)?;
    }
    let fingerprint = new.fingerprint();
    tracing::info!(tenants, fingerprint, "the master key is replaced");
    Ok(Rotated { tenants, from, to, fingerprint })
}

/// The keeper of the fresh key. None: the old one, which has a new version of it.
async fn fresh(old: &Keeper, rotation: &Rotation, to: KeeperKind) -> Result<Option<Keeper>, StartError> {
    if to == KeeperKind::File {
        // One that an attempt left behind was never used, or it would be in place.
        let key = MasterKey::load_or_create(&beside(&rotation.file)).map_err(KeeperError::from)?;
        return Ok(Some(Keeper::File(key)));
    }
    if let Keeper::Service(transit) = old {
        transit.rotate().await.map_err(KeeperError::from)?;
        return Ok(None);
    }
    let KeeperConfig::Service(service) = rotation.keeper(to)? else { return Err(StartError::NoKeyService) };
    let transit = Transit::new(&service).map_err(KeeperError::from)?;
    transit.prove().await.map_err(KeeperError::from)?;
    Ok(Some(Keeper::Service(transit)))
}

/// Everything that the old key seals, in one transaction. With a key service this is a round trip or two for each tenant; one
/// that it does at once would not bind the tenants' names.
async fn reseal_all(db: &Database, old: &Keeper, new: &Keeper) -> Result<usize, StartError> {
    let mut system = db.system().await?;
    let connection = system.connection();
    let signing = sealed_signing_key(connection, old).await?;
    let signing = old.open(SIGNING_KEY_NAME, &signing).await?;
    sqlx::query!(
        "update installation set master_key_fingerprint = $1, sealed_signing_key = $2",
        new.fingerprint(),
        new.seal(SIGNING_KEY_NAME, signing.expose()).await?,
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"select tenant_id, wrapped_key as "wrapped_key!" from tenants where wrapped_key is not null for update"#
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let resealed =
            tenant_keys::reseal_data_key(old, new, TenantId(row.tenant_id), &row.wrapped_key).await?;
        sqlx::query!("update tenants set wrapped_key = $2 where tenant_id = $1", row.tenant_id, resealed)
            .execute(&mut *connection)
            .await?;
    }
    system.commit().await?;
    Ok(rows.len())
}

/// Held until the transaction's end, and sealed by this keeper's key and no other.
async fn sealed_signing_key(connection: &mut PgConnection, keeper: &Keeper) -> Result<Vec<u8>, StartError> {
    let row = sqlx::query!("select master_key_fingerprint, sealed_signing_key from installation for update")
        .fetch_optional(connection)
        .await?
        .ok_or(StartError::NoInstallation)?;
    let found = keeper.fingerprint();
    if row.master_key_fingerprint != found {
        return Err(StartError::OtherMasterKey { expected: row.master_key_fingerprint, found });
    }
    Ok(row.sealed_signing_key)
}

/// A replacement whose transaction was committed and whose file was not put in place yet.
fn finish_rotation(path: &Path, fingerprint: Option<&str>) -> Result<(), KeyError> {
    match MasterKey::load(&beside(path)) {
        Ok(new) if Some(new.fingerprint().as_str()) == fingerprint => put_in_place(path),
        Ok(_) => Ok(()),
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn put_in_place(path: &Path) -> Result<(), KeyError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::rename(beside(path), path)
        .and_then(|()| fs::File::open(directory)?.sync_all())
        .map_err(|source| KeyError::File { path: path.to_owned(), source })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(NEW_SUFFIX);
    name.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A replacement that is cut short between the transaction and the file.
    pub async fn rotate_half(database_url: &Redacted<String>, path: &Path) {
        let db = Database::connect(database_url).await.expect("connects");
        let old = keeper(&db, &KeeperConfig::File(path.to_owned())).await.expect("there");
        let new = Keeper::File(MasterKey::load_or_create(&beside(path)).expect("made"));
        reseal_all(&db, &old, &new).await.expect("sealed anew");
        db.close().await;
    }

    /// And one that is cut short before its transaction.
    pub fn prepare_only(path: &Path) {
        MasterKey::load_or_create(&beside(path)).expect("made");
    }

    pub fn is_under_way(path: &Path) -> bool {
        beside(path).exists()
    }
}
