//! The gateway: Burrow's public listener. It checks grants, relays streams to runners, forwards the
//! API to the controller, and serves the web app.
//!
//! It decides nothing by itself: the controller says who may open what, and the runner's front
//! checks that again. It never parses a payload, and keeps no state that a restart would lose.
//!
//! ```text
//!                        ┌─ PORT--WORKSPACE.<preview host> ──> preview ──> link ─> runner's front
//!                        ├─ /api/v1/workspaces/{id}/agent/… ─> relay ──> link ──> runner's front
//! listener ─> router ────┼─ /api/v1/… ───────────────────────> api_proxy ───────> controller
//!                        └─ any other path ──────────────────> assets (the web app)
//! ```

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use daemon::{Tasks, tasks::ShutdownOutcome};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

mod api_proxy;
mod assets;
mod body;
mod buffer_budget;
mod connection_limits;
mod controller;
mod credential;
mod headers;
mod limits;
mod links;
mod listener;
mod origin;
mod preview;
pub mod process;
mod proxies;
mod refusal;
mod relay;
mod response_timeout;
mod revocation;
mod router;
mod streams;
mod target;
mod tls;
mod websocket;
mod write_timeout;

pub use limits::Limits;
pub use preview::PreviewConfig;
pub use tls::{
    CA_CERTIFICATE_PATH, CertificateError, CertificateFiles, CertificatePem, CertificateSource,
    CertificateWatcher, ServerCertificate, TlsConfig,
};

use buffer_budget::BufferBudget;
use connection_limits::ConnectionLimits;
use proxies::TrustedProxies;

/// How long shutdown waits for responses under way. Streams are cut at once.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway needs to start.
#[derive(Debug)]
pub struct Config {
    /// A bound listener, so that the caller sees a taken port before it starts anything else.
    pub listener: TcpListener,
    /// The controller's Unix socket.
    pub controller: PathBuf,
    /// Origins of our own pages as browsers write them: `scheme://host[:port]`, lower case, no
    /// slash at the end.
    pub allowed_origins: Vec<String>,
    /// Where previews of ports are, if there are any.
    pub preview: Option<PreviewConfig>,
    /// Networks of reverse proxies whose word about a client is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// TLS. Without it the listener speaks plain http.
    pub tls: Option<TlsConfig>,
    /// A second listener that only redirects.
    pub http_redirect: Option<HttpRedirect>,
}

/// A listener for plain http that only sends clients to https.
#[derive(Debug)]
pub struct HttpRedirect {
    /// A bound listener.
    pub listener: TcpListener,
    /// Where clients are sent to: `https://host[:port]`, without a slash at the end.
    pub origin: String,
}

/// A running gateway. It ends by [`Gateway::stop`] or when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    buffers: BufferBudget,
    tasks: Tasks,
}

impl Gateway {
    /// Starts a gateway in the current async runtime.
    pub fn start(config: Config, limits: Limits) -> anyhow::Result<Self> {
        let listener = to_tokio(config.listener)?;
        let address = listener.local_addr()?;
        let tasks = Tasks::new(CancellationToken::new());
        let mut router =
            router::Router::new(&config.controller, config.allowed_origins, limits, tasks.clone());
        router.proxies = TrustedProxies::new(config.trusted_proxies);
        router.preview = config.preview;
        if let Some(config) = config.tls {
            let (tls, watcher) = tls::Tls::new(config)?;
            router.tls = Some(tls);
            tasks.spawn_essential(
                "certificate",
                watcher.run(limits.certificate_check_interval, tasks.shutdown().clone()),
            );
        }
        let buffers = router.buffers.clone();
        let router = Arc::new(router);
        tasks.spawn_essential("sessions", router.clone().watch_revocations());
        let connections = ConnectionLimits::new(limits.max_connections);
        if let Some(HttpRedirect { listener, origin }) = config.http_redirect {
            let (listener, origin) = (to_tokio(listener)?, Some(Arc::from(origin)));
            let accepting =
                listener::accept_connections(listener, connections.clone(), router.clone(), origin);
            tasks.spawn_essential("redirect", accepting);
        }
        tasks.spawn_essential("accept", listener::accept_connections(listener, connections, router, None));
        Ok(Self { address, buffers, tasks })
    }

    /// The address that the gateway listens on. Useful when the configured port was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes are reserved for what clients have not read or sent yet.
    pub fn buffered_bytes(&self) -> usize {
        self.buffers.used_bytes()
    }

    /// Starts the shutdown: no more connections are accepted and live streams are cut. Clients
    /// reconnect to the next gateway.
    pub fn stop(&self) {
        self.tasks.shutdown().cancel();
    }

    /// Waits until the gateway has ended, by [`Self::stop`] or by a failure, whose cause is in the log.
    pub async fn join(&self) -> ShutdownOutcome {
        self.tasks.shutdown().cancelled().await;
        self.tasks.join(JOIN_TIMEOUT).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}

fn to_tokio(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
