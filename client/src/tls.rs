//! Whose certificates the client trusts, for requests and streams alike: the system's authorities,
//! and those of one more file if the user names one.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Size of a file with certificates, in bytes.
const MAX_CA_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The authorities that a client trusts. Clones are cheap.
#[derive(Clone, Debug)]
pub struct TrustedAuthorities(Arc<ClientConfig>);

/// Why a file of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} as a file of certificates", path.display())]
pub struct CaFileError {
    /// The file.
    pub path: PathBuf,
    source: Box<dyn Error + Send + Sync>,
}

impl TrustedAuthorities {
    /// The authorities of the system, or of the file and directory that `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name, and those of `ca_file`, which has certificates in PEM.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, CaFileError> {
        let mut roots = RootCertStore::empty();
        // A system without authorities is usual in a container, and is enough for plain http.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            add_file(&mut roots, path).map_err(|source| CaFileError { path: path.to_owned(), source })?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The authorities of the system.
    pub fn system() -> Self {
        Self::load(None).expect("without a file nothing can fail")
    }

    /// The TLS configuration for requests.
    pub(crate) fn for_requests(&self) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// The TLS configuration for WebSockets, which are HTTP/1.1.
    pub(crate) fn for_sockets(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut pem = Vec::new();
    std::io::Read::read_to_end(
        &mut std::io::Read::take(std::fs::File::open(path)?, MAX_CA_FILE_BYTES),
        &mut pem,
    )?;
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?;
    if certificates.is_empty() {
        return Err("it has no certificate in PEM".into());
    }
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(())
}

/// Why the certificate of a server was refused, in words for users. None if the error is about
/// something else.
pub(crate) fn certificate_problem(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(rustls::Error::InvalidCertificate(problem)) = current.downcast_ref() {
            return Some(describe(problem));
        }
        // An I/O error does not name what it wraps as its source, but the source of that.
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        };
    }
    None
}

fn describe(problem: &CertificateError) -> String {
    match problem {
        // The signature is another one if an authority of the same name is known.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority that this computer trusts has signed it".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name or address".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or the clock of this computer is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or the clock of this computer is wrong".to_owned()
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_problem_is_found_below() {
        let refused = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let nested = std::io::Error::other(std::io::Error::other(refused.clone()));
        assert!(certificate_problem(&refused).is_some_and(|text| text.contains("trusts")));
        assert!(certificate_problem(&nested).is_some());
        assert!(certificate_problem(&std::io::Error::other("reset")).is_none());
        assert!(certificate_problem(&std::io::Error::from(std::io::ErrorKind::ConnectionReset)).is_none());
    }

    #[test]
    fn other_files_are_refused() {
        for path in ["/dev/null", "/nowhere/ca.pem", "/proc/self/exe"] {
            let error = TrustedAuthorities::load(Some(Path::new(path))).expect_err("refused");
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
