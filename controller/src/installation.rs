//! The keys of the installation as a whole: the master key, and the key that signs grants. The
//! master key can be rotated, and moved between a file and a key service.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use protocol::{Redacted, TenantId, grant::SigningKey};
use sqlx::PgConnection;

use crate::{
    db::{self, Database},
    error::StartError,
    kms::{
        Kms, KmsConfig, KmsError, Vault, VaultConfig,
        tenant_keys::{self, KeyError, MasterKey},
        vault::FINGERPRINT_PREFIX,
    },
};

/// The name that the signing key is encrypted under. Part of the stored format.
const SIGNING_KEY_NAME: &str = "grant signing key";
/// Suffix of the new master key's file during a rotation.
const NEW_SUFFIX: &str = ".new";

/// Where the master key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKeyLocation {
    /// In a file of this host.
    File,
    /// In a key service.
    Service,
}

impl MasterKeyLocation {
    /// The location of the key with this fingerprint.
    fn of_fingerprint(fingerprint: &str) -> Self {
        if fingerprint.starts_with(FINGERPRINT_PREFIX) { Self::Service } else { Self::File }
    }
}

/// A rotation of the master key: where it is or can be, and where it should be afterwards.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The file, whether the key is in it now or not.
    pub file: PathBuf,
    /// The key service, if one is configured.
    pub service: Option<VaultConfig>,
    /// None: where it is now.
    pub to: Option<MasterKeyLocation>,
}

impl Rotation {
    fn config(&self, kind: MasterKeyLocation) -> Result<KmsConfig, StartError> {
        match (kind, &self.service) {
            (MasterKeyLocation::File, _) => Ok(KmsConfig::File(self.file.clone())),
            (MasterKeyLocation::Service, Some(service)) => Ok(KmsConfig::Vault(service.clone())),
            (MasterKeyLocation::Service, None) => Err(StartError::NoKeyService),
        }
    }
}

/// The result of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationReport {
    /// Tenants whose keys were encrypted again.
    pub tenants: usize,
    /// Where the previous master key is.
    pub from: MasterKeyLocation,
    /// Where the new master key is.
    pub to: MasterKeyLocation,
    /// The fingerprint of the new master key.
    pub fingerprint: String,
}

/// Opens the master key. In a file, it is created for a new installation. A rotation that was
/// interrupted is finished first.
pub async fn open_kms(db: &Database, config: &KmsConfig) -> Result<Kms, StartError> {
    let known = find_fingerprint(db).await?;
    let other = |found: String| {
        let expected = known.clone().filter(|known| *known != found);
        expected.map(|expected| StartError::OtherMasterKey { expected, found })
    };
    match config {
        KmsConfig::File(path) => {
            // No file is created if the key is in a key service.
            if let Some(expected) = known
                .clone()
                .filter(|known| MasterKeyLocation::of_fingerprint(known) == MasterKeyLocation::Service)
            {
                return Err(StartError::OtherMasterKey { expected, found: path.display().to_string() });
            }
            finish_rotation(path, known.as_deref()).map_err(KmsError::from)?;
            Ok(Kms::File(MasterKey::load_or_create(path).map_err(KmsError::from)?))
        }
        KmsConfig::Vault(config) => {
            let vault = Vault::new(config).map_err(KmsError::from)?;
            if let Some(other) = other(vault.fingerprint()) {
                return Err(other);
            }
            vault.check_key().await.map_err(KmsError::from)?;
            Ok(Kms::Vault(vault))
        }
    }
}

async fn find_fingerprint(db: &Database) -> Result<Option<String>, sqlx::Error> {
    let mut system = db.system().await?;
    sqlx::query_scalar!("select master_key_fingerprint from installation")
        .fetch_optional(system.connection())
        .await
}

/// Opens the key that signs grants, or creates it. Fails if the database was created with another
/// master key.
pub async fn open_signing_key(db: &Database, kms: &Kms) -> Result<SigningKey, StartError> {
    let mut system = db.system().await?;
    if find_fingerprint(db).await?.is_none() {
        let fresh = SigningKey::generate().map_err(|_| StartError::SigningKey)?;
        let bytes: Redacted<Vec<u8>> = fresh.to_bytes();
        let encrypted = kms.encrypt(SIGNING_KEY_NAME, bytes.expose()).await?;
        // If another controller was faster, its key counts.
        sqlx::query!(
            "insert into installation (master_key_fingerprint, sealed_signing_key) values ($1, $2)
             on conflict do nothing",
            kms.fingerprint(),
            encrypted,
        )
        .execute(system.connection())
        .await?;
    }
    let encrypted = lock_signing_key(system.connection(), kms).await?;
    system.commit().await?;
    let decrypted = kms.decrypt(SIGNING_KEY_NAME, &encrypted).await?;
    SigningKey::from_bytes(decrypted.expose()).map_err(|_| StartError::SigningKey)
}

