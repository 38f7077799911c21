//! Tenants' keys in the database: sealed by the keeper of the master key, each bound to its tenant's name, so that one tenant's
//! sealed key put in another's row does not open. The only module that opens them.

use protocol::TenantId;
pub use volume::{DataKey, KeyError, MasterKey};

use crate::kms::{Keeper, KeeperError};

/// A fresh key for a tenant's homes, sealed.
pub async fn new_data_key(keeper: &Keeper, tenant: TenantId) -> Result<Vec<u8>, KeeperError> {
    seal_data_key(keeper, tenant, &DataKey::random()).await
}

/// What a tenant's homes are encrypted under.
pub async fn data_key(keeper: &Keeper, tenant: TenantId, sealed: &[u8]) -> Result<DataKey, KeeperError> {
    let text = keeper.open(&data_key_name(tenant), sealed).await?;
    let text = str::from_utf8(text.expose()).map_err(|_| KeyError::NotADataKey)?;
    Ok(DataKey::from_hex(text)?)
}

/// The same key by another keeper, or under a newer key of the same one.
pub async fn reseal_data_key(
    old: &Keeper,
    new: &Keeper,
    tenant: TenantId,
    sealed: &[u8],
) -> Result<Vec<u8>, KeeperError> {
    seal_data_key(new, tenant, &data_key(old, tenant, sealed).await?).await
}

async fn seal_data_key(keeper: &Keeper, tenant: TenantId, key: &DataKey) -> Result<Vec<u8>, KeeperError> {
    keeper.seal(&data_key_name(tenant), key.to_hex().expose().as_bytes()).await
}

fn data_key_name(tenant: TenantId) -> String {
    format!("data key of {tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenants_key_opens_for_that_tenant_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let keeper =
            |name: &str| Keeper::File(MasterKey::load_or_create(&directory.path().join(name)).expect("made"));
        let (keeper, other) = (keeper("a"), keeper("b"));
        let tenant = TenantId::random();
        let sealed = new_data_key(&keeper, tenant).await.expect("sealed");
        let key = data_key(&keeper, tenant, &sealed).await.expect("opens").to_hex();
        assert!(data_key(&keeper, TenantId::random(), &sealed).await.is_err());
        assert!(data_key(&other, tenant, &sealed).await.is_err());
        assert!(data_key(&keeper, tenant, &sealed[..5]).await.is_err());
        let resealed = reseal_data_key(&keeper, &other, tenant, &sealed).await.expect("opens");
        let again = data_key(&other, tenant, &resealed).await.expect("opens").to_hex();
        assert_eq!(again.expose(), key.expose());
        assert!(data_key(&keeper, tenant, &resealed).await.is_err());
    }
}
