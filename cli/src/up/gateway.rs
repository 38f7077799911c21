//! The gateway on its own thread, so that the keystrokes that it relays never wait for work of the
//! controller.

use std::{net::SocketAddr, thread};

use ::gateway::{Config, Gateway, Limits};
use tokio::{runtime, sync::oneshot};

/// A running gateway. Dropping it stops it immediately.
pub struct GatewayThread {
    gateway: Gateway,
    /// Dropping it ends the thread.
    keep_alive: oneshot::Sender<()>,
}

impl GatewayThread {
    /// Starts the gateway.
    pub fn start(config: Config, limits: Limits) -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let gateway = {
            let _inside = runtime.enter();
            Gateway::start(config, limits)?
        };
        let (keep_alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("gateway".to_owned()).spawn(move || runtime.block_on(ended))?;
        Ok(Self { gateway, keep_alive })
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Cuts streams, and waits for responses in progress.
    pub async fn stop(self) {
        self.gateway.stop();
        self.gateway.join().await;
        drop(self.keep_alive);
    }
}
