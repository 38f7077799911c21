//! The options of `burrow up`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use protocol::{network::PrivateNetwork, workspace::Tier};

use super::limits::LimitOptions;

/// The options of `burrow up`.
#[derive(Debug, Args)]
pub struct UpOptions {
    /// Directory for all data [default: $XDG_DATA_HOME/burrow, or /var/lib/burrow for root]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, env = "BURROW_LISTEN", value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port to listen on; 0 selects a free port
    #[arg(long, env = "BURROW_PORT", default_value_t = 8080)]
    pub port: u16,
    /// URL of an existing Postgres to use instead of a private one. Put the password into the
    /// environment variable
    #[arg(long, env = "BURROW_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Object store: s3://bucket/prefix or file:///directory [default: a directory in the data
    /// directory]
    #[arg(long, env = "BURROW_STORE", value_name = "URL")]
    pub store: Option<String>,
    #[command(flatten)]
    pub master_key: MasterKeyOptions,
    /// Public address under which browsers reach the server, such as https://burrow.example.org
    #[arg(long, env = "BURROW_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Name whose subdomains show the ports of workspaces, such as preview.example.org; all of them must lead
    /// to this server. `none` for no previews [default: localhost, if there is no public URL]
    #[arg(long, env = "BURROW_PREVIEW_HOST", value_name = "NAME")]
    pub preview_host: Option<String>,
    #[command(flatten)]
    pub tls: TlsOptions,
    /// Network of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, such as
    /// 127.0.0.1 or 10.0.0.0/8; can be repeated
    #[arg(long, env = "BURROW_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Vec<ProxyNetwork>,
    /// Address for metrics in the format of Prometheus, such as 127.0.0.1:9464. It needs no password
    #[arg(long, env = "BURROW_METRICS", value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Seconds between uploads of a running home; 0 uploads only on stop and on request
    #[arg(long, env = "BURROW_STREAM_SECONDS", value_name = "SECONDS", default_value_t = 5)]
    pub stream_seconds: u32,
    /// Kind of sandbox
    #[arg(long, env = "BURROW_RUNTIME", value_enum, default_value_t, hide_short_help = true)]
    pub runtime: Runtime,
    /// Isolation that templates may ask for, beside virtual machines: `gvisor` puts a kernel of its own
    /// before the host's; `container` shares the host's kernel, and is for trusted, educational use only
    #[arg(long, env = "BURROW_ALLOW_TIER", value_name = "TIER", value_enum, value_delimiter = ',')]
    pub allow_tier: Vec<AllowedTier>,
    /// The `runsc` that starts sandboxes of the tier `gvisor` [default: the one in PATH]
    #[arg(long, env = "BURROW_RUNSC", value_name = "FILE")]
    pub runsc: Option<PathBuf>,
    /// Private network that workspaces may reach as if it were public, such as 100.64.0.0/10 or 10.1.2.3/32;
    /// can be repeated
    #[arg(long, env = "BURROW_ALLOW_PRIVATE_NETWORK", value_name = "CIDR", value_delimiter = ',')]
    pub allow_private_network: Vec<PrivateNetwork>,
    /// Directory with the definition of the image (image.toml) [default: built into this program]
    #[arg(long, env = "BURROW_IMAGE_SOURCE", value_name = "DIR", hide_short_help = true)]
    pub image_source: Option<PathBuf>,
    /// Directory for built images [default: images in the data directory]
    #[arg(long, env = "BURROW_IMAGE_CACHE", value_name = "DIR", hide_short_help = true)]
    pub image_cache: Option<PathBuf>,
    /// Static agent for guests [default: next to this program, or the one of the checkout]
    #[arg(long, env = "BURROW_AGENT", value_name = "FILE", hide_short_help = true)]
    pub agent: Option<PathBuf>,
    /// Boot each workspace, instead of copying a prototype that has booted
    #[arg(long, env = "BURROW_NO_PROTOTYPES", hide_short_help = true)]
    pub no_prototypes: bool,
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// A tier that an operator can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AllowedTier {
    /// Containers with gVisor's kernel
    Gvisor,
    /// Containers on the host's kernel
    Container,
}

