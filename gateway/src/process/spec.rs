//! What a gateway's process is told.

use std::{os::fd::RawFd, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{CertificatePem, PreviewConfig};

/// The line that the process writes when it accepts connections.
pub const READY_LINE: &str = "ready";

/// Everything that a gateway needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GatewaySpec {
    /// The user and group to run as; `None`: the parent's. Then the process is not isolated, because only
    /// root can do that.
    pub user: Option<u32>,
    /// The only directory that the process sees: the sockets of the controller and of the runners are in it.
    pub socket_directory: PathBuf,
    /// The controller's socket for gateways.
    pub controller: PathBuf,
    /// The inherited listener.
    pub listener: RawFd,
    /// See [`crate::Config::allowed_origins`].
    pub allowed_origins: Vec<String>,
    /// See [`crate::Config::preview`].
    #[serde(default)]
    pub preview: Option<PreviewConfig>,
    /// See [`crate::Config::trusted_proxies`]: each as `address/length`.
    pub trusted_proxies: Vec<String>,
    /// TLS. Without it the listener speaks plain http.
    pub tls: Option<TlsSpec>,
    /// A second listener that only redirects.
    pub http_redirect: Option<RedirectSpec>,
    /// How many files the process may have open.
    pub max_descriptors: u64,
}

/// What the process is told later.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// New connections get this certificate.
    Certificate(CertificatePem),
    /// End in order. At the end of its input without this, the process ends at once, because its parent
    /// has died.
    Stop,
}

/// TLS of a gateway's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TlsSpec {
    /// See [`crate::TlsConfig::has_hsts`].
    pub has_hsts: bool,
    /// See [`crate::TlsConfig::ca_certificate`].
    pub ca_certificate: Option<String>,
    /// The first certificate.
    pub certificate: CertificatePem,
}

/// A listener for plain http that only sends clients to https.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RedirectSpec {
    /// The inherited listener.
    pub listener: RawFd,
    /// See [`crate::HttpRedirect::origin`].
    pub origin: String,
}

impl GatewaySpec {
    /// The inherited descriptors.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let redirect = self.http_redirect.as_ref().map(|redirect| redirect.listener);
        std::iter::once(self.listener).chain(redirect).collect()
    }
}
