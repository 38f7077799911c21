//! The gateway on a thread of its own: a key that it relays never changes threads, whatever the controller does meanwhile.

use std::{io, net::SocketAddr, thread};

use gateway::{Config, Gateway};
use tokio::{runtime, sync::oneshot};

/// A running gateway. Dropping it ends it at once.
pub struct Edge {
    gateway: Gateway,
    /// Dropped, it ends the thread.
    alive: oneshot::Sender<()>,
}

impl Edge {
    pub fn start(config: Config) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let gateway = {
            let _inside = runtime.enter();
            Gateway::start(config)?
        };
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("gateway".to_owned()).spawn(move || runtime.block_on(ended))?;
        Ok(Self { gateway, alive })
    }

    pub fn addr(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Streams are cut, answers under way are waited for.
    pub async fn end(self) {
        self.gateway.stop();
        self.gateway.join().await;
        drop(self.alive);
    }
}
