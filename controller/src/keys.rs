//! Keys at rest: the master key in a file, tenants' keys and the signing key sealed under it. The only module that knows how.
//!
//! A sealed thing is bound to its name, so that one tenant's sealed key put in another's row does not open.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use protocol::Redacted;

const KEY_BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the master key {path} cannot be read or made")]
    File { path: PathBuf, source: io::Error },
    #[error("{0} does not hold a master key: 64 hexadecimal digits")]
    Malformed(PathBuf),
    #[error("a sealed key does not open with this master key: was master.key replaced?")]
    DoesNotOpen,
}

/// What opens everything else. Losing the file loses all homes.
pub struct MasterKey {
    bytes: Redacted<Vec<u8>>,
}

impl MasterKey {
    /// The key in the file, made first where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&Redacted::new(text), path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(failed)?;
                // Read again: whoever came first made the one that counts.
                let text = Redacted::new(fs::read_to_string(path).map_err(failed)?);
                Self::parse(&text, path)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Tells keys apart without telling anything about them.
    pub fn fingerprint(&self) -> String {
        let hash = blake3::derive_key("burrow master key fingerprint v1", self.bytes.expose());
        hex(&hash[..8])
    }

    pub fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        let mut text = secret.to_vec();
        let nonce = self
            .cipher()
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut text)
            .expect("sealing has no failing input of this size");
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        sealed
    }

    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Redacted<Vec<u8>>, KeyError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::DoesNotOpen)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| KeyError::DoesNotOpen)?;
        let mut text = text.to_vec();
        let opened = self
            .cipher()
            .open_in_place((&nonce).into(), Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| KeyError::DoesNotOpen)?;
        Ok(Redacted::new(opened.to_vec()))
    }

    /// A fresh key for a tenant's homes, sealed.
    pub fn new_data_key(&self, tenant: protocol::TenantId) -> Vec<u8> {
        let mut key = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut key).expect("the system's randomness does not fail once it is seeded");
        self.seal(&data_key_name(tenant), &key)
    }

    /// A tenant's key as runners take it: 64 hexadecimal digits.
    pub fn data_key(&self, tenant: protocol::TenantId, sealed: &[u8]) -> Result<Redacted<String>, KeyError> {
        let key = self.open(&data_key_name(tenant), sealed)?;
        Ok(Redacted::new(hex(key.expose())))
    }

    fn parse(text: &Redacted<String>, path: &Path) -> Result<Self, KeyError> {
        let key: protocol::ManifestId =
            text.expose().trim().parse().map_err(|_| KeyError::Malformed(path.to_owned()))?;
        Ok(Self { bytes: Redacted::new(key.0.to_vec()) })
    }

    fn cipher(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, self.bytes.expose()).expect("32 bytes are a key")
    }
}

fn data_key_name(tenant: protocol::TenantId) -> String {
    format!("data key of {tenant}")
}

/// Written beside and linked into place, so that a half-written key is never taken for one.
fn create(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    let beside = path.with_extension(format!("key.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(format!("{}\n", hex(&key)).as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => match path.parent() {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use protocol::TenantId;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master.key");
        let first = MasterKey::load_or_create(&path).expect("made");
        let second = MasterKey::load_or_create(&path).expect("read");
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_sealed_key_opens_under_its_name_only() {
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

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master.key");
        fs::write(&path, "short").expect("written");
        assert!(matches!(MasterKey::load_or_create(&path), Err(KeyError::Malformed(_))));
    }
}
