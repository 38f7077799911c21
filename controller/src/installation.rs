//! What the installation as a whole is sealed with: its master key, the key that signs grants, and how the one is replaced.

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
    keys::{self, KeyError, MasterKey},
};

const SIGNING_KEY_NAME: &str = "grant signing key";
/// Beside the master key's file while it is replaced.
const NEW_SUFFIX: &str = ".new";

/// What a replacement of the master key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub tenants: usize,
    /// Of the master key from now on.
    pub fingerprint: String,
}

/// The master key of the installation; made for one that begins. A replacement that was cut short is finished first.
pub async fn master_key(db: &Database, path: &Path) -> Result<MasterKey, StartError> {
    let mut system = db.system().await?;
    let known = sqlx::query_scalar!("select master_key_fingerprint from installation")
        .fetch_optional(system.connection())
        .await?;
    drop(system);
    finish_rotation(path, known.as_deref())?;
    Ok(MasterKey::load_or_create(path)?)
}

/// The key that signs grants, and the proof that the master key is the one the database was begun with.
pub async fn signing_key(db: &Database, master: &MasterKey) -> Result<SigningKey, StartError> {
    let mut system = db.system().await?;
    let fresh = SigningKey::generate().map_err(|_| StartError::SigningKey)?;
    let bytes: Redacted<Vec<u8>> = fresh.to_bytes();
    sqlx::query!(
        "insert into installation (master_key_fingerprint, sealed_signing_key) values ($1, $2) on conflict do nothing",
        master.fingerprint(),
        master.seal(SIGNING_KEY_NAME, bytes.expose()),
    )
    .execute(system.connection())
    .await?;
    let sealed = sealed_signing_key(system.connection(), master).await?;
    system.commit().await?;
    let opened = master.open(SIGNING_KEY_NAME, &sealed)?;
    SigningKey::from_bytes(opened.expose()).map_err(|_| StartError::SigningKey)
}

/// Puts a fresh master key in the place of the one at `path`; no controller may run meanwhile. Nothing in the store changes:
/// tenants' keys stay what they are and are sealed anew. Cut short at any point, the old key or the new one opens everything,
/// and the next start or the next attempt goes on from there.
pub async fn rotate_master_key(database_url: &Redacted<String>, path: &Path) -> Result<Rotated, StartError> {
    db::migrate(database_url).await?;
    let db = Database::connect(database_url).await?;
    let old = master_key(&db, path).await?;
    // One that an attempt left behind was never used, or it would be in place.
    let new = MasterKey::load_or_create(&beside(path))?;
    let tenants = reseal_all(&db, &old, &new).await?;
    db.close().await;
    put_in_place(path)?;
    tracing::info!(tenants, fingerprint = new.fingerprint(), "the master key is replaced");
    Ok(Rotated { tenants, fingerprint: new.fingerprint() })
}

/// Everything that the old key seals, in one transaction.
async fn reseal_all(db: &Database, old: &MasterKey, new: &MasterKey) -> Result<usize, StartError> {
    let mut system = db.system().await?;
    let connection = system.connection();
    let signing = sealed_signing_key(connection, old).await?;
    let signing = old.open(SIGNING_KEY_NAME, &signing)?;
    sqlx::query!(
        "update installation set master_key_fingerprint = $1, sealed_signing_key = $2",
        new.fingerprint(),
        new.seal(SIGNING_KEY_NAME, signing.expose()),
    )
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"select tenant_id, wrapped_key as "wrapped_key!" from tenants where wrapped_key is not null for update"#
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let resealed = keys::reseal_data_key(old, new, TenantId(row.tenant_id), &row.wrapped_key)?;
        sqlx::query!("update tenants set wrapped_key = $2 where tenant_id = $1", row.tenant_id, resealed)
            .execute(&mut *connection)
            .await?;
    }
    system.commit().await?;
    Ok(rows.len())
}

/// Held until the transaction's end, and sealed by this master key and no other.
async fn sealed_signing_key(
    connection: &mut PgConnection,
    master: &MasterKey,
) -> Result<Vec<u8>, StartError> {
    let row = sqlx::query!("select master_key_fingerprint, sealed_signing_key from installation for update")
        .fetch_optional(connection)
        .await?
        .ok_or(StartError::NoInstallation)?;
    if row.master_key_fingerprint != master.fingerprint() {
        return Err(StartError::OtherMasterKey {
            expected: row.master_key_fingerprint,
            found: master.fingerprint(),
        });
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
        let old = master_key(&db, path).await.expect("there");
        let new = MasterKey::load_or_create(&beside(path)).expect("made");
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