/// Replaces the master key by a new one, in the same place or in the other. No controller may run
/// on the database. No home is rewritten: the tenants' keys stay the same and are encrypted again.
/// If this is interrupted at any point, either the old key or the new one decrypts everything, and
/// the next start or the next rotation continues from there.
pub async fn rotate_master_key(
    database_url: &Redacted<String>,
    rotation: &Rotation,
) -> Result<RotationReport, StartError> {
    db::migrate(database_url).await?;
    let db = Database::connect(database_url).await?;
    let from = find_fingerprint(&db)
        .await?
        .as_deref()
        .map_or(MasterKeyLocation::File, MasterKeyLocation::of_fingerprint);
    let to = rotation.to.unwrap_or(from);
    let old = open_kms(&db, &rotation.config(from)?).await?;
    let created = create_new_kms(&old, rotation, to).await?;
    let new = created.as_ref().unwrap_or(&old);
    let tenants = reencrypt_all(&db, &old, new).await?;
    db.close().await;
    if to == MasterKeyLocation::File {
        replace_key_file(&rotation.file).map_err(KmsError::from)?;
    }
    let fingerprint = new.fingerprint();
    tracing::info!(tenants, fingerprint, "rotated the master key");
    Ok(RotationReport { tenants, from, to, fingerprint })
}

/// Creates the new master key. None: the key service has made a new version of the old one.
async fn create_new_kms(
    old: &Kms,
    rotation: &Rotation,
    to: MasterKeyLocation,
) -> Result<Option<Kms>, StartError> {
    if to == MasterKeyLocation::File {
        // A file that an earlier attempt left was never used, otherwise it would have replaced the
        // old one.
        let key = MasterKey::load_or_create(&new_key_path(&rotation.file)).map_err(KmsError::from)?;
        return Ok(Some(Kms::File(key)));
    }
    if let Kms::Vault(vault) = old {
        vault.rotate().await.map_err(KmsError::from)?;
        return Ok(None);
    }
    let KmsConfig::Vault(service) = rotation.config(to)? else { return Err(StartError::NoKeyService) };
    let vault = Vault::new(&service).map_err(KmsError::from)?;
    vault.check_key().await.map_err(KmsError::from)?;
    Ok(Some(Kms::Vault(vault)))
}

/// Encrypts everything again, in one transaction. With a key service this takes one or two requests
/// for each tenant; its batch requests do not bind the tenants' names.
async fn reencrypt_all(db: &Database, old: &Kms, new: &Kms) -> Result<usize, StartError> {
    let mut system = db.system().await?;
    let connection = system.connection();
    let signing = lock_signing_key(connection, old).await?;
    let signing = old.decrypt(SIGNING_KEY_NAME, &signing).await?;
    sqlx::query!(
        "update installation set master_key_fingerprint = $1, sealed_signing_key = $2",
        new.fingerprint(),
        new.encrypt(SIGNING_KEY_NAME, signing.expose()).await?,
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"select tenant_id, wrapped_key as "wrapped_key!" from tenants
           where wrapped_key is not null for update"#
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let rewrapped = tenant_keys::rewrap(old, new, TenantId(row.tenant_id), &row.wrapped_key).await?;
        sqlx::query!("update tenants set wrapped_key = $2 where tenant_id = $1", row.tenant_id, rewrapped)
            .execute(&mut *connection)
            .await?;
    }
    system.commit().await?;
    Ok(rows.len())
}

/// Reads and locks the encrypted signing key. Fails if another master key encrypted it.
async fn lock_signing_key(connection: &mut PgConnection, kms: &Kms) -> Result<Vec<u8>, StartError> {
    let row = sqlx::query!("select master_key_fingerprint, sealed_signing_key from installation for update")
        .fetch_optional(connection)
        .await?
        .ok_or(StartError::NoInstallation)?;
    let found = kms.fingerprint();
    if row.master_key_fingerprint != found {
        return Err(StartError::OtherMasterKey { expected: row.master_key_fingerprint, found });
    }
    Ok(row.sealed_signing_key)
}

/// Finishes a rotation whose transaction was committed, but whose file did not replace the old one
/// yet.
fn finish_rotation(path: &Path, fingerprint: Option<&str>) -> Result<(), KeyError> {
    match MasterKey::load(&new_key_path(path)) {
        Ok(new) if Some(new.fingerprint().as_str()) == fingerprint => replace_key_file(path),
        Ok(_) => Ok(()),
        Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Replaces the old file by the new one, durably.
fn replace_key_file(path: &Path) -> Result<(), KeyError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::rename(new_key_path(path), path)
        .and_then(|()| fs::File::open(directory)?.sync_all())
        .map_err(|source| KeyError::File { path: path.to_owned(), source })
}

/// The file of the new master key, until it replaces the old one.
fn new_key_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(NEW_SUFFIX);
    name.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A rotation that is interrupted between the transaction and the file.
    pub async fn rotate_without_file(database_url: &Redacted<String>, path: &Path) {
        let db = Database::connect(database_url).await.expect("connects");
        let old = open_kms(&db, &KmsConfig::File(path.to_owned())).await.expect("open");
        let new = Kms::File(MasterKey::load_or_create(&new_key_path(path)).expect("created"));
        reencrypt_all(&db, &old, &new).await.expect("encrypted");
        db.close().await;
    }

    /// A rotation that is interrupted before its transaction.
    pub fn create_new_key_only(path: &Path) {
        MasterKey::load_or_create(&new_key_path(path)).expect("created");
    }

    /// Whether the file of a new key exists.
    pub fn has_new_key(path: &Path) -> bool {
        new_key_path(path).exists()
    }
}
