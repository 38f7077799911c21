//! Tenants' keys in the database: sealed under the master key, each bound to its tenant's name, so that one tenant's sealed
//! key put in another's row does not open. The only module that opens them.

use std::path::Path;

use protocol::{Redacted, TenantId};
use volume::DataKey;
pub use volume::KeyError;

/// What opens everything else. Losing its file loses all homes.
pub struct MasterKey(volume::MasterKey);

impl MasterKey {
    /// The key in the file, made first where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        volume::MasterKey::load_or_create(path).map(Self)
    }

    /// Tells keys apart without telling anything about them.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }

    pub fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        self.0.seal(name, secret)
    }

    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Redacted<Vec<u8>>, KeyError> {
        self.0.open(name, sealed)
    }

    /// A fresh key for a tenant's homes, sealed.
    pub fn new_data_key(&self, tenant: TenantId) -> Vec<u8> {
        self.seal(&data_key_name(tenant), DataKey::random().to_hex().expose().as_bytes())
    }

    /// A tenant's key as runners take it: 64 hexadecimal digits.
    pub fn data_key(&self, tenant: TenantId, sealed: &[u8]) -> Result<Redacted<String>, KeyError> {
        let text = self.open(&data_key_name(tenant), sealed)?;
        let text = str::from_utf8(text.expose()).map_err(|_| KeyError::NotADataKey)?;
        DataKey::from_hex(text).map(|key| key.to_hex())
    }
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
        let sealed = master.new_data_key(tenant);
        assert_eq!(master.data_key(tenant, &sealed).expect("opens").expose().len(), 64);
        assert!(master.data_key(TenantId::random(), &sealed).is_err());
        assert!(other.data_key(tenant, &sealed).is_err());
        assert!(master.open("x", &sealed[..5]).is_err());
    }
}
