//! TLS of `burrow up`: certificate files of the operator, or a CA of its own for a local network.

use std::{net::TcpListener, path::PathBuf, sync::Arc};

use gateway::{CertificateFiles, HttpRedirect, TlsConfig};
use tokio::sync::Notify;

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

/// Binds the listener that only redirects, if the options ask for it.
pub fn bind_redirect(up: &UpOptions) -> Result<Option<HttpRedirect>, CommandError> {
    let Some(address) = up.tls.http_redirect else { return Ok(None) };
    let failed = || format!("Cannot redirect from {address}");
    if !up.tls.is_on() {
        return Err(CommandError::new(ErrorKind::Usage, failed())
            .cause("this server has no TLS")
            .hint("add --tls-cert and --tls-key, or leave out --http-redirect"));
    }
    let origin = listen::public_origin(up.public_url.as_deref().unwrap_or_default())?;
    let listener = TcpListener::bind(address).map_err(|error| {
        CommandError::error(failed()).because(&error).hint("choose another address for --http-redirect")
    })?;
    Ok(Some(HttpRedirect { listener, origin }))
}

/// Prepares TLS, if the options ask for it. `preview_name`: the name whose subdomains are previews. `reload`
/// is notified when the operator wants changed files to be loaded at once.
pub fn prepare(
    up: &UpOptions,
    data: &DataDirectory,
    preview_name: Option<String>,
    reload: Arc<Notify>,
) -> Result<Option<Tls>, CommandError> {
    let is_plain = |url: &&str| !url.to_ascii_lowercase().starts_with("https://");
    if up.tls.is_on()
        && let Some(url) = up.public_url.as_deref().filter(is_plain)
    {
        let what = format!("Cannot use --public-url {url} with TLS: it must begin with https://");
        return Err(CommandError::new(ErrorKind::Usage, what));
    }
    match &up.tls {
        TlsOptions { tls: Some(TlsMode::LocalCa), .. } => {
            prepare_local_ca(up, data, preview_name, reload).map(Some)
        }
        TlsOptions { tls_cert: Some(certificate), tls_key: Some(key), .. } => {
            let source = Box::new(CertificateFiles::new(certificate.clone(), key.clone()));
            let config = TlsConfig { source, has_hsts: true, ca_certificate: None, reload };
            Ok(Some(Tls { config, local_ca: None }))
        }
        _ => Ok(None),
    }
}

fn prepare_local_ca(
    up: &UpOptions,
    data: &DataDirectory,
    preview_name: Option<String>,
    reload: Arc<Notify>,
) -> Result<Tls, CommandError> {
    let directory = data.path().join(DIRECTORY);
    let (ip, public_url) = (up.listen, up.public_url.clone());
    let names = move || listen::names(ip, public_url.as_deref(), preview_name.as_deref());
    let ca = LocalCa::open(&directory, names).map_err(|error| {
        CommandError::error(format!("Cannot use the local CA in {}", directory.display()))
            .cause(format!("{error:#}"))
            .hint("restore both files from a backup, or delete the directory to make a new CA")
    })?;
    let notice = CaNotice { file: ca.certificate_file(), fingerprint: ca.fingerprint() };
    let ca_certificate = Some(ca.certificate().to_owned());
    let config = TlsConfig { source: Box::new(ca), has_hsts: false, ca_certificate, reload };
    Ok(Tls { config, local_ca: Some(notice) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        up: UpOptions,
    }

    fn bind_with(arguments: &[&str]) -> Result<Option<HttpRedirect>, CommandError> {
        let redirect = ["up", "--http-redirect", "127.0.0.1:0"];
        bind_redirect(&Program::parse_from([&redirect, arguments].concat()).up)
    }

    #[test]
    fn redirect_needs_tls_and_public_url() {
        let bound = bind_with(&["--tls", "self", "--public-url", "https://Burrow.example/"]);
        assert_eq!(bound.expect("bound").expect("one").origin, "https://burrow.example");
        for (arguments, cause) in [
            (&["--public-url", "https://burrow.example"][..], "no TLS"),
            (&["--tls", "self", "--public-url", "https://burrow.example/x"], "--public-url"),
        ] {
            let refused = bind_with(arguments).expect_err("refused");
            assert_eq!(refused.kind, ErrorKind::Usage);
            assert!(refused.to_string().contains(cause), "{refused}");
        }
        let without = ["up", "--http-redirect", "127.0.0.1:0", "--tls", "self"];
        assert!(Program::try_parse_from(without).is_err(), "it does not know where to");
        assert!(bind_redirect(&Program::parse_from(["up"]).up).expect("off").is_none());
    }
}
