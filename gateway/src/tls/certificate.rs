//! The server's certificate, and where it comes from.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::Redacted;
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};

/// Size of a file with certificates or with a key, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The crypto provider of all TLS.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Where a gateway gets its certificate from.
pub trait CertificateSource: std::fmt::Debug + Send {
    /// Returns the certificate, if it is not the one of the last call. Called every few seconds, where
    /// it may block. An error is reported once; the next call tries again when something has changed.
    fn poll(&mut self) -> anyhow::Result<Option<ServerCertificate>>;

    /// Lets the next [`Self::poll`] load the certificate and report an error also if nothing has changed,
    /// because the operator asked for it.
    fn mark_changed(&mut self) {}
}

/// A certificate with its chain and its key, which belong together.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    key: Arc<CertifiedKey>,
    pem: Arc<CertificatePem>,
}

/// A certificate with its chain, the server's own first, and its private key, all in PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificatePem {
    /// The chain.
    pub certificates: String,
    /// The private key.
    pub key: Redacted<String>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The files are not text.
    #[error("cannot parse the certificate: the files must be in PEM, which is text")]
    NotText,
    /// There is no certificate in PEM.
    #[error("cannot find a certificate: the file must have certificates in PEM, the server's first")]
    NoCertificate,
    /// There is no private key in PEM.
    #[error("cannot find a private key: the file must have a key in PEM, without a passphrase")]
    NoKey,
    /// The key is of another certificate, or of an unknown kind.
    #[error("cannot use the certificate with this key")]
    Unusable(#[source] rustls::Error),
}

impl ServerCertificate {
    /// The certificate as text, for another process.
    pub fn pem(&self) -> &CertificatePem {
        &self.pem
    }

    pub(super) fn into_key(self) -> Arc<CertifiedKey> {
        self.key
    }
}

impl TryFrom<CertificatePem> for ServerCertificate {
    type Error = CertificateError;

    fn try_from(pem: CertificatePem) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.certificates.as_bytes()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(CertificateError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.expose().as_bytes());
        let key = key.map_err(|_| CertificateError::NoKey)?;
        let key =
            CertifiedKey::from_der(chain, key, &crypto_provider()).map_err(CertificateError::Unusable)?;
        Ok(Self { key: Arc::new(key), pem: Arc::new(pem) })
    }
}

/// A certificate and its key in two files, which another program may replace at any time.
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// The contents at the last call, or why they could not be read.
    seen: Option<Result<Contents, String>>,
}

/// The contents of the certificate's file and of the key's.
type Contents = (Vec<u8>, Vec<u8>);

impl CertificateFiles {
    /// Files in PEM.
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, seen: None }
    }

    fn read(&self) -> Result<Contents, CertificateError> {
        Ok((read_file(&self.certificate)?, read_file(&self.key)?))
    }
}

impl std::fmt::Debug for CertificateFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateFiles").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl CertificateSource for CertificateFiles {
    fn poll(&mut self) -> anyhow::Result<Option<ServerCertificate>> {
        let read = self.read();
        let seen = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        // Contents, because two changes within one tick of the clock leave the same time.
        if self.seen.as_ref() == Some(&seen) {
            return Ok(None);
        }
        self.seen = Some(seen);
        let (certificate, key) = read?;
        let text = |bytes| String::from_utf8(bytes).map_err(|_| CertificateError::NotText);
        let pem = CertificatePem { certificates: text(certificate)?, key: text(key)?.into() };
        Ok(Some(pem.try_into()?))
    }

    fn mark_changed(&mut self) {
        self.seen = None;
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut content))
        .map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn files_are_loaded_once_per_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (directory.path().join("a.pem"), directory.path().join("a.key"));
        let write = |pair: &(String, String)| {
            std::fs::write(&certificate, &pair.0).expect("written");
            std::fs::write(&key, &pair.1).expect("written");
        };
        let mut files = CertificateFiles::new(certificate.clone(), key.clone());
        assert!(files.poll().is_err(), "no files");
        assert!(files.poll().expect("reported once").is_none());
        let (first, second) = (make_certificate(), make_certificate());
        write(&first);
        assert!(files.poll().expect("valid").is_some());
        assert!(files.poll().expect("unchanged").is_none());
        // A program writes the certificate first, then the key.
        write(&(second.0.clone(), first.1));
        let error = format!("{:#}", files.poll().expect_err("they do not belong together"));
        assert!(error.starts_with("cannot use the certificate with this key: "), "{error}");
        files.mark_changed();
        assert!(files.poll().is_err(), "reported again on request");
        write(&second);
        assert!(files.poll().expect("valid").is_some());
    }

    #[test]
    fn unusable_pem_is_explained() {
        let (certificate, key) = make_certificate();
        let error = |certificate: &str, key: &str| {
            let pem = CertificatePem { certificates: certificate.to_owned(), key: key.to_owned().into() };
            ServerCertificate::try_from(pem).expect_err("refused")
        };
        assert!(matches!(error("", &key), CertificateError::NoCertificate));
        assert!(matches!(error(&key, &key), CertificateError::NoCertificate));
        assert!(matches!(error(&certificate, &certificate), CertificateError::NoKey));
    }
}
