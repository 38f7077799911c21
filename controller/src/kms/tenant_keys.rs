//! Tenant keys in the database: each encrypted by the master key and bound to its tenant, so that a
//! wrapped key that is copied to another tenant's row does not decrypt. The only module that
//! decrypts them.

use protocol::TenantId;
use sqlx::PgConnection;
pub use volume::{DataKey, KeyError, MasterKey};

use super::{Kms, KmsError};

/// A tenant's key, if it still has one.
pub enum TenantKey {
    Open(DataKey),
    /// The key was destroyed: nothing of the tenant's homes can be read any more.
    Destroyed,
}

/// A tenant's key as the database has it. Decrypting it may ask a key service, which takes time: do
/// it without a transaction.
pub struct WrappedTenantKey {
    tenant: TenantId,
    wrapped: Option<Vec<u8>>,
}

/// Reads a tenant's key.
pub async fn find(connection: &mut PgConnection, tenant: TenantId) -> Result<WrappedTenantKey, sqlx::Error> {
    let wrapped = sqlx::query_scalar!("select wrapped_key from tenants where tenant_id = $1", tenant.0)
        .fetch_one(connection)
        .await?;
    Ok(WrappedTenantKey { tenant, wrapped })
}

impl WrappedTenantKey {
    /// Decrypts the key with the master key.
    pub async fn decrypt(&self, kms: &Kms) -> Result<TenantKey, KmsError> {
        match &self.wrapped {
            Some(wrapped) => Ok(TenantKey::Open(unwrap(kms, self.tenant, wrapped).await?)),
            None => Ok(TenantKey::Destroyed),
        }
    }
}

/// Creates a random key for a tenant and encrypts it.
pub async fn generate(kms: &Kms, tenant: TenantId) -> Result<Vec<u8>, KmsError> {
    wrap(kms, tenant, &DataKey::random()).await
}

/// Encrypts a tenant's key with another master key, or with a newer version of the same one.
pub async fn rewrap(old: &Kms, new: &Kms, tenant: TenantId, wrapped: &[u8]) -> Result<Vec<u8>, KmsError> {
    wrap(new, tenant, &unwrap(old, tenant, wrapped).await?).await
}

async fn wrap(kms: &Kms, tenant: TenantId, key: &DataKey) -> Result<Vec<u8>, KmsError> {
    kms.encrypt(&name(tenant), key.to_hex().expose().as_bytes()).await
}

/// Decrypts a tenant's key with the master key.
pub async fn unwrap(kms: &Kms, tenant: TenantId, wrapped: &[u8]) -> Result<DataKey, KmsError> {
    let text = kms.decrypt(&name(tenant), wrapped).await?;
    let text = str::from_utf8(text.expose()).map_err(|_| KeyError::NotADataKey)?;
    Ok(DataKey::from_hex(text)?)
}

/// The name that a key is bound to. Part of the stored format.
fn name(tenant: TenantId) -> String {
    format!("data key of {tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tenant_key_decrypts_only_for_its_tenant() {
        let directory = tempfile::tempdir().expect("a directory");
        let kms =
            |name: &str| Kms::File(MasterKey::load_or_create(&directory.path().join(name)).expect("created"));
        let (kms, other) = (kms("a"), kms("b"));
        let tenant = TenantId::random();
        let wrapped = generate(&kms, tenant).await.expect("encrypted");
        let key = unwrap(&kms, tenant, &wrapped).await.expect("decrypted").to_hex();
        assert!(unwrap(&kms, TenantId::random(), &wrapped).await.is_err());
        assert!(unwrap(&other, tenant, &wrapped).await.is_err());
        assert!(unwrap(&kms, tenant, &wrapped[..5]).await.is_err());
        let rewrapped = rewrap(&kms, &other, tenant, &wrapped).await.expect("decrypted");
        let again = unwrap(&other, tenant, &rewrapped).await.expect("decrypted").to_hex();
        assert_eq!(again.expose(), key.expose());
        assert!(unwrap(&kms, tenant, &rewrapped).await.is_err());
    }
}
