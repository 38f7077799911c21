//! TLS of `burrow up`: certificate files of the operator, or a CA of its own for a local network.

use std::path::PathBuf;

use gateway::{CertificateFiles, TlsConfig};

use super::{
    data_directory::DataDirectory,
    listen,
    options::{TlsMode, TlsOptions, UpOptions},
};
use crate::output::{CommandError, ErrorKind};

mod local_ca;

use local_ca::LocalCa;

/// The directory of the local CA in the data directory.
const DIRECTORY: &str = "tls";

/// TLS as the options describe it.
pub struct Tls {
    /// For the gateway.
    pub config: TlsConfig,
    /// What users must know about the local CA, if there is one.
    pub local_ca: Option<CaNotice>,
}

/// The certificate of a local CA, which users must trust first.
#[derive(Clone, Debug)]
pub struct CaNotice {
    /// Its file on this host.
    pub file: PathBuf,
    /// SHA-256 of the certificate, as browsers show it.
    pub fingerprint: String,
}

/// Prepares TLS, if the options ask for it. Everything that can be wrong with files is found here.
pub fn prepare(up: &UpOptions, data: &DataDirectory) -> Result<Option<Tls>, CommandError> {
    let is_plain = |url: &&str| !url.to_ascii_lowercase().starts_with("https://");
    if up.tls.is_on()
        && let Some(url) = up.public_url.as_deref().filter(is_plain)
    {
        let what = format!("Cannot use --public-url {url} with TLS: it must begin with https://");
        return Err(CommandError::new(ErrorKind::Usage, what));
    }
    match &up.tls {
        TlsOptions { tls: Some(TlsMode::LocalCa), .. } => prepare_local_ca(up, data).map(Some),
        TlsOptions { tls_cert: Some(certificate), tls_key: Some(key), .. } => {
            let source = Box::new(CertificateFiles::new(certificate.clone(), key.clone()));
            let config = TlsConfig { source, has_hsts: true, ca_certificate: None };
            Ok(Some(Tls { config, local_ca: None }))
        }
        _ => Ok(None),
    }
}

fn prepare_local_ca(up: &UpOptions, data: &DataDirectory) -> Result<Tls, CommandError> {
    let directory = data.path().join(DIRECTORY);
    let (ip, public_url) = (up.listen, up.public_url.clone());
    let names = move || listen::names(ip, public_url.as_deref());
    let ca = LocalCa::open(&directory, names).map_err(|error| {
        CommandError::error(format!("Cannot use the local CA in {}", directory.display()))
            .cause(format!("{error:#}"))
            .hint("restore both files from a backup, or delete the directory to make a new CA")
    })?;
    let notice = CaNotice { file: ca.certificate_file(), fingerprint: ca.fingerprint() };
    let ca_certificate = Some(ca.certificate().to_owned());
    let config = TlsConfig { source: Box::new(ca), has_hsts: false, ca_certificate };
    Ok(Tls { config, local_ca: Some(notice) })
}
