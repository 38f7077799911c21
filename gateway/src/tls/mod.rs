//! TLS on the public listener. Certificates come from a [`CertificateSource`] and are replaced
//! without a restart.
//!
//! With TLS, the same port also accepts plain http, only to send browsers to https: a user types an
//! address without a scheme. No request by plain http reaches the controller or a runner.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    net::TcpStream,
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{either::Either, sync::CancellationToken};

use crate::write_timeout::WriteTimeoutStream;

mod certificate;
pub mod redirect;

pub use certificate::{
    CertificateError, CertificateFiles, CertificatePem, CertificateSource, ServerCertificate,
};

/// Where the certificate of a local CA is served, if there is one.
pub const CA_CERTIFICATE_PATH: &str = "/burrow-ca.crt";

/// First byte of a TLS connection: a handshake record. No HTTP request begins with it.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Browsers use https only, for half a year after the last visit.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=15768000");

/// TLS of a gateway.
#[derive(Debug)]
pub struct TlsConfig {
    /// Where certificates come from.
    pub source: Box<dyn CertificateSource>,
    /// Whether browsers are told to use https only (HSTS). Not for a certificate that browsers may
    /// not trust tomorrow, because their users could then not go on.
    pub has_hsts: bool,
    /// The certificate of a local CA in PEM, which everybody may download to trust it.
    pub ca_certificate: Option<String>,
    /// Notified when the operator asks for a look at the source at once.
    pub reload: Arc<Notify>,
}

/// TLS of a running gateway.
pub struct Tls {
    acceptor: TlsAcceptor,
    has_hsts: bool,
    /// The certificate of a local CA in PEM.
    pub ca_certificate: Option<Bytes>,
}

/// A client's connection with or without TLS.
pub type ClientStream<S> = Either<S, Box<tokio_rustls::server::TlsStream<S>>>;

/// How a client has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Plain http, to a gateway without TLS.
    Plain,
    /// https.
    Tls,
    /// Plain http, to a gateway with TLS.
    PlainInsteadOfTls,
}

impl Tls {
    /// Gets the first certificate. Also returns what keeps it current, to be run as a task.
    pub fn new(mut config: TlsConfig) -> anyhow::Result<(Self, CertificateWatcher)> {
        let first = config.source.poll()?.ok_or_else(|| anyhow::anyhow!("there is no certificate"))?;
        let current = Arc::new(CurrentCertificate(RwLock::new(first.into_key())));
        let mut server = ServerConfig::builder_with_provider(certificate::crypto_provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            has_hsts: config.has_hsts,
            ca_certificate: config.ca_certificate.map(Bytes::from),
        };
        let replace = move |new: ServerCertificate| {
            *current.0.write().unwrap_or_else(PoisonError::into_inner) = new.into_key();
        };
        Ok((tls, CertificateWatcher::new(config.source, config.reload, replace)))
    }

    /// Adds the header for browsers to use https only, to a response over TLS. `host` is where the
    /// request was sent to. Other programs may serve plain http at a loopback address.
    pub fn add_hsts(&self, headers: &mut HeaderMap, host: &str) {
        if self.has_hsts && !crate::origin::is_loopback(host) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("has_hsts", &self.has_hsts).finish_non_exhaustive()
    }
}

/// Finds out how a client has connected, and completes the TLS handshake. The caller limits the time.
pub async fn open(
    tls: Option<&Tls>,
    stream: WriteTimeoutStream<TcpStream>,
) -> io::Result<(ClientStream<WriteTimeoutStream<TcpStream>>, Security)> {
    let Some(tls) = tls else { return Ok((Either::Left(stream), Security::Plain)) };
    let mut first = [0];
    let length = stream.get_ref().peek(&mut first).await?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first != [HANDSHAKE_RECORD] {
        return Ok((Either::Left(stream), Security::PlainInsteadOfTls));
    }
    let encrypted = tls.acceptor.accept(stream).await?;
    Ok((Either::Right(Box::new(encrypted)), Security::Tls))
}

/// The certificate that new connections get.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Asks a source for new certificates, and delivers each.
pub struct CertificateWatcher {
    source: Box<dyn CertificateSource>,
    requested: Arc<Notify>,
    deliver: Box<dyn FnMut(ServerCertificate) + Send>,
}

impl CertificateWatcher {
    /// Watches `source`. `requested` is notified when the operator asks for a look at it at once.
    pub fn new(
        source: Box<dyn CertificateSource>,
        requested: Arc<Notify>,
        deliver: impl FnMut(ServerCertificate) + Send + 'static,
    ) -> Self {
        Self { source, requested, deliver: Box::new(deliver) }
    }

    /// Runs until the shutdown. Looks at the source at this interval, and at once on request. A source
    /// that fails is logged, and the old certificate stays.
    pub async fn run(mut self, check_interval: Duration, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval_at(Instant::now() + check_interval, check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_requested = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.requested.notified() => true,
                _ = ticks.tick() => false,
            };
            // Files may be on a slow disk, and a local CA signs.
            self = spawn_blocking(move || {
                if is_requested {
                    self.source.mark_changed();
                }
                self.poll();
                self
            })
            .await?;
        }
    }

    fn poll(&mut self) {
        match self.source.poll() {
            Ok(None) => {}
            Ok(Some(new)) => {
                (self.deliver)(new);
                tracing::info!("new connections get a new certificate");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "cannot load the new certificate: the old one stays in use");
            }
        }
    }
}
