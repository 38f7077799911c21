//! Keys: a tenant's data key, and the master key that encrypts it at rest. Knows no objects and no
//! volumes' content.
//!
//! The file of a master key holds 64 hexadecimal digits. A sealed secret is nonce, ciphertext and
//! tag, bound to its name.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use protocol::{ManifestId, Redacted, VolumeId};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

const KEY_BYTES: usize = 32;

/// The name that a wrapped data key is bound to.
const DATA_KEY_NAME: &str = "data key";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file of the master key could not be read or created.
    #[error("Cannot read or create the master key {path}: {source}")]
    File {
        /// Path of the master key.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("Cannot use the master key {0}: it must hold 64 hexadecimal digits")]
    Malformed(PathBuf),
    /// The file's mode lets others read it.
    #[error("Cannot use the master key {0}: other users can read it. Set its mode to 0600")]
    Open(PathBuf),
    /// The text or the opened secret is not a data key.
    #[error("Cannot parse the data key: it must be 64 hexadecimal digits")]
    NotADataKey,
    /// The secret was sealed with another master key, under another name, or was altered.
    #[error("Cannot decrypt a secret with this master key. Check whether its file was replaced")]
    DoesNotOpen,
}

/// The key that encrypts all objects of one tenant.
#[derive(Clone, ZeroizeOnDrop)]
pub struct DataKey([u8; KEY_BYTES]);

impl DataKey {
    /// A new key.
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// Encrypts the key for the database.
    pub fn wrap(&self, master: &MasterKey) -> Vec<u8> {
        master.seal(DATA_KEY_NAME, &self.0)
    }

    /// Decrypts what [`Self::wrap`] returned.
    pub fn unwrap(master: &MasterKey, wrapped: &[u8]) -> Result<Self, KeyError> {
        let bytes = master.open(DATA_KEY_NAME, wrapped)?;
        bytes.expose().as_slice().try_into().map(Self).map_err(|_| KeyError::NotADataKey)
    }

    /// The form in which the key is sent to a runner.
    pub fn to_hex(&self) -> Redacted<String> {
        Redacted::new(hex(&self.0))
    }

    /// Parses 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        parse_hex(text).map(Self).ok_or(KeyError::NotADataKey)
    }

    /// Derives a key for one purpose and one object, so that no nonce is used twice with one key.
    pub(crate) fn derive(&self, purpose: &str, name: &[u8]) -> [u8; KEY_BYTES] {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.0).update(name);
        hasher.finalize().into()
    }
}

impl DataKey {
    /// A value by which a cache recognises another key. It reveals nothing about this one.
    pub(crate) fn check_value(&self, volume: VolumeId) -> [u8; 16] {
        let derived = self.derive("burrow volume key check v1", volume.0.as_bytes());
        *derived.first_chunk().expect("32 bytes")
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey([redacted])")
    }
}

/// The key that decrypts all other keys. If its file is lost, all homes are lost.
#[derive(ZeroizeOnDrop)]
pub struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// Loads the key from the file, which is created first if it does not exist.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
                // Reads it back: if two processes create it at once, the first one's key counts.
                Self::load(path)
            }
            other => other,
        }
    }

    /// Loads the key from the file. Refuses one that others can read.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let text = Redacted::new(fs::read_to_string(path).map_err(failed)?);
        if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        parse_hex(text.expose().trim()).map(Self).ok_or_else(|| KeyError::Malformed(path.to_owned()))
    }

    /// Sixteen digits that differ between keys and reveal nothing about them.
    pub fn fingerprint(&self) -> String {
        hex(&blake3::derive_key("burrow master key fingerprint v1", &self.0)[..8])
    }

    /// Encrypts a secret and binds it to a name.
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

    /// Decrypts a secret that was sealed under this name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Redacted<Vec<u8>>, KeyError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::DoesNotOpen)?;
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| KeyError::DoesNotOpen)?;
        let mut text = text.to_vec();
        let opened = self
            .cipher()
            .open_in_place((&nonce).into(), Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| KeyError::DoesNotOpen)?
            .to_vec();
        text.zeroize();
        Ok(Redacted::new(opened))
    }

    fn cipher(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).expect("32 bytes are a key")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint())
    }
}

/// Random bytes from the system, for keys and names.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source does not fail once it is seeded");
    bytes
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parses 64 digits as a manifest's id is parsed.
fn parse_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    text.parse::<ManifestId>().ok().map(|id| id.0)
}

/// Creates the file. The key is written to another file and linked into place, so that a
/// half-written key is never used.
fn create(path: &Path) -> io::Result<()> {
    let temporary = path.with_extension(format!("key.{}", hex(&random_bytes::<8>())));
    let text = Redacted::new(format!("{}\n", hex(&random_bytes::<KEY_BYTES>())));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    let _ = fs::remove_file(&temporary);
    linked?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn master_key_is_created_once() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("master.key");
        let first = MasterKey::load_or_create(&path).expect("made");
        let second = MasterKey::load_or_create(&path).expect("read");
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "no temporary file is left");
    }

    #[test]
    fn readable_or_malformed_key_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("master.key");
        MasterKey::load_or_create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
        assert!(matches!(MasterKey::load(&path), Err(KeyError::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
        fs::write(&path, "short").expect("written");
        assert!(matches!(MasterKey::load(&path), Err(KeyError::Malformed(_))));
        assert!(DataKey::from_hex("00").is_err());
    }

    #[test]
    fn wrapped_key_opens_with_its_master_key_only() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let master = MasterKey::load_or_create(&directory.path().join("a")).expect("made");
        let other = MasterKey::load_or_create(&directory.path().join("b")).expect("made");
        let key = DataKey::random();
        let mut wrapped = key.wrap(&master);
        assert_eq!(DataKey::unwrap(&master, &wrapped).expect("opens").0, key.0);
        assert_eq!(DataKey::from_hex(key.to_hex().expose()).expect("parses").0, key.0);
        assert!(matches!(DataKey::unwrap(&other, &wrapped), Err(KeyError::DoesNotOpen)));
        for index in 0..wrapped.len() {
            wrapped[index] ^= 1;
            assert!(DataKey::unwrap(&master, &wrapped).is_err(), "byte {index}");
            wrapped[index] ^= 1;
        }
    }
}