impl UpOptions {
    /// The tiers that tenants may use.
    pub fn tiers(&self) -> Vec<Tier> {
        let allowed = self.allow_tier.iter().map(|tier| match tier {
            AllowedTier::Gvisor => Tier::Gvisor,
            AllowedTier::Container => Tier::Container,
        });
        let mut tiers: Vec<_> = allowed.chain([Tier::Microvm]).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }
}

/// Where the certificate for https comes from. Without any of them the server speaks plain http.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsOptions {
    /// TLS certificate with its chain, in PEM. A changed file is loaded within seconds, or at once on SIGHUP
    #[arg(long, env = "BURROW_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the TLS certificate, in PEM
    #[arg(long, env = "BURROW_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// TLS for a local network: `self` makes a certificate authority in the data directory
    #[arg(long, env = "BURROW_TLS", value_enum, conflicts_with = "tls_cert")]
    pub tls: Option<TlsMode>,
    /// Second address, for plain http, that only redirects to --public-url, such as 0.0.0.0:80. It needs
    /// TLS
    #[arg(long, env = "BURROW_HTTP_REDIRECT", value_name = "IP:PORT", requires = "public_url")]
    pub http_redirect: Option<SocketAddr>,
}

impl TlsOptions {
    /// Whether the server speaks TLS.
    pub fn is_on(&self) -> bool {
        self.tls.is_some() || self.tls_cert.is_some()
    }
}

/// The kinds of TLS without certificate files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// Certificates of a local authority, which users must trust first
    #[value(name = "self")]
    LocalCa,
}

/// The network of a trusted proxy. One address is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyNetwork(pub ipnet::IpNet);

impl std::str::FromStr for ProxyNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from));
        network.map(Self).map_err(|_| "expected an address or a network such as 10.0.0.0/8".to_owned())
    }
}

/// Where the master key is kept.
#[derive(Clone, Debug, Args)]
pub struct MasterKeyOptions {
    /// File of the master key; created if it does not exist [default: master.key in the data
    /// directory]
    #[arg(long, env = "BURROW_MASTER_KEY", value_name = "FILE")]
    pub master_key: Option<PathBuf>,
    /// Address of the OpenBao or Vault whose transit engine holds the master key, such as
    /// https://vault:8200
    #[arg(long, env = "BURROW_MASTER_KEY_SERVICE", value_name = "URL")]
    pub master_key_service: Option<String>,
    /// Mount path of the transit engine
    #[arg(
        long,
        env = "BURROW_VAULT_MOUNT",
        value_name = "PATH",
        default_value = "transit",
        hide_short_help = true
    )]
    pub vault_mount: String,
    /// Name of the key in the transit engine
    #[arg(
        long,
        env = "BURROW_VAULT_KEY",
        value_name = "NAME",
        default_value = "burrow",
        hide_short_help = true
    )]
    pub vault_key: String,
    /// File with the token of the key service, read for each call [default: VAULT_TOKEN, or the
    /// file of `vault login`]
    #[arg(long, env = "BURROW_VAULT_TOKEN_FILE", value_name = "FILE", hide_short_help = true)]
    pub vault_token_file: Option<PathBuf>,
    /// PEM certificates to trust for the key service instead of the system's [default:
    /// VAULT_CACERT]
    #[arg(long, env = "BURROW_VAULT_CACERT", value_name = "FILE", hide_short_help = true)]
    pub vault_cacert: Option<PathBuf>,
    /// Namespace in the key service [default: VAULT_NAMESPACE]
    #[arg(long, env = "BURROW_VAULT_NAMESPACE", value_name = "NAME", hide_short_help = true)]
    pub vault_namespace: Option<String>,
}

/// The kinds of sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// A microVM with its own kernel
    #[default]
    Microvm,
    /// A plain process without isolation, for tests only
    Fake,
}
