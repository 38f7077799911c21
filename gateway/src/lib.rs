//! The edge: admits a connection, relays messages, serves the web app.
//!
//! It decides nothing that it was not told: the controller says who may open what, the runner's front checks it again. It
//! never looks into a payload, and keeps no state that a restart would lose.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use daemon::{Tasks, tasks::End};
use tokio_util::sync::CancellationToken;

mod assets;
mod body;
mod controller;
mod credential;
mod edge;
mod headers;
mod limits;
mod links;
mod origin;
mod path;
mod refusal;
mod relay;
mod serve;
mod sessions;
mod stall;
mod websocket;

pub use limits::Limits;

/// Streams are cut at once; answers under way get this long.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway is started with.
#[derive(Debug)]
pub struct Config {
    /// Bound already, so that a taken port is known before anything else is begun.
    pub listener: TcpListener,
    /// The controller's Unix socket.
    pub controller: PathBuf,
    /// Origins of our own pages, as browsers write them: `scheme://host[:port]`, lower case, no slash at the end.
    pub allowed_origins: Vec<String>,
}

/// A running gateway. It ends by [`Gateway::stop`] or when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    tasks: Tasks,
}

impl Gateway {
    /// Starts to serve, in the present async runtime.
    pub fn start(config: Config) -> io::Result<Self> {
        Self::start_with(config, Limits::default())
    }

    /// As [`Self::start`], with bounds of one's own.
    pub fn start_with(config: Config, limits: Limits) -> io::Result<Self> {
        config.listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(config.listener)?;
        let address = listener.local_addr()?;
        let tasks = Tasks::new(CancellationToken::new());
        let edge =
            Arc::new(edge::Edge::new(&config.controller, config.allowed_origins, limits, tasks.clone()));
        tasks.spawn_essential("sessions", edge.clone().watch_sessions());
        tasks.spawn_essential("accept", serve::accept(listener, edge));
        Ok(Self { address, tasks })
    }

    /// Where it listens: of use where the port was 0.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Begins the end: no more connections, live streams are cut (clients come back to the next gateway).
    pub fn stop(&self) {
        self.tasks.shutdown().cancel();
    }

    /// Waits until it has ended, by [`Self::stop`] or by a failure, which the log tells.
    pub async fn join(&self) -> End {
        self.tasks.shutdown().cancelled().await;
        self.tasks.join(JOIN_TIMEOUT).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}
