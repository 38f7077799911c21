//! Tenants' keys in the database: sealed under the master key, each bound to its tenant's name, so that one tenant's sealed
//! key put in another's row does not open. The only module that opens them.

use protocol::TenantId;
pub use volume::{DataKey, KeyError, MasterKey};

/// A fresh key for a tenant's homes, sealed.
pub fn new_data_key(master: &MasterKey, tenant: TenantId) -> Vec<u8> {
    seal_data_key(master, tenant, &DataKey::random())
}

/// What a tenant's homes are encrypted under.
pub fn data_key(master: &MasterKey, tenant: TenantId, sealed: &[u8]) -> Result<DataKey, KeyError> {
    let text = master.open(&data_key_name(tenant), sealed)?;
    let text = str::from_utf8(text.expose()).map_err(|_| KeyError::NotADataKey)?;
    DataKey::from_hex(text)
}

/// The same key under another master key.
pub fn reseal_data_key(
    old: &MasterKey,
    new: &MasterKey,
    tenant: TenantId,
    sealed: &[u8],
) -> Result<Vec<u8>, KeyError> {
    Ok(seal_data_key(new, tenant, &data_key(old, tenant, sealed)?))
}

fn seal_data_key(master: &MasterKey, tenant: TenantId, key: &DataKey) -> Vec<u8> {
    master.seal(&data_key_name(tenant), key.to_hex().expose().as_bytes())
}

fn data_key_name(tenant: TenantId) -> String {
    format!("data key of {tenant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_key_opens_for_that_tenant_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let master = MasterKey::load_or_create(&directory.path().join("a")).expect("made");
        let other = MasterKey::load_or_create(&directory.path().join("b")).expect("made");
        let tenant = TenantId::random();
        let sealed = new_data_key(&master, tenant);
        let key = data_key(&master, tenant, &sealed).expect("opens").to_hex();
        assert!(data_key(&master, TenantId::random(), &sealed).is_err());
        assert!(data_key(&other, tenant, &sealed).is_err());
        assert!(data_key(&master, tenant, &sealed[..5]).is_err());
        let resealed = reseal_data_key(&master, &other, tenant, &sealed).expect("opens");
        assert_eq!(data_key(&other, tenant, &resealed).expect("opens").to_hex().expose(), key.expose());
        assert!(data_key(&master, tenant, &resealed).is_err());
    }
}
